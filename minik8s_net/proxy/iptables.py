"""Services as iptables rules: kube-proxy's chains, rule by rule, in the words `iptables-save` prints. Pure.

A packet to a Service's address (nat table): KUBE-SERVICES finds the Service by address and port and jumps to
KUBE-SVC-… (its endpoints, one chosen at random) or KUBE-SVL-… (this node's endpoints only); KUBE-SEP-… is one
endpoint: DNAT. Addresses for the outside world (node ports, external and load balancer IPs) go through KUBE-EXT-…,
which marks for masquerading (0x4000, done in KUBE-POSTROUTING) so that the answer comes back this way. A Service
without endpoints has no nat rules; the filter table refuses its packets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from .model import Endpoint, Node, ServicePort, allows_node
from .names import endpoint_chain, service_chain
from .rules import Chain, Difference, Entry, Rules

MARK = "0x4000/0x4000"
REJECT = "REJECT --reject-with icmp-port-unreachable"
NEW = "-m conntrack --ctstate NEW "
SHARED: tuple[Chain, ...] = (
    ("nat", "KUBE-SERVICES"),
    ("nat", "KUBE-NODEPORTS"),
    ("filter", "KUBE-SERVICES"),
    ("filter", "KUBE-EXTERNAL-SERVICES"),
    ("filter", "KUBE-NODEPORTS"),
    ("filter", "KUBE-PROXY-FIREWALL"),
)
_OWN = re.compile(r"KUBE-(SVC|SVL|EXT|FW|SEP)-[A-Z2-7]{16}")


def _comment(text: str) -> str:
    return f'-m comment --comment "{text}"'


NODE_PORTS_LAST = (
    "nat",
    "KUBE-SERVICES",
    _comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
    + " -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
)
_PORTALS = _comment("kubernetes service portals") + " -j KUBE-SERVICES"
_EXTERNAL = NEW + _comment("kubernetes externally-visible service portals") + " -j KUBE-EXTERNAL-SERVICES"
_FIREWALL = NEW + _comment("kubernetes load balancer firewall") + " -j KUBE-PROXY-FIREWALL"
_FORWARDING = _comment("kubernetes forwarding rules")
BASE_CHAINS: dict[Chain, tuple[str, ...]] = {
    ("nat", "KUBE-MARK-MASQ"): (f"-j MARK --set-xmark {MARK}",),
    ("nat", "KUBE-POSTROUTING"): (
        f"-m mark ! --mark {MARK} -j RETURN",
        "-j MARK --set-xmark 0x4000/0x0",
        f"{_comment('kubernetes service traffic requiring SNAT')} -j MASQUERADE --random-fully",
    ),
    ("filter", "KUBE-FIREWALL"): (
        f"! -s 127.0.0.0/8 -d 127.0.0.0/8 {_comment('block incoming localnet connections')}"
        " -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
    ),
    ("filter", "KUBE-FORWARD"): (
        "-m conntrack --ctstate INVALID -j DROP",
        f"{_FORWARDING} -m mark --mark {MARK} -j ACCEPT",
        f"{_comment('kubernetes forwarding conntrack rule')} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ),
}
# In the built-in chains, which others share with us: appended, in this order, never moved.
BASE_JUMPS: tuple[Entry, ...] = (
    ("filter", "INPUT", "-j KUBE-FIREWALL"),
    ("filter", "INPUT", _FIREWALL),
    ("filter", "INPUT", f"{_comment('kubernetes health check service ports')} -j KUBE-NODEPORTS"),
    ("filter", "INPUT", _EXTERNAL),
    ("filter", "FORWARD", _FIREWALL),
    ("filter", "FORWARD", f"{_FORWARDING} -j KUBE-FORWARD"),
    ("filter", "FORWARD", NEW + _PORTALS),
    ("filter", "FORWARD", _EXTERNAL),
    ("filter", "OUTPUT", "-j KUBE-FIREWALL"),
    ("filter", "OUTPUT", _FIREWALL),
    ("filter", "OUTPUT", NEW + _PORTALS),
    ("nat", "PREROUTING", _PORTALS),
    ("nat", "OUTPUT", _PORTALS),
    ("nat", "POSTROUTING", f"{_comment('kubernetes postrouting rules')} -j KUBE-POSTROUTING"),
)
_BUILT_IN = set(BASE_JUMPS)


def base() -> Rules:
    """What is there before any Service: the shared chains (empty) and the jumps to them."""
    shared: dict[Chain, tuple[str, ...]] = dict.fromkeys(SHARED, ())  # they exist; their lines are entries
    return Rules(shared | BASE_CHAINS, dict.fromkeys((NODE_PORTS_LAST, *BASE_JUMPS)))


def render(ports: Iterable[ServicePort], node: Node) -> Rules:
    """All ports of one Service (or of several)."""
    return Rules.merge(Rules(dict(_chains(port, node)), dict.fromkeys(_entries(port))) for port in ports)


# -- lines in shared chains -----------------------------------------------------------------------------
def _entries(p: ServicePort) -> Iterator[Entry]:
    """Where packets of this Service leave the shared chains; see the order of cases in kube-proxy's syncProxyRules."""
    none = ("has no endpoints", REJECT) if not p.endpoints_anywhere else ("has no local endpoints", "DROP")
    refused = (_comment(f"{p} {none[0]}"), none[1])

    def to(ip: str, comment: str, target: str, port: int = p.port) -> str:
        return f"-d {ip}/32 -p {p.protocol} {comment} -m {p.protocol} --dport {port} -j {target}"

    if p.internal_endpoints:
        target = service_chain("SVL" if p.internal_local else "SVC", p)
        yield "nat", "KUBE-SERVICES", to(p.cluster_ip, _comment(f"{p} cluster IP"), target)
    else:
        yield "filter", "KUBE-SERVICES", to(p.cluster_ip, *refused)
    external, firewall = service_chain("EXT", p), service_chain("FW", p)
    for ip in p.external_ips:
        if p.endpoints_anywhere:
            yield "nat", "KUBE-SERVICES", to(ip, _comment(f"{p} external IP"), external)
    for ip in p.load_balancer_ips:
        if p.endpoints_anywhere:
            target = firewall if p.source_ranges else external
            yield "nat", "KUBE-SERVICES", to(ip, _comment(f"{p} loadbalancer IP"), target)
            if p.source_ranges:
                why = _comment(f"{p} traffic not accepted by {firewall}")
                yield "filter", "KUBE-PROXY-FIREWALL", to(ip, why, "DROP")
    if not p.external_endpoints:
        for ip in (*p.external_ips, *p.load_balancer_ips):
            yield "filter", "KUBE-EXTERNAL-SERVICES", to(ip, *refused)
    yield from _node_port_entries(p, external, refused)


def _node_port_entries(p: ServicePort, external: str, refused: tuple[str, str]) -> Iterator[Entry]:
    match = f"-m {p.protocol} --dport {p.node_port}"
    if p.node_port and p.endpoints_anywhere:
        yield "nat", "KUBE-NODEPORTS", f"-p {p.protocol} {_comment(str(p))} {match} -j {external}"
    if p.node_port and not p.external_endpoints:
        comment, target = refused
        local = f"-p {p.protocol} {comment} -m addrtype --dst-type LOCAL {match} -j {target}"
        yield "filter", "KUBE-EXTERNAL-SERVICES", local
    if p.health_check_node_port:
        comment = _comment(f"{p} health check node port")
        health = f"-p tcp {comment} -m tcp --dport {p.health_check_node_port} -j ACCEPT"
        yield "filter", "KUBE-NODEPORTS", health


# -- the Service's own chains ---------------------------------------------------------------------------
def _chains(p: ServicePort, node: Node) -> Iterator[tuple[Chain, tuple[str, ...]]]:
    cluster_chain, local_chain = service_chain("SVC", p), service_chain("SVL", p)
    for endpoint in p.reachable:
        yield ("nat", endpoint_chain(p, endpoint)), _endpoint_chain(p, endpoint)
    if p.cluster:
        masquerade = [] if p.internal_local else _off_cluster(p, node)
        yield ("nat", cluster_chain), (*masquerade, *_spread(p, p.cluster))
    if p.local:
        masquerade = _off_cluster(p, node) if p.internal_local else []
        yield ("nat", local_chain), (*masquerade, *_spread(p, p.local))
    if p.external and p.endpoints_anywhere:
        yield ("nat", service_chain("EXT", p)), tuple(_external_chain(p, node, cluster_chain, local_chain))
        if p.load_balancer_ips and p.source_ranges:
            yield ("nat", service_chain("FW", p)), tuple(_firewall_chain(p, node))


def _endpoint_chain(p: ServicePort, endpoint: Endpoint) -> tuple[str, ...]:
    comment, name = _comment(str(p)), endpoint_chain(p, endpoint)
    recent = f" -m recent --set --name {name} --mask 255.255.255.255 --rsource" if p.affinity_seconds else ""
    return (
        f"-s {endpoint.ip}/32 {comment} -j KUBE-MARK-MASQ",  # hairpin: a pod that reaches itself
        f"-p {p.protocol} {comment}{recent} -m {p.protocol} -j DNAT --to-destination {endpoint}",
    )


def _off_cluster(p: ServicePort, node: Node) -> list[str]:
    """Clients that are no pods use the cluster IP: their answers must come back through this node."""
    match = f"-d {p.cluster_ip}/32 -p {p.protocol} {_comment(f'{p} cluster IP')} -m {p.protocol} --dport {p.port}"
    return [f"! -s {node.cluster_cidr} {match} -j KUBE-MARK-MASQ"]


def _spread(p: ServicePort, endpoints: Sequence[Endpoint]) -> Iterator[str]:
    """First whoever served this client lately, else an even choice: 1/n, then 1/(n-1) of the rest, …"""
    targets = [(_comment(f"{p} -> {e}"), endpoint_chain(p, e)) for e in endpoints]
    for comment, name in targets if p.affinity_seconds else ():
        lately = f"-m recent --rcheck --seconds {p.affinity_seconds} --reap"
        yield f"{comment} {lately} --name {name} --mask 255.255.255.255 --rsource -j {name}"
    for left, (comment, name) in zip(range(len(targets), 0, -1), targets, strict=True):
        chance = f" -m statistic --mode random --probability {_probability(left)}" if left > 1 else ""
        yield f"{comment}{chance} -j {name}"


def _probability(n: int) -> str:
    """1/n as the kernel keeps it (31 bits) and iptables-save prints it."""
    return f"{round(2**31 / n) / 2**31:.11f}"


def _external_chain(p: ServicePort, node: Node, cluster_chain: str, local_chain: str) -> Iterator[str]:
    if not p.external_local:
        yield f"{_comment(f'masquerade traffic for {p} external destinations')} -j KUBE-MARK-MASQ"
    else:  # pods and this node itself may use any endpoint, as if they had asked the cluster IP
        pods = _comment(f"pod traffic for {p} external destinations")
        yield f"-s {node.cluster_cidr} {pods} -j {cluster_chain}"
        masquerade = _comment(f"masquerade LOCAL traffic for {p} external destinations")
        yield f"{masquerade} -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ"
        route = _comment(f"route LOCAL traffic for {p} external destinations")
        yield f"{route} -m addrtype --src-type LOCAL -j {cluster_chain}"
    if p.external_endpoints:
        yield f"-j {local_chain if p.external_local else cluster_chain}"


def _firewall_chain(p: ServicePort, node: Node) -> Iterator[str]:
    comment, external = _comment(f"{p} loadbalancer IP"), service_chain("EXT", p)
    own = [f"{ip}/32" for ip in p.load_balancer_ips] if allows_node(p, node) else []
    for source in (*p.source_ranges, *own):
        yield f"-s {source} {comment} -j {external}"
    yield _comment(f"other traffic to {p} will be dropped by KUBE-PROXY-FIREWALL")


def delta(have: Rules, want: Rules) -> Difference:
    """As `Difference.between`; where one of our jumps in a built-in chain is missing, all of them there are renewed."""
    found = Difference.between(have, want)
    torn = {entry[:2] for entry in found.add if entry in _BUILT_IN}
    if torn:
        found.add[:] = [e for e in want.entries if e in found.add or (e in _BUILT_IN and e[:2] in torn)]
        found.remove[:] += [e for e in BASE_JUMPS if e in have.entries and e in want.entries and e[:2] in torn]
    return found


# -- to and from iptables' own text ---------------------------------------------------------------------
def restore_text(differences: Iterable[Difference]) -> str:
    """Input for `iptables-restore --noflush`. Refusals come before and go after the nat rules they stand in for."""
    differences = list(differences)
    sections = (
        ("filter", True, False),
        ("nat", True, True),
        ("filter", False, True),
    )
    return "".join(_section(table, differences, add, remove) for table, add, remove in sections)


def _section(table: str, differences: list[Difference], add: bool, remove: bool) -> str:
    chains: list[str] = []
    lines: list[str] = []
    gone = [name for d in differences for t, name in d.delete if t == table] if remove else []
    for d in differences:
        if add:
            written = [(name, body) for (t, name), body in d.write.items() if t == table]
            chains += [f":{name} - [0:0]" for name, _ in written]
            lines += [f"-A {name} {rule}" for name, body in written for rule in body]
            lines += [_add(entry) for entry in d.add if entry[0] == table]
        if remove:
            lines += [f"-D {chain} {rule}" for t, chain, rule in d.remove if t == table and chain not in gone]
    chains += [f":{name} - [0:0]" for name in gone]
    lines += [f"-X {name}" for name in gone]
    return "\n".join([f"*{table}", *chains, *lines, "COMMIT", ""]) if chains or lines else ""


def _add(entry: Entry) -> str:
    """New Services go to the head of nat's KUBE-SERVICES: its last rule stays last, and no chain is rewritten."""
    table, chain, rule = entry
    head = (table, chain) == ("nat", "KUBE-SERVICES") and entry != NODE_PORTS_LAST
    return f"{'-I' if head else '-A'} {chain} {rule}"


def parse(saved: str) -> Rules:
    """What of an `iptables-save` dump is ours. Other people's chains, and their jumps, are not mentioned."""
    chains: dict[Chain, list[str]] = {}
    entries: dict[Entry, None] = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            name = line[1:].split()[0]
            if _OWN.fullmatch(name) or (table, name) in BASE_CHAINS or (table, name) in SHARED:
                chains[table, name] = []
        elif line.startswith("-A "):
            _, name, rule = line.split(" ", 2)
            if (table, name) in SHARED or (table, name, rule) in _BUILT_IN:
                entries[table, name, rule] = None
            elif (table, name) in chains:
                chains[table, name].append(rule)
    return Rules({name: tuple(body) for name, body in chains.items()}, entries)

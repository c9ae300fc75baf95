"""Services as one nftables table, `ip kube-proxy`: kube-proxy's nftables mode, in the words `nft list` prints. Pure.

What KUBE-SERVICES does by walking a list, the map `service-ips` does by one look-up: address . protocol . port ->
the Service's chain. So a new connection costs the same with 10 Services as with 5000, and a Service that comes
is an element added. `no-endpoint-services` refuses (or drops) what nobody serves; `cluster-ips` refuses other ports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from .model import Endpoint, Node, ServicePort, allows_node
from .names import nft_endpoint, nft_service_chain
from .nfttables import FIRST, TRANSLATING, in_table, where
from .rules import Chain, Difference, Entry, Rules

COMMENT = "rules for kube-proxy"
_TO_SERVICE = "ip daddr . meta l4proto . th dport vmap"
_TO_NODE = "ip daddr @nodeport-ips meta l4proto . th dport vmap"
_ADDRESS_MAP = "type ipv4_addr . inet_proto . inet_service : verdict"
_PORT_MAP = "type inet_proto . inet_service : verdict"


def _hook(kind: str, hook: str, priority: str) -> str:
    return f"type {kind} hook {hook} priority {priority}; policy accept;"


# The table before any Service: sets and maps (their elements are entries), then chains.
BASE: dict[Chain, tuple[str, ...]] = {
    ("set", "cluster-ips"): ("type ipv4_addr", 'comment "Active ClusterIPs"'),
    ("set", "nodeport-ips"): ("type ipv4_addr", 'comment "IPs that accept NodePort traffic"'),
    ("map", "no-endpoint-services"): (
        _ADDRESS_MAP,
        'comment "vmap to drop or reject packets to services with no endpoints"',
    ),
    ("map", "no-endpoint-nodeports"): (
        _PORT_MAP,
        'comment "vmap to drop or reject packets to service nodeports with no endpoints"',
    ),
    ("map", "firewall-ips"): (
        _ADDRESS_MAP,
        'comment "destinations that are subject to LoadBalancerSourceRanges"',
    ),
    ("map", "service-ips"): (_ADDRESS_MAP, 'comment "ClusterIP, ExternalIP and LoadBalancer IP traffic"'),
    ("map", "service-nodeports"): (_PORT_MAP, 'comment "NodePort traffic"'),
    ("chain", "nodeport-endpoints-check"): (f"{_TO_NODE} @no-endpoint-nodeports",),
    ("chain", "service-endpoints-check"): (f"{_TO_SERVICE} @no-endpoint-services",),
    ("chain", "firewall-check"): (f"{_TO_SERVICE} @firewall-ips",),
    ("chain", "services"): (f"{_TO_SERVICE} @service-ips", f"{_TO_NODE} @service-nodeports"),
    ("chain", "masquerading"): (
        "meta mark & 0x00004000 == 0x00000000 return",
        "meta mark set meta mark ^ 0x00004000",
        "masquerade fully-random",
    ),
    ("chain", "cluster-ips-check"): (
        'ip daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"',
    ),
    ("chain", "mark-for-masquerade"): ("meta mark set meta mark | 0x00004000",),
    ("chain", "reject-chain"): (
        'comment "helper for @no-endpoint-services / @no-endpoint-nodeports"',
        "reject",
    ),
    ("chain", "filter-prerouting"): (
        _hook("filter", "prerouting", "dstnat - 10"),
        "ct state new jump firewall-check",
    ),
    ("chain", "filter-input"): (
        _hook("filter", "input", "-110"),
        "ct state new jump nodeport-endpoints-check",
        "ct state new jump service-endpoints-check",
    ),
    ("chain", "filter-forward"): (
        _hook("filter", "forward", "-110"),
        "ct state new jump service-endpoints-check",
        "ct state new jump cluster-ips-check",
    ),
    ("chain", "filter-output"): (
        _hook("filter", "output", "-110"),
        "ct state new jump service-endpoints-check",
        "ct state new jump firewall-check",
    ),
    ("chain", "filter-output-post-dnat"): (
        _hook("filter", "output", "-90"),
        "ct state new jump cluster-ips-check",
    ),
    ("chain", "nat-prerouting"): (_hook("nat", "prerouting", "dstnat"), "jump services"),
    ("chain", "nat-output"): (_hook("nat", "output", "-100"), "jump services"),
    ("chain", "nat-postrouting"): (_hook("nat", "postrouting", "srcnat"), "jump masquerading"),
}


_FURTHER = {place: body for place, body in BASE.items() if place[1] in TRANSLATING}


def base(node: Node, further: Iterable[int] = ()) -> Rules:
    """The table before any Service; `further` ones have what translates only."""
    node_ports = {("nodeport-ips", node.ip, ""): None}
    return Rules.merge([Rules(BASE, node_ports), *(in_table(Rules(_FURTHER, node_ports), n) for n in further)])


def render(ports: Iterable[ServicePort], node: Node) -> Rules:
    """All ports of one Service (or of several)."""
    return Rules.merge(Rules(dict(_chains(port, node)), dict.fromkeys(_entries(port))) for port in ports)


# -- elements of the shared sets and maps ---------------------------------------------------------------
def _entries(p: ServicePort) -> Iterator[Entry]:
    """(map, key, value); the value of a refusal carries the Service's name as a comment, as kube-proxy's does."""
    verdict = "drop" if p.endpoints_anywhere else "goto reject-chain"
    refused = f'comment "{p}" : {verdict}'

    def key(ip: str) -> str:
        return f"{ip} . {p.protocol} . {p.port}"

    yield "cluster-ips", p.cluster_ip, ""
    if p.internal_endpoints:
        chain = nft_service_chain("local" if p.internal_local else "service", p)
        yield "service-ips", key(p.cluster_ip), f": goto {chain}"
    else:
        yield "no-endpoint-services", key(p.cluster_ip), refused
    external = nft_service_chain("external", p)
    for ip in (*p.external_ips, *p.load_balancer_ips):
        if p.endpoints_anywhere:
            yield "service-ips", key(ip), f": goto {external}"
        if not p.external_endpoints:
            yield "no-endpoint-services", key(ip), refused
    if p.source_ranges and p.endpoints_anywhere:
        for ip in p.load_balancer_ips:
            yield "firewall-ips", key(ip), f": goto {nft_service_chain('firewall', p)}"
    if p.node_port:
        if p.endpoints_anywhere:
            yield "service-nodeports", f"{p.protocol} . {p.node_port}", f": goto {external}"
        if not p.external_endpoints:
            yield "no-endpoint-nodeports", f"{p.protocol} . {p.node_port}", refused


# -- the Service's own chains ---------------------------------------------------------------------------
def _chains(p: ServicePort, node: Node) -> Iterator[tuple[Chain, tuple[str, ...]]]:
    cluster_chain, local_chain = nft_service_chain("service", p), nft_service_chain("local", p)
    match = f"ip daddr {p.cluster_ip} {p.protocol} dport {p.port} ip saddr != {node.cluster_cidr}"
    masquerade = [f"{match} jump mark-for-masquerade"]
    for endpoint in p.reachable if p.affinity_seconds else ():
        timeout = f"timeout {_duration(p.affinity_seconds)}"
        name = nft_endpoint("affinity", p, endpoint)
        yield ("set", name), ("type ipv4_addr", "size 65535", "flags dynamic,timeout", timeout)
    for endpoint in p.reachable:
        yield ("chain", nft_endpoint("endpoint", p, endpoint)), tuple(_endpoint_chain(p, endpoint))
    if p.cluster:
        yield ("chain", cluster_chain), (*([] if p.internal_local else masquerade), *_spread(p, p.cluster))
    if p.local:
        yield ("chain", local_chain), (*(masquerade if p.internal_local else []), *_spread(p, p.local))
    if p.external and p.endpoints_anywhere:
        external = nft_service_chain("external", p)
        yield ("chain", external), tuple(_external_chain(p, node, cluster_chain, local_chain))
        if p.load_balancer_ips and p.source_ranges:
            yield ("chain", nft_service_chain("firewall", p)), (_firewall_rule(p, node),)


def _endpoint_chain(p: ServicePort, endpoint: Endpoint) -> Iterator[str]:
    yield f"ip saddr {endpoint.ip} jump mark-for-masquerade"  # hairpin: a pod that reaches itself
    if p.affinity_seconds:
        yield f"update @{nft_endpoint('affinity', p, endpoint)} {{ ip saddr }}"
    yield f"meta l4proto {p.protocol} dnat to {endpoint}"


def _spread(p: ServicePort, endpoints: Sequence[Endpoint]) -> Iterator[str]:
    """First whoever served this client lately, else an even choice."""
    targets = [nft_endpoint("endpoint", p, e) for e in endpoints]
    for endpoint, target in zip(endpoints, targets, strict=True) if p.affinity_seconds else ():
        yield f"ip saddr @{nft_endpoint('affinity', p, endpoint)} goto {target}"
    choice = ", ".join(f"{i} : goto {target}" for i, target in enumerate(targets))
    yield f"numgen random mod {len(targets)} vmap {{ {choice} }}"


def _external_chain(p: ServicePort, node: Node, cluster_chain: str, local_chain: str) -> Iterator[str]:
    if not p.external_local:
        yield "jump mark-for-masquerade"
    else:  # pods and this node itself may use any endpoint, as if they had asked the cluster IP
        yield f'ip saddr {node.cluster_cidr} goto {cluster_chain} comment "short-circuit pod traffic"'
        yield 'fib saddr type local jump mark-for-masquerade comment "masquerade local traffic"'
        yield f'fib saddr type local goto {cluster_chain} comment "short-circuit local traffic"'
    if p.external_endpoints:
        yield f"goto {local_chain if p.external_local else cluster_chain}"


def _firewall_rule(p: ServicePort, node: Node) -> str:
    own = p.load_balancer_ips if allows_node(p, node) else ()
    sources = (*p.source_ranges, *own)
    allowed = sources[0] if len(sources) == 1 else f"{{ {', '.join(sources)} }}"
    return f"ip saddr != {allowed} drop"


def _duration(seconds: int) -> str:
    """As nft prints it: 10800 -> 3h, 90 -> 1m30s."""
    text = ""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, seconds = divmod(seconds, size)
        text += f"{count}{unit}" if count else ""
    return text


# -- to and from nft's own text -------------------------------------------------------------------------
def script(differences: Iterable[Difference]) -> str:
    """Input for `nft -f -`: one transaction. Elements that go leave before the chains they point to."""
    differences = list(differences)
    lines: list[str] = []
    for d in differences:
        lines += [f'add table ip {table} {{ comment "{COMMENT}" ; }}' for table in _begun(d.write)]
        for (kind, place), body in d.write.items():
            name = _full(place)
            if kind == "chain":
                hook = [line for line in body if line.startswith(("type ", "comment "))]
                head = f" {{ {' '.join(part.rstrip(';') + ' ;' for part in hook)} }}" if hook else ""
                lines += [f"add chain {name}{head}", f"flush chain {name}"]
                lines += [f"add rule {name} {rule}" for rule in body if rule not in hook]
            else:
                lines.append(f"add {kind} {name} {{ {' ; '.join(body)} ; }}")
    for d in differences:  # all of these before any addition: a key may move from one Service to another
        lines += [f"delete element {_full(m)} {{ {key} }}" for m, key, _ in d.remove]
    for d in differences:
        lines += [f"add element {_full(m)} {{ {key} {value} }}" for m, key, value in d.add]
    for d in differences:
        lines += [f"flush chain {_full(place)}" for kind, place in d.delete if kind == "chain"]
    for d in differences:
        lines += [f"delete {kind} {_full(place)}" for kind, place in d.delete]
    return "".join(f"{line}\n" for line in lines)


def _begun(places: Iterable[Chain]) -> Iterable[str]:
    """Tables of whose own, not only a Service's, something is among them: it may be the first that is in there."""
    split = ((kind, *where(place)) for kind, place in places)
    return dict.fromkeys(table for kind, table, name in split if (kind, name) in BASE)


def _full(place: str) -> str:
    """service-ips -> ip kube-proxy service-ips"""
    return " ".join(("ip", *where(place)))


_BLOCK = re.compile(r"^\t(chain|set|map) (\S+) \{$")
_TABLE = re.compile(r"^table ip (\S+) \{")


def parse(listing: str) -> Rules:
    """`nft list table ip kube-proxy`, or several, in our form. Elements of the affinity sets (clients) are no part."""
    prefix = ""
    chains: dict[Chain, tuple[str, ...]] = {}
    entries: dict[Entry, None] = {}
    lines = iter(listing.splitlines())
    for line in lines:
        if table := _TABLE.match(line):
            prefix = "" if table[1] == FIRST else f"{table[1]} "
        elif match := _BLOCK.match(line):
            kind, name = match.groups()
            body = "\n".join(iter(lambda: next(lines), "\t}"))
            body, _, elements = body.partition("\t\telements = {")
            chains[kind, prefix + name] = tuple(line.strip() for line in body.splitlines() if line.strip())
            if (kind, name) in BASE:
                entries.update(dict.fromkeys(_elements(prefix + name, elements.rstrip().rstrip("}"))))
    return Rules(chains, entries)


def _elements(name: str, text: str) -> Iterator[Entry]:
    for element in text.split(","):
        if match := re.fullmatch(r"\s*(\S+(?: \. \S+)*)\s*(.*?)\s*", element):
            yield name, match[1], match[2]

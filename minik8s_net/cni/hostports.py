"""hostPort: a port of the node that leads to a pod, as the CNI plugin `portmap` makes it, chain by chain.

    PREROUTING, OUTPUT (to a local address) -> CNI-HOSTPORT-DNAT (which ports) -> CNI-DN-… (one pod's): DNAT

What comes from the pod itself or from 127.0.0.1 is marked and masqueraded, so that the answer comes back this way.
https://www.cni.dev/plugins/current/meta/portmap/
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..kernel import conntrack, iptables

TOP, SET_MARK, MASQUERADE = "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"
MARK = "0x2000/0x2000"
_NETWORK = "minik8s"  # the CNI network's name
_LOCAL = f"-m addrtype --dst-type LOCAL -j {TOP}"
_ENTRANCES = (
    ("PREROUTING", _LOCAL),
    ("OUTPUT", _LOCAL),
    ("POSTROUTING", f'-m comment --comment "CNI portfwd requiring masquerade" -j {MASQUERADE}'),
)


@dataclass(frozen=True)
class HostPort:
    """One port of a node (or of its address `host_ip`) that is `port` of a pod. `protocol` tcp, udp or sctp."""

    host_port: int
    port: int
    protocol: str = "tcp"
    host_ip: str = ""


def chain_of(key: str) -> str:
    """The chain of one pod's host ports, named by a hash of its key."""
    return "CNI-DN-" + hashlib.sha512(f"{_NETWORK}{key}".encode()).hexdigest()[:21]


def ensure_host_ports(ip: str, subnet: str, key: str, ports: Sequence[HostPort]) -> bool:
    """In the node's namespace: exactly these ports lead to the pod; True if something had to be done. Idempotent."""
    if has_host_ports(ip, subnet, key, ports):
        return False
    saved = _saved()
    have, want = _own(saved, key), render(ip, subnet, key, ports)
    chain = chain_of(key)
    lines = [f":{name} - [0:0]" for name in (TOP, SET_MARK, MASQUERADE) if name not in saved]
    lines += [f":{chain} - [0:0]"]
    if not saved.get(SET_MARK):
        lines += [f'-A {SET_MARK} -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark {MARK}']
    if not saved.get(MASQUERADE):
        lines += [f"-A {MASQUERADE} -m mark --mark {MARK} -j MASQUERADE"]
    lines += [f"-A {name} {rule}" for name, rule in _ENTRANCES if f"-A {name} {rule}" not in saved.get(name, ())]
    lines += [f"-D{line[2:]}" for line in have if line.startswith(f"-A {TOP} ")]
    _restore([*lines, *want])
    _flush(ports)
    return True


def has_host_ports(ip: str, subnet: str, key: str, ports: Sequence[HostPort]) -> bool:
    """In the node's namespace: whether all rules for these ports stand, and the ways to them."""
    saved = _saved()
    entered = all(f"-A {name} {rule}" in saved.get(name, ()) for name, rule in _ENTRANCES)
    return entered and _own(saved, key) == render(ip, subnet, key, ports)


def remove_host_ports(key: str) -> bool:
    """In the node's namespace: the pod's chain and the way to it go, with the last one all of ours. Idempotent."""
    saved = _saved()
    mine = _own(saved, key)
    if not mine:
        return False
    chain = chain_of(key)
    lines = [f":{chain} - [0:0]", *(f"-D{line[2:]}" for line in mine if line.startswith(f"-A {TOP} ")), f"-X {chain}"]
    if all(line in mine for line in saved.get(TOP, ())):
        lines += [f"-D {name} {rule}" for name, rule in _ENTRANCES if f"-A {name} {rule}" in saved.get(name, ())]
        for name in (TOP, SET_MARK, MASQUERADE):
            lines += [f":{name} - [0:0]", f"-X {name}"] if name in saved else []
    _restore(lines)
    return True


def render(ip: str, subnet: str, key: str, ports: Sequence[HostPort]) -> list[str]:
    """The pod's rules as `iptables-save` prints them: the way to its chain, then its chain. Pure."""
    chain, comment = chain_of(key), f'-m comment --comment "dnat name: \\"{_NETWORK}\\" id: \\"{key}\\""'
    lines = []
    for protocol in sorted({p.protocol for p in ports}):
        numbers = [str(p.host_port) for p in ports if p.protocol == protocol]
        for start in range(0, len(numbers), 15):  # multiport's own limit
            some = ",".join(numbers[start : start + 15])
            lines.append(f"-A {TOP} -p {protocol} {comment} -m multiport --dports {some} -j {chain}")
    for p in ports:
        to = f"-d {p.host_ip}/32 " if p.host_ip not in ("", "0.0.0.0") else ""
        match = f"-p {p.protocol} -m {p.protocol} --dport {p.host_port}"
        lines += [f"-A {chain} -s {source} {to}{match} -j {SET_MARK}" for source in (subnet, "127.0.0.1/32")]
        lines.append(f"-A {chain} {to}{match} -j DNAT --to-destination {ip}:{p.port}")
    return lines


def _saved() -> dict[str, list[str]]:
    return iptables.chains(iptables.save("nat"))


def _own(saved: dict[str, list[str]], key: str) -> list[str]:
    chain = chain_of(key)
    return [*(line for line in saved.get(TOP, ()) if line.endswith(f" -j {chain}")), *saved.get(chain, ())]


def _restore(lines: list[str]) -> None:
    iptables.restore("\n".join(["*nat", *lines, "COMMIT", ""]))


def _flush(ports: Sequence[HostPort]) -> None:
    """UDP flows that were here before the rule would never see it."""
    for p in ports:
        if p.protocol == "udp":
            conntrack.delete_udp("", p.host_port, "")

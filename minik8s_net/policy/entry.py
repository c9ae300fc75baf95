"""At the bridge port: a pod speaks from its own address only, in IPv4 and ARP, and in nothing else.

One nftables table of the bridge family, one set of (port, address) pairs: the same cost for any number of pods. It sees
frames before br_netfilter and conntrack do. (An ipset hash:net,iface cannot: iptables' set match never looks at the
bridge port. Port rules per pod would cost each packet one rule per pod.) ARP too, so that no pod can draw another's
traffic to itself. Pure text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

TABLE, SET = "minik8s-entry", "pods"
RULES = 2  # in its one chain
_BASE = f"""table bridge {TABLE} {{
  set {SET} {{ type ifname . ipv4_addr; comment "bridge port and the address its pod may use"; }}
  chain entry {{
    type filter hook prerouting priority -300; policy drop;
    ether type ip iifname . ip saddr @{SET} accept
    ether type arp iifname . arp saddr ip @{SET} accept
  }}
}}
"""


def base() -> str:
    """Make the table, empty, replacing what was there in the same transaction."""
    return f"table bridge {TABLE}\ndelete table bridge {TABLE}\n{_BASE}"


def change(verb: str, pods: Mapping[str, str]) -> str:
    """`verb` is add or delete; pods: address -> port."""
    elements = ", ".join(f'"{port}" . {ip}' for ip, port in pods.items())
    return f"{verb} element bridge {TABLE} {SET} {{ {elements} }}\n" if pods else ""


def parse(listed: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The objects of `nft -j list set`: address -> port."""
    found: dict[str, str] = {}
    for item in listed:
        found.update({e["concat"][1]: e["concat"][0] for e in item.get("set", {}).get("elem", ())})
    return found

"""All that a cluster holds in the kernel, as text that can be compared: what a student would look at, tool by tool."""

from __future__ import annotations

import json
import re
from typing import Any

from minik8s_net import Cluster

State = dict[str, list[str]]
COUNTS = re.compile(r"\[\d+:\d+\]")
LOOKS = {
    "links": "ip -d -j link",
    "addresses": "ip -4 -o addr",
    "routes": "ip -4 route",
    "neighbours": "ip -4 neigh show nud permanent",
    "sysctls": "sysctl net.ipv4.ip_forward net.ipv4.conf.all.route_localnet",
}
LOOKS_OF_NODES = {
    "iptables": "iptables-save",
    "ipset": "ipset save",
    "nft": "nft list table bridge minik8s-entry; nft list tables bridge; nft list tables netdev",
}
MARK = "=== "


def kernel_state(cluster: Cluster) -> State:
    """`PLACE: TOOL` -> its lines, without counters; in order of the alphabet where order means nothing."""
    pods = [p for p in cluster.api.request("GET", "/api/v1/pods")["items"] if p["status"].get("phase") == "Running"]
    names = [f"{p['metadata']['namespace']}/pod/{p['metadata']['name']}" for p in pods]
    nodes = [n["metadata"]["name"] for n in cluster.api.request("GET", "/api/v1/nodes")["items"]]
    state: State = {}
    for place in ["fabric", "outside", *nodes, *names]:
        state |= {f"{place}: {look}": lines for look, lines in _look(cluster, place).items()}
    return state


def difference(before: State, after: State) -> list[str]:
    """What differs, in words; [] if nothing."""
    said = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key, []), after.get(key, [])
        said += [f"{key}: gone: {x}" for x in old if x not in new] + [f"{key}: new: {x}" for x in new if x not in old]
    return said


def _look(cluster: Cluster, place: str) -> State:
    looks = {**LOOKS, **(LOOKS_OF_NODES if place.startswith(("node-", "fabric")) else {})}
    script = "; ".join(f"echo '{MARK}{name}'; {command} 2>/dev/null" for name, command in looks.items())
    output = cluster.shell(place, ["sh", "-c", script]).stdout
    parts = {part.partition("\n")[0]: part.partition("\n")[2] for part in output.split(MARK)[1:]}
    assert parts.keys() == looks.keys(), f"{place}: {output[:200]}"
    found = {name: sorted(COUNTS.sub("", line).strip() for line in text.splitlines()) for name, text in parts.items()}
    found["links"] = sorted(_link(each) for each in json.loads(parts["links"]))
    for name in ("iptables", "ipset"):  # comments carry the time; sizes grow with use
        kept = (re.sub(r" (hashsize|bucketsize|initval) \S+", "", x) for x in found.get(name, []) if x[:1] != "#")
        found[name] = list(kept)
    found["nft"] = sorted(re.split(r"[,{}\s]+(?=\")", " ".join(found.get("nft", []))))  # elements in any order
    return found


def _link(link: dict[str, Any]) -> str:
    info = link.get("linkinfo") or {}
    hairpin = (info.get("info_slave_data") or {}).get("hairpin")
    said = (link["ifname"], info.get("info_kind"), link["mtu"], link.get("master"), link["operstate"], link["address"])
    return " ".join(map(str, (*said, f"hairpin={hairpin}")))

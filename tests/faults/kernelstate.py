"""All that a cluster holds in the kernel, as text that can be compared: what a student would look at, tool by tool."""

from __future__ import annotations

import json
import re
import time
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
PLACE, MARK = "### ", "=== "
OURS = ("eth0", "br0", "cni0", "vxlan.1")


def kernel_state(cluster: Cluster) -> State:
    """`PLACE: TOOL` -> its lines, without counters; in order of the alphabet where order means nothing."""
    pods = [p for p in cluster.api.request("GET", "/api/v1/pods")["items"] if p["status"].get("phase") == "Running"]
    names = [f"{p['metadata']['namespace']}.{p['metadata']['name']}" for p in pods]
    nodes = [n["metadata"]["name"] for n in cluster.api.request("GET", "/api/v1/nodes")["items"]]
    state: State = {}
    for place, looks in _look(cluster, ["fabric", "outside", *nodes, *names]).items():
        state |= {f"{place}: {look}": lines for look, lines in looks.items()}
    return state


def difference(before: State, after: State) -> list[str]:
    """What differs, in words; [] if nothing."""
    said = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key, []), after.get(key, [])
        said += [f"{key}: gone: {x}" for x in old if x not in new] + [f"{key}: new: {x}" for x in new if x not in old]
    return said


def returns_to(cluster: Cluster, before: State, seconds: float) -> None:
    """Wait until the kernel is as it was; what differs still is the failure's message."""
    deadline = time.monotonic() + seconds
    while (left := difference(before, kernel_state(cluster))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, "\n".join(left)


def _look(cluster: Cluster, places: list[str]) -> dict[str, State]:
    """One process enters the cluster, and from there each namespace: a shell per place would cost seconds."""
    script = "\n".join(
        f"echo '{PLACE}{place}'; nsenter --net=/run/minik8s/netns/{cluster.name}.{place} sh -c \"{_script(place)}\""
        for place in places
    )
    output = cluster.shell("fabric", ["sh", "-c", script]).stdout
    parts = {part.partition("\n")[0]: part.partition("\n")[2] for part in output.split(PLACE)[1:]}
    assert parts.keys() == set(places), output[:300]
    return {place: _parse(text) for place, text in parts.items()}


def _script(place: str) -> str:
    looks = {**LOOKS, **(LOOKS_OF_NODES if place.startswith(("node-", "fabric")) else {})}
    return "; ".join(f"echo '{MARK}{name}'; {command} 2>/dev/null" for name, command in looks.items())


def _parse(output: str) -> State:
    parts = {part.partition("\n")[0]: part.partition("\n")[2] for part in output.split(MARK)[1:]}
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
    chosen = link["address"] if link["ifname"] in OURS else ""  # the kernel invents those of ports
    said = (link["ifname"], info.get("info_kind"), link["mtu"], link.get("master"), link["operstate"], chosen)
    return " ".join(map(str, (*said, f"hairpin={hairpin}")))

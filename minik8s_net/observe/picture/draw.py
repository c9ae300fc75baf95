"""The picture's shapes. Pure: the same topology gives the same text, a line per shape.

State is shown by shape and word as well as by colour.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from ...cni.pod import host_ifname
from ...config import is_ipv4
from .layout import BRIDGE_H, BRIDGE_Y, EDGE, FABRIC_H, PAD, RAIL, Box, Layout, in_order, key, lay_out
from .style import STYLE
from .way import draw_way

if TYPE_CHECKING:
    from ..topology import NodeView, PodView, PolicyView, ServiceView, Topology
    from ..trace.model import Trace

CHIP_W, CHIP_H = 22, 13


def draw(topology: Topology, trace: Trace | None = None) -> str:
    """One self-contained SVG document; with a trace, its way over the picture."""
    at = lay_out(topology)
    way = draw_way(at, trace) if trace else []
    height = at.height + (52 if trace else 0)
    written = {station.written_by for station in trace.stations} if trace else set()
    ips = {pod.ip: key(pod) for node in topology.nodes for pod in node.pods if pod.ip}
    nodes = [line for node in topology.nodes for line in _node(node, at)]
    pods = [line for n in topology.nodes for pod in in_order(n) for line in _pod(pod, at.pods[key(pod)])]
    flows = [line for service in topology.services for line in _flows(service, at, ips)]
    services = [
        line for s in topology.services for line in _service(s, at, f"Service {s.namespace}/{s.name}" in written)
    ]
    policies = [line for policy in topology.policies for line in _policy(policy, at, written)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {at.width} {height}" width="{at.width}" '
            f'height="{height}" role="img" aria-label="{escape(_summary(topology))}">',
            f"<style>{STYLE}</style>",
            text(EDGE, 28, f"cluster {topology.cluster}", "title"),
            f'<rect class="fabric" x="{EDGE}" y="{at.fabric.y}" width="{at.fabric.w}" height="{FABRIC_H}" rx="6"/>',
            text(36, at.fabric.y + 20, "fabric", "name"),
            text(84, at.fabric.y + 20, "bridge br0, the wire between the nodes", "dim"),
            *nodes,
            *flows,  # below the pods: a line ends where it meets one
            *pods,
            *services,
            *policies,
            *way,
            "</svg>",
        ]
    )


def text(x: float, y: float, words: str, kind: str, end: bool = False) -> str:
    """One line of letters; `end`: right-aligned at x."""
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{x}" y="{y}" class="{kind}"{anchor}>{escape(words)}</text>'


def short(words: str, most: int) -> str:
    """At most so many letters."""
    return words if len(words) <= most else words[: most - 1] + "…"


def _node(node: NodeView, at: Layout) -> Iterator[str]:
    box = at.nodes[node.name]
    state = "" if node.ready else "  NotReady"
    yield f'<path class="wire" d="M{box.middle} {box.y}V{at.fabric.y + FABRIC_H}"/>'
    yield f'<g data-node="{node.name}"><title>{escape(f"{node.name} {node.ip}{state}")}</title>'
    yield f'<rect class="node" x="{box.x}" y="{box.y}" width="{box.w}" height="{box.h}" rx="10"/>'
    yield text(box.x + PAD, box.y + 22, node.name + state, "name")
    yield text(box.x + box.w - PAD, box.y + 22, f"eth0 {node.ip}", "mono", end=True)
    yield "</g>"
    for pod in in_order(node):  # its veth: from the column's rail into the pod's left side
        place = at.pods[key(pod)]
        yield f'<path class="wire" d="M{place.x} {place.y + 23}H{place.x - RAIL}V{box.y + BRIDGE_Y + BRIDGE_H}"/>'
    bridge = f'x="{box.x + PAD - 2 * RAIL}" y="{box.y + BRIDGE_Y}" width="{box.w - 2 * (PAD - 2 * RAIL)}"'
    yield f'<rect class="bridge" {bridge} height="{BRIDGE_H}" rx="5"/>'
    yield text(box.x + PAD + 8, box.y + 50, f"cni0  {node.pod_cidr}", "mono")


def _pod(pod: PodView, box: Box) -> Iterator[str]:
    label = key(pod) if pod.namespace != "default" else pod.name
    kind, mark = ("pod", "●") if pod.ready else ("pod waiting", "○")
    closed = f"; isolated: {', '.join(pod.isolated)}" if pod.isolated else ""
    veth = f"; eth0 is the other end of {host_ifname(pod.ip)}" if is_ipv4(pod.ip) else ""
    yield (
        f'<g data-pod="{key(pod)}"><title>{escape(f"{key(pod)} {pod.ip} {pod.phase}{veth}{closed}")}</title>'
        f'<rect class="{kind}" x="{box.x}" y="{box.y}" width="{box.w}" height="{box.h}" rx="7"/>'
    )
    yield text(box.x + 9, box.y + 19, f"{mark} {short(label, 16)}", "name")
    yield text(box.x + 9, box.y + 36, pod.ip or pod.phase, "mono")
    for i, direction in enumerate(pod.isolated):
        x, word = box.x + box.w - 6 - (i + 1) * (CHIP_W + 3), {"Ingress": "in", "Egress": "out"}[direction]
        yield f'<rect class="closed" x="{x}" y="{box.y + 27}" width="{CHIP_W}" height="{CHIP_H}" rx="4"/>'
        yield f'<text x="{x + CHIP_W / 2}" y="{box.y + 37}" class="tiny" text-anchor="middle">{word}</text>'
    yield "</g>"


def _flows(service: ServiceView, at: Layout, ips: dict[str, str]) -> Iterator[str]:
    """From a Service to its endpoints; drawn over the nodes and under the pods, ending at the pods' upper edges."""
    box = at.services[f"{service.namespace}/{service.name}"]
    for ip in service.endpoints:
        if ip in ips:
            end, y = at.pods[ips[ip]], box.y + box.h
            curve = f"C{box.middle} {end.y - 60} {end.middle} {y + 60} {end.middle} {end.y}"
            yield f'<path class="flow" d="M{box.middle} {y}{curve}"/>'


def _service(service: ServiceView, at: Layout, asked: bool) -> Iterator[str]:
    full = f"{service.namespace}/{service.name}"
    box, kind = at.services[full], "service asked" if asked else "service"
    name = full if service.namespace != "default" else service.name
    tip = f"Service {full}: {', '.join(service.endpoints) or 'no endpoints'}"
    yield f'<g data-service="{full}"><title>{escape(tip)}</title>'
    yield f'<rect class="{kind}" x="{box.x}" y="{box.y}" width="{box.w}" height="{box.h}" rx="7"/>'
    yield text(box.x + 10, box.y + 20, short(name, 26), "name")
    yield text(box.x + 10, box.y + 38, short(f"{service.ip}  {' '.join(service.ports)}", 28), "mono")
    yield "</g>"


def _policy(policy: PolicyView, at: Layout, written: set[str]) -> Iterator[str]:
    full = f"{policy.namespace}/{policy.name}"
    box = at.policies[full]
    kind = "policy asked" if any(full in by for by in written if by.startswith("NetworkPolicy")) else "policy"
    ways = " and ".join({"Ingress": "into", "Egress": "out of"}[d] for d in policy.directions)
    count = f"{len(policy.pods)} pod" + ("" if len(policy.pods) == 1 else "s")
    tip = f"NetworkPolicy {full} decides {ways} {', '.join(policy.pods) or 'no pod'}"
    name = full if policy.namespace != "default" else policy.name
    yield (
        f'<g data-policy="{full}"><title>{escape(tip)}</title>'
        f'<rect class="{kind}" x="{box.x}" y="{box.y}" width="{box.w}" height="{box.h}" rx="7"/>'
    )
    yield text(box.x + 10, box.y + 19, short(name, 15), "name")
    yield text(box.x + box.w - 8, box.y + 19, f"{ways} {count}", "dim", end=True)
    yield "</g>"


def _summary(topology: Topology) -> str:
    pods = sum(len(node.pods) for node in topology.nodes)
    return f"cluster {topology.cluster}: {len(topology.nodes)} nodes, {pods} pods, {len(topology.services)} Services"

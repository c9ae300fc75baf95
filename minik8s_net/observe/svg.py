"""A Topology as SVG: the fabric across the middle, nodes hanging from it with their bridge and pods, Services on top.

Pure: the same topology gives the same text. Colours come from CSS classes, with a dark scheme where the reader has one;
state is shown by shape and word as well as by colour.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .topology import NodeView, PodView, ServiceView, Topology

POD_W, POD_H, GAP, PAD = 152, 46, 10, 14
SERVICE_W, SERVICE_H = 196, 50
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1b2733 }
.title { font-size: 15px; font-weight: 600 } .name { font-weight: 600 } .dim { fill: #5b6b7b; font-size: 11px }
.mono { font-family: ui-monospace, monospace; font-size: 11px }
.node { fill: #f3f6fa; stroke: #9fb1c4 } .fabric { fill: #dfe8f3; stroke: #8aa2bd }
.bridge { fill: #e6eef7; stroke: #9fb1c4 }
.pod { fill: #ffffff; stroke: #2a7ab9; stroke-width: 1.5 } .waiting { stroke-dasharray: 4 3; stroke: #b3541e }
.service { fill: #fff8e6; stroke: #c2930a } .wire { stroke: #8aa2bd; fill: none; stroke-width: 1.5 }
.flow { stroke: #c2930a; fill: none; opacity: .55 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .dim { fill: #9fb1c4 } .node { fill: #18222d; stroke: #3d5166 }
  .fabric, .bridge { fill: #22303f; stroke: #4d647d } .pod { fill: #0f1720; stroke: #5aa9e6 }
  .waiting { stroke: #f0935a } .service { fill: #2c2610; stroke: #e0b93a } .flow { stroke: #e0b93a }
}"""


def draw(topology: Topology) -> str:
    """The picture as one self-contained SVG document."""
    columns = _columns(topology.nodes)
    node_w = columns * (POD_W + GAP) - GAP + 2 * PAD
    rows = max([-(-len(node.pods) // columns) for node in topology.nodes] or [0])
    node_h = 78 + max(rows, 1) * (POD_H + GAP) + PAD
    width = max(len(topology.nodes) * (node_w + 24) + 24, 3 * (SERVICE_W + GAP) + 48)
    per_row = max(1, (width - 48) // (SERVICE_W + GAP))
    service_rows = -(-len(topology.services) // per_row)
    fabric_y = 52 + service_rows * (SERVICE_H + GAP) + 34
    node_y = fabric_y + 66
    height = node_y + node_h + 24
    body: list[str] = []
    spots: dict[str, tuple[float, float]] = {}
    for i, node in enumerate(topology.nodes):
        body += _node(node, 24 + i * (node_w + 24), node_y, node_w, node_h, columns, fabric_y, spots)
    services = [
        _service(service, 24 + (i % per_row) * (SERVICE_W + GAP), 46 + (i // per_row) * (SERVICE_H + GAP), spots)
        for i, service in enumerate(topology.services)
    ]
    flows = [line for lines, _ in services for line in lines]
    boxes = [line for _, lines in services for line in lines]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" aria-label="{escape(_summary(topology))}">',
            f"<style>{STYLE}</style>",
            _text(24, 28, f"cluster {topology.cluster}", "title"),
            f'<rect class="fabric" x="24" y="{fabric_y}" width="{width - 48}" height="30" rx="6"/>',
            _text(36, fabric_y + 20, "fabric", "name"),
            _text(84, fabric_y + 20, "bridge br0, the wire between the nodes", "dim"),
            *body,
            *flows,
            *boxes,
            "</svg>",
        ]
    )


def _columns(nodes: list[NodeView]) -> int:
    most = max([len(node.pods) for node in nodes] or [0])
    return max(1, min(3 if len(nodes) < 4 else 2, most))


def _node(
    node: NodeView, x: float, y: float, w: float, h: float, columns: int, fabric_y: float,
    spots: dict[str, tuple[float, float]],
) -> list[str]:  # fmt: skip
    state = "" if node.ready else "  NotReady"
    lines = [
        f'<path class="wire" d="M{x + w / 2} {y}V{fabric_y + 30}"/>',
        f'<g data-node="{node.name}"><title>{escape(f"{node.name} {node.ip}{state}")}</title>',
        f'<rect class="node" x="{x}" y="{y}" width="{w}" height="{h}" rx="10"/>',
        _text(x + PAD, y + 22, node.name + state, "name"),
        _text(x + w - PAD, y + 22, f"eth0 {node.ip}", "mono", end=True),
        "</g>",
        f'<rect class="bridge" x="{x + PAD}" y="{y + 34}" width="{w - 2 * PAD}" height="24" rx="5"/>',
        _text(x + PAD + 8, y + 50, f"cni0  {node.pod_cidr}", "mono"),
    ]
    for i, pod in enumerate(sorted(node.pods, key=lambda p: (p.namespace != "default", p.namespace, p.name))):
        px = x + PAD + (i % columns) * (POD_W + GAP)
        py = y + 72 + (i // columns) * (POD_H + GAP)
        spots[pod.ip] = (px + POD_W / 2, py)
        lines += _pod(pod, px, py)
    return lines


def _pod(pod: PodView, x: float, y: float) -> list[str]:
    label = f"{pod.namespace}/{pod.name}" if pod.namespace != "default" else pod.name
    kind = "pod" if pod.ready else "pod waiting"
    mark = "●" if pod.ready else "○"
    return [
        f'<g data-pod="{pod.namespace}/{pod.name}">'
        f"<title>{escape(f'{pod.namespace}/{pod.name} {pod.ip} {pod.phase}')}</title>",
        f'<rect class="{kind}" x="{x}" y="{y}" width="{POD_W}" height="{POD_H}" rx="7"/>',
        _text(x + 9, y + 19, f"{mark} {_short(label, 17)}", "name"),
        _text(x + 9, y + 36, pod.ip or pod.phase, "mono"),
        "</g>",
    ]


def _service(
    service: ServiceView, x: float, y: float, spots: dict[str, tuple[float, float]]
) -> tuple[list[str], list[str]]:
    """(flows to the endpoints, the box). Flows are drawn over the nodes and end at the pods' upper edges."""
    from_x, from_y = x + SERVICE_W / 2, y + SERVICE_H
    flows = [
        f'<path class="flow" d="M{from_x} {from_y}C{from_x} {to_y - 60} {to_x} {from_y + 60} {to_x} {to_y}"/>'
        for to_x, to_y in (spots[ip] for ip in service.endpoints if ip in spots)
    ]
    name = f"{service.namespace}/{service.name}" if service.namespace != "default" else service.name
    ports = " ".join(service.ports)
    return flows, [
        f'<g data-service="{service.namespace}/{service.name}"><title>{escape(_tooltip(service))}</title>',
        f'<rect class="service" x="{x}" y="{y}" width="{SERVICE_W}" height="{SERVICE_H}" rx="7"/>',
        _text(x + 10, y + 20, _short(name, 26), "name"),
        _text(x + 10, y + 38, _short(f"{service.ip}  {ports}", 28), "mono"),
        "</g>",
    ]


def _text(x: float, y: float, text: str, kind: str, end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{x}" y="{y}" class="{kind}"{anchor}>{escape(text)}</text>'


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _summary(topology: Topology) -> str:
    pods = sum(len(node.pods) for node in topology.nodes)
    return f"cluster {topology.cluster}: {len(topology.nodes)} nodes, {pods} pods, {len(topology.services)} Services"


def _tooltip(service: ServiceView) -> str:
    return f"Service {service.namespace}/{service.name}: {', '.join(service.endpoints) or 'no endpoints'}"

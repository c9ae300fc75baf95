"""Where everything stands: Services on top, the fabric across, nodes hanging from it, policies below. Pure numbers.

Services …
───────── fabric ─────────      a node: its uplink in the middle of its upper edge, the bridge below the heading,
node-1    node-2    node-3      pods in columns below the bridge, each column with a rail that its veths hang from
policies …
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..topology import NodeView, PodView, Topology

POD_W, POD_H, GAP, PAD = 152, 46, 10, 14
SERVICE_W, SERVICE_H = 196, 50
POLICY_H, EDGE = 30, 24
HEADING, BRIDGE_Y, BRIDGE_H, PODS_Y = 52, 34, 24, 72
FABRIC_H, RAIL = 30, 5


@dataclass(frozen=True)
class Box:
    """Upper left corner and size, in pixels."""

    x: float
    y: float
    w: float
    h: float

    @property
    def middle(self) -> float:
        """Of its width."""
        return self.x + self.w / 2


@dataclass(frozen=True)
class Layout:
    """Boxes by name; pods and Services by "namespace/name"."""

    width: float
    height: float
    fabric: Box
    nodes: dict[str, Box]
    pods: dict[str, Box]
    services: dict[str, Box]
    policies: dict[str, Box]
    pod_node: dict[str, str]
    below: float
    """Where a trace's words begin."""

    def bridge_y(self, node: str) -> float:
        """Where a way runs along a node's bridge: below its words."""
        return self.nodes[node].y + BRIDGE_Y + BRIDGE_H - 4

    @property
    def wire_y(self) -> float:
        """Where a way runs along the fabric: below its words."""
        return self.fabric.y + FABRIC_H - 6


def lay_out(topology: Topology) -> Layout:
    """Node columns are as wide as the fullest needs; all nodes are as high."""
    columns = _columns(topology.nodes)
    node_w = columns * (POD_W + GAP) - GAP + 2 * PAD
    rows = max([-(-len(node.pods) // columns) for node in topology.nodes] or [0])
    node_h = PODS_Y + 6 + max(rows, 1) * (POD_H + GAP) + PAD
    width = max(len(topology.nodes) * (node_w + EDGE) + EDGE, 3 * (SERVICE_W + GAP) + 2 * EDGE)
    per_row = max(1, int((width - 2 * EDGE) // (SERVICE_W + GAP)))
    services = _grid([f"{s.namespace}/{s.name}" for s in topology.services], per_row, HEADING - 6, SERVICE_H)
    fabric_y = HEADING + -(-len(services) // per_row) * (SERVICE_H + GAP) + 34
    node_y = fabric_y + 66
    nodes = {n.name: Box(EDGE + i * (node_w + EDGE), node_y, node_w, node_h) for i, n in enumerate(topology.nodes)}
    pods: dict[str, Box] = {}
    pod_node: dict[str, str] = {}
    for node in topology.nodes:
        at = nodes[node.name]
        for i, pod in enumerate(in_order(node)):
            x, y = at.x + PAD + (i % columns) * (POD_W + GAP), at.y + PODS_Y + (i // columns) * (POD_H + GAP)
            pods[key(pod)], pod_node[key(pod)] = Box(x, y, POD_W, POD_H), node.name
    under = node_y + node_h + 16
    policies = _grid([f"{p.namespace}/{p.name}" for p in topology.policies], per_row, under, POLICY_H)
    below = under + -(-len(policies) // per_row) * (POLICY_H + GAP)
    fabric = Box(EDGE, fabric_y, width - 2 * EDGE, FABRIC_H)
    return Layout(width, below + 8, fabric, nodes, pods, services, policies, pod_node, below)


def in_order(node: NodeView) -> list[PodView]:
    """One's own pods first."""
    return sorted(node.pods, key=lambda p: (p.namespace != "default", p.namespace, p.name))


def key(pod: PodView) -> str:
    """ "namespace/name"."""
    return f"{pod.namespace}/{pod.name}"


def _columns(nodes: list[NodeView]) -> int:
    most = max([len(node.pods) for node in nodes] or [0])
    return max(1, min(3 if len(nodes) < 4 else 2, most))


def _grid(names: list[str], per_row: int, y: float, height: float) -> dict[str, Box]:
    return {
        name: Box(EDGE + (i % per_row) * (SERVICE_W + GAP), y + (i // per_row) * (height + GAP), SERVICE_W, height)
        for i, name in enumerate(names)
    }

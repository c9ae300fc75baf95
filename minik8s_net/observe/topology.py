"""The live picture: nodes, bridges, pods with their addresses, Services and the endpoints behind them.

Read from the API (so it works against any cluster). Draws itself: text in a terminal, SVG in a notebook.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..client.http import Api
from .picture.draw import draw

if TYPE_CHECKING:
    from .trace.model import Trace

Json = dict[str, Any]
PATHS = (
    "/api/v1/nodes",
    "/api/v1/pods",
    "/api/v1/services",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/networking.k8s.io/v1/networkpolicies",
)


@dataclass
class PodView:
    """One pod: `phase` is what `get pods` shows, `ready` whether Services send it traffic."""

    namespace: str
    name: str
    ip: str
    phase: str
    ready: bool
    labels: dict[str, str] = field(default_factory=dict)
    isolated: list[str] = field(default_factory=list)
    """Ingress, Egress: the directions in which policies decide."""


@dataclass
class NodeView:
    """One node: its address on the fabric, its pod range, and its pods on the bridge cni0."""

    name: str
    ip: str
    pod_cidr: str
    ready: bool
    pods: list[PodView] = field(default_factory=list)


@dataclass
class ServiceView:
    """One Service: `endpoints` are the ready addresses behind it."""

    namespace: str
    name: str
    type: str
    ip: str
    ports: list[str]
    endpoints: list[str] = field(default_factory=list)


@dataclass
class PolicyView:
    """One NetworkPolicy: in which directions it isolates which pods ("namespace/name")."""

    namespace: str
    name: str
    directions: list[str]
    pods: list[str] = field(default_factory=list)


@dataclass
class Topology:
    """A cluster as one sees it. `str()` is text, `svg()` a picture, `to_dict()` data."""

    cluster: str
    nodes: list[NodeView]
    services: list[ServiceView]
    policies: list[PolicyView] = field(default_factory=list)

    def svg(self, trace: Trace | None = None) -> str:
        """A self-contained picture; with a trace (`cluster.trace(…)`), its way drawn over it, moving."""
        return draw(self, trace)

    def to_dict(self) -> Json:
        """Plain JSON."""
        return asdict(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "image/svg+xml": self.svg()}

    def __str__(self) -> str:
        lines = [f"cluster {self.cluster}", "│"]
        for i, node in enumerate(self.nodes):
            last = i == len(self.nodes) - 1
            state = "" if node.ready else "  NotReady"
            lines.append(f"{'└' if last else '├'}── {node.name}  {node.ip}  pods {node.pod_cidr}{state}")
            rail = " " if last else "│"
            for pod in node.pods:
                mark = "●" if pod.ready else "○"
                lines.append(f"{rail}      {mark} {pod.ip or '-':<15} {pod.namespace}/{pod.name}  {pod.phase}")
        if self.services:
            lines += ["", "Services"]
        for service in self.services:
            to = ", ".join(service.endpoints) or "no endpoints"
            lines.append(f"  {service.ip:<15} {service.namespace}/{service.name} {','.join(service.ports)} → {to}")
        if self.policies:
            lines += ["", "NetworkPolicies"]
        for policy in self.policies:
            lines.append(f"  {policy.namespace}/{policy.name} {'+'.join(policy.directions)} of "
                         f"{', '.join(policy.pods) or 'no pod'}")  # fmt: skip
        return "\n".join(lines)


def topology(api: Api, cluster: str | None) -> Topology:
    """Look at a cluster. One request for each of PATHS, whatever its size."""
    return assemble(cluster or api.connection.host, *(api.request("GET", path)["items"] for path in PATHS))


def assemble(
    cluster: str, nodes: list[Json], pods: list[Json], services: list[Json], slices: list[Json], policies: list[Json]
) -> Topology:
    """From objects (in the order of PATHS) to a picture: pure."""
    by_name = {node["metadata"]["name"]: _node(node) for node in nodes}
    for pod in pods:
        if (where := pod.get("spec", {}).get("nodeName")) in by_name:
            by_name[where].pods.append(_pod(pod))
    views = {(s["metadata"]["namespace"], s["metadata"]["name"]): _service(s) for s in services}
    for piece in slices:
        labels = piece["metadata"].get("labels") or {}
        key = (piece["metadata"]["namespace"], labels.get("kubernetes.io/service-name", ""))
        if key in views:
            views[key].endpoints += [
                address
                for endpoint in piece.get("endpoints") or []
                if (endpoint.get("conditions") or {}).get("ready", True)
                for address in endpoint["addresses"]
            ]
    for view in views.values():
        view.endpoints.sort()
    ordered = sorted(by_name.values(), key=lambda n: (len(n.name), n.name))
    all_pods = [pod for node in ordered for pod in node.pods]
    return Topology(cluster, ordered, [views[key] for key in sorted(views)], [_policy(p, all_pods) for p in policies])


def _node(node: Json) -> NodeView:
    status = node.get("status") or {}
    addresses = {a["type"]: a["address"] for a in status.get("addresses") or []}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])
    return NodeView(node["metadata"]["name"], addresses.get("InternalIP", ""), node["spec"].get("podCIDR", ""), ready)


def _pod(pod: Json) -> PodView:
    status = pod.get("status") or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])
    leaving = "deletionTimestamp" in pod["metadata"]
    return PodView(
        pod["metadata"]["namespace"],
        pod["metadata"]["name"],
        status.get("podIP", ""),
        "Terminating" if leaving else status.get("phase", "Pending"),
        ready,
        pod["metadata"].get("labels") or {},
    )


def _service(service: Json) -> ServiceView:
    spec = service["spec"]
    kind = "Headless" if spec.get("clusterIP") == "None" else spec.get("type", "ClusterIP")
    ports = [f"{p['port']}/{p.get('protocol', 'TCP')}" for p in spec.get("ports") or []]
    ip = spec.get("clusterIP") or spec.get("externalName", "")
    return ServiceView(service["metadata"]["namespace"], service["metadata"]["name"], kind, ip, ports)


def _policy(policy: Json, pods: list[PodView]) -> PolicyView:
    """Marks the pods it isolates."""
    from lightkube.resources.networking_v1 import NetworkPolicy

    from ..policy.model import DIRECTIONS, compile_policy

    typed: Any = NetworkPolicy.from_dict(policy)
    rules = compile_policy(typed)
    directions = [d for d in DIRECTIONS if rules.rules(d) is not None]
    selected = [pod for pod in pods if pod.namespace == rules.namespace and rules.selector.matches(pod.labels)]
    for pod in selected:
        pod.isolated += [d for d in directions if d not in pod.isolated]
    return PolicyView(rules.namespace, rules.name, [*directions], [f"{p.namespace}/{p.name}" for p in selected])

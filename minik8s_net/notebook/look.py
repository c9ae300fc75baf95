"""What a click on a pod, a node or a Service shows: the kernel's own words where the cluster is ours."""

from __future__ import annotations

from ..cluster import Cluster

TABS = {
    "pod": ["addresses", "routes", "rules", "logs", "object"],
    "node": ["addresses", "routes", "rules", "neighbours", "object"],
    "service": ["endpoints", "rules", "object"],
}
MOST_LINES = 400
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_COMMANDS = {"addresses": "ip -br addr", "routes": "ip route", "neighbours": "ip neigh"}


def look(cluster: Cluster, where: str, tab: str) -> str:
    """`where` is "pod default/web", "node node-1" or "service default/web"; `tab` one of TABS. Bounded in length."""
    kind, _, key = where.partition(" ")
    namespace, _, name = key.rpartition("/")
    if tab not in TABS.get(kind, ()):
        raise LookupError(f"{kind} has no {tab}; there is: {', '.join(TABS.get(kind, ()))}")
    if tab == "object":
        text = _yaml(cluster, kind, name, namespace or None)
    elif tab == "logs":
        text = cluster.logs(name, namespace=namespace, tail=MOST_LINES) or "(nothing printed so far)"
    elif tab == "endpoints":
        text = _endpoints(cluster, namespace, name)
    elif tab == "rules":
        text = _rules(cluster, kind, namespace, name)
    else:
        text = _run(cluster, kind, namespace, name, _COMMANDS[tab])
    return bounded(text)


def bounded(text: str) -> str:
    """At most MOST_LINES lines."""
    lines = text.rstrip().splitlines()
    more = [f"… {len(lines) - MOST_LINES} lines more"] if len(lines) > MOST_LINES else []
    return "\n".join([*lines[:MOST_LINES], *more]) or "(nothing)"


def _run(cluster: Cluster, kind: str, namespace: str, name: str, command: str) -> str:
    """In the namespace itself; of somebody else's cluster only pods can be asked, by exec."""
    if cluster.name is None:
        return str(cluster.exec(name, command, namespace=namespace))
    return str(cluster.shell(name if kind == "node" else f"{namespace}/pod/{name}", command))


def _rules(cluster: Cluster, kind: str, namespace: str, name: str) -> str:
    """A node's tables; of a pod or Service the lines of its node (any node) that name it."""
    if kind == "node":
        return str(cluster.shell(name, "iptables-save")) + str(cluster.shell(name, "nft list ruleset ip"))
    if kind == "pod":
        pod = cluster.get("pod", name, namespace)
        node, words = pod.spec.nodeName, [f"{pod.status.podIP}/", f"{pod.status.podIP}:", f"{namespace}/{name}"]
    else:
        service = cluster.get("service", name, namespace)
        node = cluster.get("nodes")[0].metadata.name
        words = [f'"{namespace}/{name}', f"{service.spec.clusterIP}/"]
    saved = str(cluster.shell(node, "iptables-save")).splitlines()
    chosen = [line for line in saved if line.startswith("-A") and any(word in line for word in words)]
    return "\n".join([f"# on {node}", *chosen]) if chosen else f"# on {node}: no rule of iptables names it"


def _endpoints(cluster: Cluster, namespace: str, name: str) -> str:
    lines = []
    for piece in cluster.get("endpointslices", namespace=namespace, labels=f"kubernetes.io/service-name={name}"):
        ports = ", ".join(f"{port.port}/{port.protocol}" for port in piece.ports or [])
        for endpoint in piece.endpoints or []:
            ready = "ready" if endpoint.conditions and endpoint.conditions.ready else "not ready"
            pod = endpoint.targetRef.name if endpoint.targetRef else ""
            lines += [f"{address:15} {ports:12} {ready:10} {pod}" for address in endpoint.addresses]
    return "\n".join(lines) or "no endpoints: does the selector match the labels of a ready pod?"


def _yaml(cluster: Cluster, kind: str, name: str, namespace: str | None) -> str:
    import yaml

    resource = cluster.api.resource(kind)
    found = cluster.api.request("GET", resource.path(namespace, name))
    found["metadata"].pop("managedFields", None)
    (found["metadata"].get("annotations") or {}).pop(LAST_APPLIED, None)  # it says all of it once more, in one line
    return yaml.safe_dump({"apiVersion": resource.api_version, "kind": resource.kind, **found}, sort_keys=False)

"""Defaults of Services, Endpoints, EndpointSlices, NetworkPolicies and Ingresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minik8s_net.api.defaults.pod import fill

Json = dict[str, Any]
AFFINITY_SECONDS = 10800


def default_service(service: Json) -> None:
    """All but the addresses and node ports, which the registry allocates (clusterIP and clusterIPs are synced here)."""
    spec = service.setdefault("spec", {})
    fill(spec, sessionAffinity="None", type="ClusterIP")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    if spec["sessionAffinity"] == "ClientIP":
        fill(
            spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {}),
            timeoutSeconds=AFFINITY_SECONDS,
        )
    for port in spec.get("ports", []):
        fill(port, protocol="TCP")
        if port.get("targetPort") in (None, "", 0) and "port" in port:
            port["targetPort"] = port["port"]
    kind = spec["type"]
    external = kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs"))
    if external:
        fill(spec, externalTrafficPolicy="Cluster")
    if kind in ("ClusterIP", "NodePort", "LoadBalancer"):
        fill(spec, internalTrafficPolicy="Cluster")
    if kind == "LoadBalancer":
        fill(spec, allocateLoadBalancerNodePorts=True)
    service.setdefault("status", {}).setdefault("loadBalancer", {})
    _addresses(spec)


def _addresses(spec: Json) -> None:
    if spec.get("clusterIP") and "clusterIPs" not in spec:
        spec["clusterIPs"] = [spec["clusterIP"]]
    if spec.get("clusterIPs") and not spec.get("clusterIP"):
        spec["clusterIP"] = spec["clusterIPs"][0]
    if spec["type"] == "ExternalName":
        return
    headless_without_selector = spec.get("clusterIP") == "None" and not spec.get("selector")
    fill(
        spec,
        ipFamilyPolicy="RequireDualStack" if headless_without_selector else "SingleStack",
        ipFamilies=["IPv4"],
    )
    if headless_without_selector and spec["ipFamilyPolicy"] == "RequireDualStack" and spec["ipFamilies"] == ["IPv4"]:
        spec["ipFamilies"] = ["IPv4", "IPv6"]


def default_network_policy(policy: Json) -> None:
    """policyTypes: Ingress always; Egress where the policy has egress rules (an empty list counts only when given)."""
    spec = policy.setdefault("spec", {})
    fill(spec, podSelector={})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in (*spec.get("ingress", []), *spec.get("egress", [])):
        for port in rule.get("ports", []):
            fill(port, protocol="TCP")


def default_endpoint_slice(piece: Json) -> None:
    """Ports get a name, a protocol."""
    for port in piece.get("ports") or []:
        fill(port, name="", protocol="TCP")
    if piece.get("endpoints") is None:
        piece["endpoints"] = []


def default_endpoints(endpoints: Json) -> None:
    """Ports get a protocol."""
    for subset in endpoints.get("subsets", []):
        for port in subset.get("ports", []):
            fill(port, protocol="TCP")


def default_ingress_class(obj: Json) -> None:
    """A parameters reference is cluster-wide unless it says otherwise."""
    if parameters := obj.get("spec", {}).get("parameters"):
        fill(parameters, scope="Cluster")


DEFAULTS: dict[tuple[str, str], Callable[[Json], None]] = {
    ("", "Service"): default_service,
    ("", "Endpoints"): default_endpoints,
    ("discovery.k8s.io", "EndpointSlice"): default_endpoint_slice,
    ("networking.k8s.io", "NetworkPolicy"): default_network_policy,
    ("networking.k8s.io", "IngressClass"): default_ingress_class,
}

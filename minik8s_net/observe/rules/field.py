"""The field a rule follows from, by what it does. Pure.

The names of chains and the words of rules are kube-proxy's (proxy/iptables.py, proxy/nftables.py) and the policy
enforcer's (policy/render.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from ...proxy.model import Endpoint, ServicePort
from ...proxy.names import endpoint_chain, nft_endpoint
from .model import Origin
from .search import Written

_AFFINITY = re.compile(r"-m recent|@affinity-|^timeout |^type ipv4_addr$|^size |^flags ")
_TO = re.compile(r"^-d ([\d.]+)/32 |^([\d.]+) \. ")
_RULE = re.compile(r'--comment "([^/ "]+)/([^ "]+) (ingress|egress)\[(\d+)\]"')
_NONE_OF = re.compile(r"allowed by none of ([^\"]+)")


def of_service(
    w: Written, port: ServicePort, index: int, service: Service, slices: Sequence[EndpointSlice]
) -> list[Origin]:
    """Of a rule of one port of a Service; `index` of the port in spec.ports."""
    assert service.metadata
    namespace, name = service.metadata.namespace or "", service.metadata.name or ""

    def spec(field: str) -> list[Origin]:
        return [Origin("Service", namespace, name, field)]

    if _AFFINITY.search(w.rule):
        return spec("spec.sessionAffinity")
    ends = [e for e in port.reachable if w.chain in (endpoint_chain(port, e), nft_endpoint("endpoint", port, e))]
    if not ends and w.table != "map":
        ends = [e for e in port.reachable if f"{endpoint_chain(port, e)}" in w.rule]
    if ends:
        return spec(f"spec.ports[{index}].targetPort") + list(_endpoint(ends[0], slices))
    if "numgen" in w.rule:  # the choice among all endpoints
        chosen = spec("spec.selector") if service.spec and service.spec.selector else []
        return chosen + [Origin("EndpointSlice", namespace, _name(s), "endpoints") for s in slices if s.endpoints]
    if field := _by_chain(w, port, index) or _by_address(w, port, service):
        return spec(field)
    return spec(f"spec.ports[{index}]")


def of_policy(w: Written, selecting: Iterable[tuple[str, str]]) -> list[Origin]:
    """Of a rule of a pod's chains; `selecting`: the policies (namespace, name) that isolate the pod."""
    if found := _RULE.search(w.rule):
        return [Origin("NetworkPolicy", found[1], found[2], f"spec.{found[3]}[{found[4]}]")]
    if none := _NONE_OF.search(w.rule):
        pairs = [each.strip().partition("/") for each in none[1].split(",")]
        return [Origin("NetworkPolicy", namespace, name, "spec.policyTypes") for namespace, _, name in pairs]
    return [Origin("NetworkPolicy", namespace, name, "spec.podSelector") for namespace, name in selecting]


def _by_chain(w: Written, port: ServicePort, index: int) -> str:
    if "health check node port" in w.rule:
        return "spec.healthCheckNodePort"
    if w.chain.startswith(("KUBE-NODEPORTS", "service-nodeports", "no-endpoint-nodeports")):
        return f"spec.ports[{index}].nodePort"
    if w.chain.startswith(("KUBE-FW-", "KUBE-PROXY-FIREWALL", "firewall-")):
        return "spec.loadBalancerSourceRanges"
    if w.chain.startswith(("KUBE-EXT-", "external-")):
        return "spec.externalTrafficPolicy"
    if "KUBE-MARK-MASQ" in w.rule or "mark-for-masquerade" in w.rule:
        return "spec.clusterIP"
    return ""


def _by_address(w: Written, port: ServicePort, service: Service) -> str:
    found = _TO.search(w.rule)
    ip = (found[1] or found[2]) if found else w.rule
    given = (service.spec.externalIPs if service.spec else None) or []
    if ip in given:
        return f"spec.externalIPs[{given.index(ip)}]"
    if ip in port.load_balancer_ips:
        return f"status.loadBalancer.ingress[{port.load_balancer_ips.index(ip)}].ip"
    return "spec.clusterIP" if ip == port.cluster_ip else ""


def _endpoint(end: Endpoint, slices: Sequence[EndpointSlice]) -> Iterable[Origin]:
    for slice_ in slices:
        for number, each in enumerate(slice_.endpoints or []):
            if slice_.metadata and end.ip in each.addresses:
                at = f"endpoints[{number}].addresses[{each.addresses.index(end.ip)}]"
                yield Origin("EndpointSlice", slice_.metadata.namespace or "", _name(slice_), at)
                return


def _name(slice_: EndpointSlice) -> str:
    return (slice_.metadata.name if slice_.metadata else None) or ""

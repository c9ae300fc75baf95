"""Services, endpoints, policies and ingresses as tables."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from minik8s_net.api.tables.columns import NONE, age_of, columns, labels, name_of, selector

Json = dict[str, Any]
SHOWN = 3  # endpoints before "+ N more..."
LONGEST = 16  # of a load balancer's address list, unless wide


def service_cells(service: Json, now: datetime) -> list[Any]:
    """`kubectl get services`."""
    spec = service.get("spec", {})
    address = spec.get("clusterIP") or NONE
    ports = ",".join(_port(p) for p in spec.get("ports", [])) or NONE
    return [name_of(service), spec.get("type", ""), address, _external(service), ports, age_of(service, now),
            labels(spec.get("selector"))]  # fmt: skip


def _port(port: Json) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}"


def _external(service: Json) -> str:
    spec = service.get("spec", {})
    addresses = list(spec.get("externalIPs", []))
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    if spec.get("type") == "LoadBalancer":
        points = service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
        given = ",".join(sorted({str(p.get("ip") or p.get("hostname") or "") for p in points} - {""}))
        if not given and not addresses:
            return "<pending>"
        return ",".join(filter(None, [given, *addresses]))
    return ",".join(addresses) or NONE


def slice_cells(piece: Json, now: datetime) -> list[Any]:
    """`kubectl get endpointslices`."""
    ports = [str(p.get("port", "*")) for p in piece.get("ports") or []]
    addresses = [a for e in piece.get("endpoints") or [] for a in e.get("addresses", [])]
    return [name_of(piece), piece.get("addressType", ""), _short(ports, "<unset>"), _short(addresses, "<unset>"),
            age_of(piece, now)]  # fmt: skip


def _short(items: list[str], empty: str) -> str:
    more = f" + {len(items) - SHOWN} more..." if len(items) > SHOWN else ""
    return ",".join(items[:SHOWN]) + more if items else empty


def endpoints_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get endpoints`."""
    found = []
    for subset in obj.get("subsets", []):
        for address in subset.get("addresses", []):
            ports = subset.get("ports") or [None]
            found += [f"{address.get('ip')}:{p.get('port')}" if p else str(address.get("ip")) for p in ports]
    return [name_of(obj), _short(found, NONE), age_of(obj, now)]


def policy_cells(policy: Json, now: datetime) -> list[Any]:
    """`kubectl get networkpolicies`."""
    return [name_of(policy), selector(policy.get("spec", {}).get("podSelector")), age_of(policy, now)]


def ingress_cells(obj: Json, now: datetime) -> list[Any]:
    """`kubectl get ingresses`."""
    spec = obj.get("spec", {})
    hosts = [r["host"] for r in spec.get("rules", []) if r.get("host")]
    points = obj.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    address = ",".join(str(p.get("ip") or p.get("hostname") or "") for p in points)
    ports = "80, 443" if spec.get("tls") else "80"
    return [
        name_of(obj),
        spec.get("ingressClassName") or NONE,
        _short(hosts, "*"),
        address,
        ports,
        age_of(obj, now),
    ]


PRINTERS = {
    ("", "Service"): (
        columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", also=("Selector",)), service_cells),
    ("", "Endpoints"): (columns("Name", "Endpoints", "Age"), endpoints_cells),
    ("discovery.k8s.io", "EndpointSlice"): (
        columns("Name", "AddressType", "Ports", "Endpoints", "Age"), slice_cells),
    ("networking.k8s.io", "NetworkPolicy"): (columns("Name", "Pod-Selector", "Age"), policy_cells),
    ("networking.k8s.io", "Ingress"): (
        columns("Name", "Class", "Hosts", "Address", "Ports", "Age"), ingress_cells),
}  # fmt: skip

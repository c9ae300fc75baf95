"""Short spellings of the objects that the tests are about."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def namespace(name: str) -> Json:
    return {"kind": "Namespace", "metadata": {"name": name}}


def port(number: int, name: str = "", protocol: str = "TCP") -> Json:
    return {"port": number, "protocol": protocol, **({"name": name} if name else {})}


def service(name: str, ip: str | None, *ports: Json, ns: str = "testns", **spec: Any) -> Json:
    ips = [] if ip is None else ip.split(",")
    head = {"clusterIP": ips[0] if ips else "None", "clusterIPs": ips or ["None"]}
    meta = {"name": name, "namespace": ns}
    return {
        "kind": "Service",
        "metadata": meta,
        "spec": {"type": "ClusterIP", **head, "ports": list(ports), **spec},
    }


def external(name: str, target: str, ns: str = "testns") -> Json:
    meta = {"name": name, "namespace": ns}
    return {"kind": "Service", "metadata": meta, "spec": {"type": "ExternalName", "externalName": target}}


def endpoint(ip: str, hostname: str = "", ready: bool | None = True) -> Json:
    conditions = {} if ready is None else {"ready": ready}
    return {"addresses": [ip], "conditions": conditions, **({"hostname": hostname} if hostname else {})}


def slice_(name: str, of: str, endpoints: list[Json], *ports: Json, ns: str = "testns") -> Json:
    meta = {"name": name, "namespace": ns, "labels": {"kubernetes.io/service-name": of}}
    family = "IPv6" if endpoints and ":" in endpoints[0]["addresses"][0] else "IPv4"
    return {
        "kind": "EndpointSlice",
        "metadata": meta,
        "addressType": family,
        "endpoints": endpoints,
        "ports": list(ports),
    }


def pod(name: str, ip: str, ns: str = "testns", phase: str = "Running") -> Json:
    status = {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}]}
    return {"kind": "Pod", "metadata": {"name": name, "namespace": ns}, "status": status}


def config_map(corefile: str, **files: str) -> Json:
    meta = {"name": "coredns", "namespace": "kube-system"}
    return {"kind": "ConfigMap", "metadata": meta, "data": {"Corefile": corefile, **files}}

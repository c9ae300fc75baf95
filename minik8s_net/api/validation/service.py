"""Services. Allocation (a taken address or node port, ranges) is the registry's; `OUT_OF_RANGE` words it."""

from __future__ import annotations

import functools
import ipaddress
from typing import Any

from minik8s_net.api.errors import FieldError, Go, bad_value, duplicate, prohibited, required, unsupported
from minik8s_net.api.validation import names
from minik8s_net.api.validation.meta import one_of, validate_labels

Json = dict[str, Any]
TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
NODE_PORTS = range(30000, 32768)
MAX_AFFINITY_SECONDS = 86400


def validate_service(service: Json) -> list[FieldError]:
    """Type, ports, addresses, affinity and policies of a Service."""
    spec = service.get("spec", {})
    kind = spec.get("type", "")
    errors = _ports_given(spec)
    if kind == "LoadBalancer":
        errors += [
            bad_value(
                f"spec.ports[{i}].port",
                10250,
                "may not expose port 10250 externally since it is used by kubelet",
            )
            for i, p in enumerate(spec.get("ports", []))
            if p.get("port") == 10250
        ]
    if kind == "NodePort" and _headless(spec):
        errors.append(bad_value("spec.clusterIPs[0]", "None", "may not be set to 'None' for NodePort services"))
    if kind == "LoadBalancer" and _headless(spec):
        errors.append(bad_value("spec.clusterIPs[0]", "None", "may not be set to 'None' for LoadBalancer services"))
    if kind == "ExternalName":
        errors += _external_name(spec)
    errors += _ports(spec)
    errors += validate_labels(spec.get("selector", {}), "spec.selector")
    errors += _affinity(spec)
    if kind not in TYPES:
        errors.append(unsupported("spec.type", kind, TYPES))
    errors += _families(spec) + _addresses(spec) + _external_ips(spec)
    return errors + _load_balancer(spec) + _traffic_policies(spec)


def _headless(spec: Json) -> bool:
    return bool(spec.get("clusterIPs", [None])[0:1] == ["None"] or spec.get("clusterIP") == "None")


def _ports_given(spec: Json) -> list[FieldError]:
    optional = _headless(spec) or spec.get("type") == "ExternalName"
    return [] if spec.get("ports") or optional else [required("spec.ports")]


def _external_name(spec: Json) -> list[FieldError]:
    errors = []
    if spec.get("clusterIPs"):
        errors.append(prohibited("spec.clusterIPs", "may not be set for ExternalName services"))
    for field in ("ipFamilies", "ipFamilyPolicy"):
        if spec.get(field):
            errors.append(prohibited(f"spec.{field}", "may not be set for ExternalName services"))
    name = spec.get("externalName", "").removesuffix(".")
    if not name:
        return [*errors, required("spec.externalName")]
    return errors + [bad_value("spec.externalName", name, e) for e in names.dns_subdomain(name)]


def _ports(spec: Json) -> list[FieldError]:
    ports, errors = spec.get("ports", []), []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        errors += _port(port, f"spec.ports[{i}]", named=len(ports) > 1, headless=_headless(spec), seen=seen)
        if port.get("nodePort") and spec.get("type") not in ("NodePort", "LoadBalancer"):
            errors.append(prohibited(f"spec.ports[{i}].nodePort", "may not be used when `type` is 'ClusterIP'"))
    tuples: set[tuple[Any, ...]] = set()
    for i, port in enumerate(ports):
        key = (port.get("protocol"), port.get("port"))
        if key in tuples:
            errors.append(duplicate(f"spec.ports[{i}]", Go(_port_key(port))))
        tuples.add(key)
    return errors + _node_ports(ports)


def _port_key(port: Json) -> str:
    return (
        f'core.ServicePort{{Name:"", Protocol:"{port.get("protocol")}", AppProtocol:(*string)(nil), '
        f"Port:{port.get('port')}, "
        'TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:""}, NodePort:0}'
    )


def _node_ports(ports: list[Json]) -> list[FieldError]:
    errors, seen = [], set()
    for i, port in enumerate(ports):
        number = port.get("nodePort") or 0
        path = f"spec.ports[{i}].nodePort"
        if number and (key := (port.get("protocol"), number)) in seen:
            errors.append(duplicate(path, number))
        elif number:
            seen.add(key)
        if number and number not in NODE_PORTS:
            detail = (
                f"provided port is not in the valid range. The range of valid ports is {NODE_PORTS[0]}-{NODE_PORTS[-1]}"
            )
            errors.append(bad_value(path, number, detail))
    return errors


def _port(port: Json, path: str, *, named: bool, headless: bool, seen: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    name = port.get("name", "")
    if not name and named:
        errors.append(required(f"{path}.name"))
    elif name:
        errors += [bad_value(f"{path}.name", name, e) for e in names.dns_label(name)]
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)
    errors += [bad_value(f"{path}.port", port.get("port", 0), e) for e in names.port_number(port.get("port"))]
    if port.get("protocol", "") not in PROTOCOLS:
        errors.append(unsupported(f"{path}.protocol", port.get("protocol", ""), PROTOCOLS))
    target = port.get("targetPort", 0)
    errors += [bad_value(f"{path}.targetPort", target, e) for e in names.port_or_name(target)]
    if app := port.get("appProtocol"):
        errors += [bad_value(f"{path}.appProtocol", app, e) for e in names.qualified_name(app)]
    return errors


def _affinity(spec: Json) -> list[FieldError]:
    affinity = spec.get("sessionAffinity", "")
    if affinity not in ("ClientIP", "None"):
        return [unsupported("spec.sessionAffinity", affinity, ("ClientIP", "None"))]
    if affinity == "None":
        return []
    seconds = spec.get("sessionAffinityConfig", {}).get("clientIP", {}).get("timeoutSeconds", 0)
    if 0 < seconds <= MAX_AFFINITY_SECONDS:
        return []
    detail = f"must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"
    return [bad_value("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, detail)]


def _families(spec: Json) -> list[FieldError]:
    if spec.get("type") == "ExternalName":
        return []
    errors: list[FieldError] = []
    for i, family in enumerate(spec.get("ipFamilies", [])):
        errors += one_of(f"spec.ipFamilies[{i}]", family, ("IPv4", "IPv6"))
    policy = spec.get("ipFamilyPolicy")
    if policy is not None:
        errors += one_of("spec.ipFamilyPolicy", policy, ("PreferDualStack", "RequireDualStack", "SingleStack"))
    selectorless = _headless(spec) and not spec.get("selector")
    if policy == "RequireDualStack" and not selectorless:
        detail = "this cluster is not configured for dual-stack services"
        errors.append(bad_value("spec.ipFamilyPolicy", policy, detail))
    if spec.get("ipFamilies") == ["IPv6"] and not selectorless:
        errors.append(bad_value("spec.ipFamilies[0]", "IPv6", "not configured on this cluster"))
    return errors


def _addresses(spec: Json) -> list[FieldError]:
    if spec.get("type") == "ExternalName":
        return []
    errors: list[FieldError] = []
    addresses = spec.get("clusterIPs", [])
    if spec.get("clusterIP", "") and addresses and addresses[0] != spec["clusterIP"]:
        errors.append(bad_value("spec.clusterIPs", Go.strings(addresses), "first value must match `clusterIP`"))
    for i, address in enumerate(addresses):
        if address == "None" and i == 0 and len(addresses) == 1:
            continue
        if address in ("None", ""):
            errors.append(bad_value(f"spec.clusterIPs[{i}]", address, names.IP_ERROR))
        else:
            errors += [bad_value(f"spec.clusterIPs[{i}]", address, e) for e in names.ip(address)]
    if len(addresses) > 2:
        detail = "may only hold up to 2 values"
        errors.append(bad_value("spec.clusterIPs", Go.strings(addresses), detail))
    return errors


def _external_ips(spec: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, address in enumerate(spec.get("externalIPs", [])):
        path = f"spec.externalIPs[{i}]"
        if wrong := names.ip(address):
            errors += [bad_value(path, address, e) for e in wrong]
        else:
            errors += special_address(address, path)
    return errors


def special_address(address: str, path: str) -> list[FieldError]:
    """Addresses no endpoint can have: unspecified, loopback, link-local."""
    return [bad_value(path, address, why) for why in _special(address)]


@functools.lru_cache(8192)
def _special(address: str) -> tuple[str, ...]:
    ip = ipaddress.ip_address(address)
    found = (
        (ip.is_unspecified, f"may not be unspecified ({address})"),
        (ip.is_loopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (ip.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (
            ip.is_multicast and str(ip).startswith(("224.0.0.", "ff02:")),
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
    )
    return tuple(why for so, why in found if so)


def _load_balancer(spec: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    ranges = spec.get("loadBalancerSourceRanges", [])
    if ranges and spec.get("type") != "LoadBalancer":
        errors.append(prohibited("spec.LoadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'"))
    for i, cidr in enumerate(ranges):
        errors += [bad_value(f"spec.LoadBalancerSourceRanges[{i}]", cidr, e) for e in names.cidr(cidr.strip())]
    if "allocateLoadBalancerNodePorts" in spec and spec.get("type") != "LoadBalancer":
        detail = "may only be used when `type` is 'LoadBalancer'"
        errors.append(prohibited("spec.allocateLoadBalancerNodePorts", detail))
    if (cls := spec.get("loadBalancerClass")) is not None:
        if spec.get("type") != "LoadBalancer":
            errors.append(prohibited("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'"))
        else:
            errors += [bad_value("spec.loadBalancerClass", cls, e) for e in names.qualified_name(cls)]
    return errors


def _traffic_policies(spec: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    outer, kind = spec.get("externalTrafficPolicy"), spec.get("type")
    external = kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs"))
    if external:
        errors += one_of("spec.externalTrafficPolicy", outer, ("Cluster", "Local"))
    elif outer:
        detail = "may only be set for externally-accessible services"
        errors.append(bad_value("spec.externalTrafficPolicy", outer, detail))
    health = spec.get("healthCheckNodePort", 0)
    if health and not (kind == "LoadBalancer" and outer == "Local"):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errors.append(bad_value("spec.healthCheckNodePort", health, detail))
    inner = spec.get("internalTrafficPolicy")
    if inner is not None or kind in ("ClusterIP", "NodePort", "LoadBalancer"):
        errors += one_of("spec.internalTrafficPolicy", inner, ("Cluster", "Local"))
    distribution = spec.get("trafficDistribution")
    if distribution is not None:
        errors += one_of("spec.trafficDistribution", distribution, ("PreferClose",))
    return errors


def validate_service_change(new: Json, old: Json) -> list[FieldError]:
    """The cluster address stays, unless the Service turns from or into ExternalName."""
    spec, was = new.get("spec", {}), old.get("spec", {})
    if "ExternalName" in (spec.get("type"), was.get("type")):
        return []
    before, after = was.get("clusterIPs", []), spec.get("clusterIPs", [])
    if before and after and before[0] != after[0]:
        return [bad_value("spec.clusterIPs[0]", Go.strings(after), "may not change once set")]
    families, were = spec.get("ipFamilies", []), was.get("ipFamilies", [])
    if families and were and families[0] != were[0]:
        detail = "may not change once set"
        return [bad_value("spec.ipFamilies[0]", Go.strings(families, "core.IPFamily"), detail)]
    return []

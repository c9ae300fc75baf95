"""EndpointSlices and Endpoints."""

from __future__ import annotations

from typing import Any

from minik8s_net.api.errors import FieldError, bad_value, duplicate, required, unsupported
from minik8s_net.api.validation import names
from minik8s_net.api.validation.service import special_address

Json = dict[str, Any]
ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
PROTOCOLS = ("SCTP", "TCP", "UDP")
MAX_ADDRESSES, MAX_ENDPOINTS = 100, 1000


def validate_endpoint_slice(piece: Json) -> list[FieldError]:
    """Address type, endpoints (at most 1000), ports (at most 100)."""
    kind = piece.get("addressType", "")
    if not kind:
        errors = [required("addressType")]
    elif kind not in ADDRESS_TYPES:
        errors = [unsupported("addressType", kind, ADDRESS_TYPES)]
    else:
        errors = []
    endpoints = piece.get("endpoints", [])
    if len(endpoints) > MAX_ENDPOINTS:
        errors.append(FieldError("endpoints", "TooMany", len(endpoints), f"must have at most {MAX_ENDPOINTS} items"))
    for i, endpoint in enumerate(endpoints):
        errors += _endpoint(endpoint, f"endpoints[{i}]", kind)
    return errors + _ports(piece.get("ports") or [])


def _endpoint(endpoint: Json, path: str, kind: str) -> list[FieldError]:
    errors: list[FieldError] = []
    addresses = endpoint.get("addresses", [])
    if not addresses:
        errors.append(required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(addresses) > MAX_ADDRESSES:
        detail = f"must have at most {MAX_ADDRESSES} items"
        errors.append(FieldError(f"{path}.addresses", "TooMany", len(addresses), detail))
    for i, address in enumerate(addresses):
        at = f"{path}.addresses[{i}]"
        if kind in ("IPv4", "IPv6"):
            errors += _address(address, at, kind)
        elif kind == "FQDN":
            errors += [bad_value(at, address, e) for e in names.dns_subdomain(address)]
    if (host := endpoint.get("hostname")) is not None:
        errors += [bad_value(f"{path}.hostname", host, e) for e in names.dns_label(host)]
    if (node := endpoint.get("nodeName")) is not None:
        errors += [bad_value(f"{path}.nodeName", node, e) for e in names.dns_subdomain(node)]
    return errors


def _address(address: str, path: str, kind: str) -> list[FieldError]:
    ip = names.address(address)
    if ip is None or f"IPv{ip.version}" != kind:
        return [bad_value(path, address, f"must be a valid {kind} address")]
    return special_address(address, path)


def _ports(ports: list[Json]) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        path, name = f"ports[{i}]", port.get("name") or ""
        if name:
            errors += [bad_value(f"{path}.name", name, e) for e in names.dns_label(name)]
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)
        if "port" in port and not 0 <= port["port"] <= 65535:
            errors.append(bad_value(f"{path}.port", port["port"], names.PORT_RANGE))
        if port.get("protocol") not in PROTOCOLS:
            errors.append(unsupported(f"{path}.protocol", port.get("protocol", ""), PROTOCOLS))
    return errors


def validate_slice_change(new: Json, old: Json) -> list[FieldError]:
    """The address type stays."""
    if new.get("addressType") != old.get("addressType"):
        return [bad_value("addressType", new.get("addressType", ""), "field is immutable")]
    return []


def validate_endpoints(obj: Json) -> list[FieldError]:
    """Subsets: addresses and ports."""
    errors: list[FieldError] = []
    for i, subset in enumerate(obj.get("subsets", [])):
        path = f"subsets[{i}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            errors.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for field in ("addresses", "notReadyAddresses"):
            for j, address in enumerate(subset.get(field, [])):
                errors += _endpoint_address(address, f"{path}.{field}[{j}]")
        ports = subset.get("ports", [])
        for j, port in enumerate(ports):
            errors += _endpoint_port(port, f"{path}.ports[{j}]", named=len(ports) > 1)
    return errors


def _endpoint_address(address: Json, path: str) -> list[FieldError]:
    ip = address.get("ip", "")
    errors = [bad_value(f"{path}.ip", ip, e) for e in names.ip(ip)]
    if host := address.get("hostname"):
        errors += [bad_value(f"{path}.hostname", host, e) for e in names.dns_label(host)]
    return errors or special_address(ip, f"{path}.ip")


def _endpoint_port(port: Json, path: str, *, named: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    if name := port.get("name"):
        errors += [bad_value(f"{path}.name", name, e) for e in names.dns_label(name)]
    elif named:
        errors.append(required(f"{path}.name"))
    errors += [bad_value(f"{path}.port", port.get("port", 0), e) for e in names.port_number(port.get("port"))]
    if port.get("protocol") not in PROTOCOLS:
        errors.append(unsupported(f"{path}.protocol", port.get("protocol", ""), PROTOCOLS))
    return errors

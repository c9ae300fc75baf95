"""NetworkPolicies."""

from __future__ import annotations

import ipaddress
from typing import Any

from minik8s_net.api.errors import FieldError, Go, bad_value, prohibited, required, unsupported
from minik8s_net.api.validation import names
from minik8s_net.api.validation.meta import validate_selector

Json = dict[str, Any]
PROTOCOLS = ("TCP", "UDP", "SCTP")
POLICY_TYPES = ("Ingress", "Egress")


def validate_network_policy(policy: Json) -> list[FieldError]:
    """Selectors, ports and peers of both directions."""
    spec = policy.get("spec", {})
    errors = validate_selector(spec.get("podSelector", {}), "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction, [])):
            path = f"spec.{direction}[{i}]"
            for j, port in enumerate(rule.get("ports", [])):
                errors += _port(port, f"{path}.ports[{j}]")
            for j, peer in enumerate(rule.get(peers, [])):
                errors += _peer(peer, f"{path}.{peers}[{j}]")
    types = spec.get("policyTypes", [])
    if len(types) > len(POLICY_TYPES):
        detail = "may not specify more than two policyTypes"
        return [*errors, bad_value("spec.policyTypes", Go.strings(types, "networking.PolicyType"), detail)]
    for i, name in enumerate(types):
        if name not in POLICY_TYPES:
            errors.append(unsupported(f"spec.policyTypes[{i}]", name, POLICY_TYPES))
    return errors


def _port(port: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if port.get("protocol") not in PROTOCOLS:
        errors.append(unsupported(f"{path}.protocol", port.get("protocol", ""), PROTOCOLS))
    number, end = port.get("port"), port.get("endPort")
    if number is None:
        if end is not None:
            errors.append(required(f"{path}.port", "must be specified when `endPort` is specified"))
        return errors
    errors += [bad_value(f"{path}.port", number, e) for e in names.port_or_name(number)]
    if end is None:
        return errors
    if isinstance(number, str):
        errors.append(bad_value(f"{path}.endPort", end, "may not be specified when `port` is non-numeric"))
    elif end < number:
        # As the real server prints it: the value shown is `port`, not `endPort`.
        errors.append(bad_value(f"{path}.endPort", number, "must be greater than or equal to `port`"))
    return errors + [bad_value(f"{path}.endPort", end, e) for e in names.port_number(end)]


def _peer(peer: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    given = [f for f in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(f) is not None]
    for field in ("podSelector", "namespaceSelector"):
        if peer.get(field) is not None:
            errors += validate_selector(peer[field], f"{path}.{field}")
    if "ipBlock" in given:
        errors += _block(peer["ipBlock"], f"{path}.ipBlock")
    if not given:
        errors.append(required(path, "must specify a peer"))
    elif "ipBlock" in given and len(given) > 1:
        errors.append(prohibited(path, "may not specify both ipBlock and another peer"))
    return errors


def _block(block: Json, path: str) -> list[FieldError]:
    cidr = block.get("cidr", "")
    if not cidr:
        return [required(f"{path}.cidr")]
    if wrong := names.cidr(cidr):
        return [bad_value(f"{path}.cidr", cidr, e) for e in wrong]
    whole = ipaddress.ip_network(cidr, strict=False)
    errors: list[FieldError] = []
    for i, hole in enumerate(block.get("except", [])):
        at = f"{path}.except[{i}]"
        if wrong := names.cidr(hole):
            errors += [bad_value(at, hole, e) for e in wrong]
            continue
        part = ipaddress.ip_network(hole, strict=False)
        inside = part.version == whole.version and part.network_address in whole and part.prefixlen > whole.prefixlen
        if not inside:
            errors.append(bad_value(at, hole, "must be a strict subset of `cidr`"))
    return errors

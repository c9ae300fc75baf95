"""Ingresses and IngressClasses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minik8s_net.api.errors import FieldError, Go, bad_value, required, unsupported
from minik8s_net.api.validation import names
from minik8s_net.api.validation.meta import immutable

Json = dict[str, Any]
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
BAD_PARTS, BAD_ENDS = ("//", "/./", "/../", "%2f", "%2F"), ("/..", "/.")


def validate_ingress(obj: Json) -> list[FieldError]:
    """Rules and backends: hosts, paths, and exactly one kind of backend each."""
    spec, errors = obj.get("spec", {}), []
    if not spec.get("rules") and not spec.get("defaultBackend"):
        nothing = Go("[]networking.IngressRule(nil)")
        errors.append(bad_value("spec", nothing, "either `defaultBackend` or `rules` must be specified"))
    if "defaultBackend" in spec:
        errors += _backend(spec["defaultBackend"], "spec.defaultBackend")
    for i, rule in enumerate(spec.get("rules", [])):
        errors += _host(rule.get("host", ""), f"spec.rules[{i}].host")
        if "http" in rule:
            errors += _paths(rule["http"].get("paths", []), f"spec.rules[{i}].http.paths")
    for i, tls in enumerate(spec.get("tls", [])):
        for j, host in enumerate(tls.get("hosts", [])):
            check = names.wildcard if "*" in host else names.dns_subdomain
            errors += [bad_value(f"spec.tls[{i}].hosts[{j}]", host, e) for e in check(host)]
        if secret := tls.get("secretName"):
            errors += [bad_value(f"spec.tls[{i}].secretName", secret, e) for e in names.dns_subdomain(secret)]
    if "ingressClassName" in spec:
        name = spec["ingressClassName"]
        errors += [bad_value("spec.ingressClassName", name, e) for e in names.dns_subdomain(name)]
    return errors


def _host(host: str, path: str) -> list[FieldError]:
    if not host:
        return []
    errors = [] if names.ip(host) else [bad_value(path, host, "must be a DNS name, not an IP address")]
    check = names.wildcard if "*" in host else names.dns_subdomain
    return errors + [bad_value(path, host, e) for e in check(host)]


def _paths(paths: list[Json], at: str) -> list[FieldError]:
    errors = [] if paths else [required(at)]
    for i, path in enumerate(paths):
        here, kind, where = f"{at}[{i}]", path.get("pathType"), path.get("path", "")
        if kind is None:
            errors.append(required(f"{here}.pathType", "pathType must be specified"))
            continue
        if kind not in PATH_TYPES:
            errors.append(unsupported(f"{here}.pathType", kind, PATH_TYPES))
        elif not where.startswith("/") and (where or kind != "ImplementationSpecific"):
            errors.append(bad_value(f"{here}.path", where, "must be an absolute path"))
        if kind in ("Exact", "Prefix"):
            bad = [f"must not contain '{part}'" for part in BAD_PARTS if part in where]
            bad += [f"cannot end with '{end}'" for end in BAD_ENDS if where.endswith(end)]
            errors += [bad_value(f"{here}.path", where, detail) for detail in bad]
        errors += _backend(path.get("backend", {}), f"{here}.backend")
    return errors


def _backend(backend: Json, path: str) -> list[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [bad_value(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return [required(f"{path}.resource.{field}") for field in ("kind", "name") if not resource.get(field)]
    if service is None:
        return [bad_value(path, "", "resource or service backend is required")]
    name, port = service.get("name", ""), service.get("port", {})
    errors = [bad_value(f"{path}.service.name", name, e) for e in names.dns_1035(name)] if name else []
    errors += [] if name else [required(f"{path}.service.name")]
    called, number = port.get("name", ""), port.get("number", 0)
    if called and number:
        errors.append(bad_value(path, "", "cannot set both port name & port number"))
    elif called:
        errors += [bad_value(f"{path}.service.port.name", called, e) for e in names.port_name(called)]
    elif number:
        errors += [bad_value(f"{path}.service.port.number", number, e) for e in names.port_number(number)]
    else:
        errors.append(required(path, "port name or number is required"))
    return errors


def validate_ingress_class(obj: Json) -> list[FieldError]:
    """A controller named as `domain/path`."""
    controller = obj.get("spec", {}).get("controller", "")
    if not controller:
        return [required("spec.controller")]
    domain, slash, _ = controller.partition("/")
    wrong = names.dns_subdomain(domain) if slash else ['must be a domain-prefixed path (such as "acme.io/foo")']
    return [bad_value("spec.controller", controller, e) for e in wrong]


VALIDATORS: dict[tuple[str, str], Callable[[Json], list[FieldError]]] = {
    ("networking.k8s.io", "Ingress"): validate_ingress,
    ("networking.k8s.io", "IngressClass"): validate_ingress_class,
}
CHANGE_VALIDATORS: dict[tuple[str, str], Callable[[Json, Json], list[FieldError]]] = {
    ("networking.k8s.io", "IngressClass"): immutable("controller"),
}

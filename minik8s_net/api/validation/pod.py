"""PodSpecs: a pod's own and a template's. Containers are in `container.py`, volumes in `volume.py`."""

from __future__ import annotations

from typing import Any

from minik8s_net.api.errors import FieldError, bad_value, duplicate, prohibited, required, unsupported
from minik8s_net.api.validation import names
from minik8s_net.api.validation.affinity import validate_affinity
from minik8s_net.api.validation.container import ContainerRules, validate_containers
from minik8s_net.api.validation.meta import not_negative, one_of, validate_decorations, validate_selector
from minik8s_net.api.validation.volume import validate_volumes

Json = dict[str, Any]
RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def validate_pod(pod: Json) -> list[FieldError]:
    """A Pod."""
    return validate_spec(pod.get("spec", {}), "spec")


def validate_pod_template_object(obj: Json) -> list[FieldError]:
    """The kind PodTemplate."""
    return validate_template(obj.get("template", {}), "template")


def validate_template(template: Json, path: str) -> list[FieldError]:
    """A workload's `spec.template`, without what the workload adds (restart policy, selector match)."""
    errors = validate_decorations(template.get("metadata", {}), f"{path}.metadata")
    spec = template.get("spec", {})
    errors += validate_spec(spec, f"{path}.spec")
    if spec.get("ephemeralContainers"):
        errors.append(
            prohibited(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")
        )
    return errors


def validate_spec(spec: Json, path: str) -> list[FieldError]:
    """A PodSpec at `path`."""
    volumes, errors = validate_volumes(spec.get("volumes", []), f"{path}.volumes")
    rules = ContainerRules(volumes, bool(spec.get("hostNetwork")), spec.get("restartPolicy", ""))
    errors += validate_containers(spec, path, rules)
    errors += one_of(f"{path}.restartPolicy", spec.get("restartPolicy", ""), RESTART_POLICIES)
    errors += one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy", ""), DNS_POLICIES)
    errors += validate_selector({"matchLabels": spec.get("nodeSelector", {})}, path)
    errors += validate_affinity(spec.get("affinity", {}), f"{path}.affinity")
    errors += _dns(spec, path) + _names(spec, path) + _seconds(spec, path)
    for i, toleration in enumerate(spec.get("tolerations", [])):
        errors += _toleration(toleration, f"{path}.tolerations[{i}]")
    for i, alias in enumerate(spec.get("hostAliases", [])):
        errors += [bad_value(f"{path}.hostAliases.ip", alias.get("ip", ""), e) for e in names.ip(alias.get("ip", ""))]
        for j, host in enumerate(alias.get("hostnames", [])):
            at = f"{path}.hostAliases[{i}].hostnames[{j}]"
            errors += [
                bad_value(at.replace(f"[{i}]", "").replace(f"[{j}]", ""), host, e) for e in names.dns_subdomain(host)
            ]
    return errors + _readiness_gates(spec, path) + _spread(spec, path)


def _names(spec: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    checks = (
        ("serviceAccountName", names.dns_subdomain),
        ("nodeName", names.dns_subdomain),
        ("hostname", names.dns_label),
        ("subdomain", names.dns_label),
        ("priorityClassName", names.dns_subdomain),
        ("runtimeClassName", names.dns_subdomain),
    )
    for field, check in checks:
        if value := spec.get(field):
            errors += [bad_value(f"{path}.{field}", value, e) for e in check(value)]
    return errors


def _seconds(spec: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        errors.append(
            bad_value(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
        )
    return errors + not_negative(spec, path, "terminationGracePeriodSeconds")


def _dns(spec: Json, path: str) -> list[FieldError]:
    config, at = spec.get("dnsConfig"), f"{path}.dnsConfig"
    if spec.get("dnsPolicy") == "None":
        if config is None:
            return [required(at, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.get("nameservers"):
            return [required(f"{at}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")]
    if config is None:
        return []
    errors: list[FieldError] = []
    servers, searches = config.get("nameservers", []), config.get("searches", [])
    if len(servers) > 3:
        errors.append(bad_value(f"{at}.nameservers", list(servers), "must not have more than 3 nameservers"))
    for i, server in enumerate(servers):
        errors += [bad_value(f"{at}.nameservers[{i}]", server, e) for e in names.ip(server)]
    if len(searches) > 32:
        errors.append(bad_value(f"{at}.searches", list(searches), "must not have more than 32 search paths"))
    if len(" ".join(searches)) > 2048:
        longest = "must not have more than 2048 characters (including spaces) in the search list"
        errors.append(bad_value(f"{at}.searches", list(searches), longest))
    for i, domain in enumerate(searches):
        wrong = [] if domain == "." else names.search_domain(domain.removesuffix("."))
        errors += [bad_value(f"{at}.searches[{i}]", domain.removesuffix("."), e) for e in wrong]
    for i, option in enumerate(config.get("options", [])):
        if not option.get("name"):
            errors.append(required(f"{at}.options[{i}]", "must not be empty"))
    return errors


def _toleration(toleration: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    key, operator = toleration.get("key", ""), toleration.get("operator", "Equal")
    if key:
        errors += [bad_value(f"{path}.key", key, e) for e in names.qualified_name(key)]
    if not key and operator != "Exists":
        detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        errors.append(bad_value(f"{path}.operator", toleration.get("operator", ""), detail))
    effect = toleration.get("effect", "")
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        errors.append(bad_value(f"{path}.effect", effect, detail))
    if operator == "Exists" and toleration.get("value"):
        detail = "value must be empty when `operator` is 'Exists'"
        errors.append(bad_value(f"{path}.operator", toleration["value"], detail))
    elif operator not in ("Equal", "Exists"):
        errors.append(unsupported(f"{path}.operator", operator, ("Equal", "Exists")))
    if effect:
        errors += one_of(f"{path}.effect", effect, EFFECTS)
    return errors


def _readiness_gates(spec: Json, path: str) -> list[FieldError]:
    return [
        bad_value(f"{path}.readinessGates[{i}].conditionType", gate.get("conditionType", ""), e)
        for i, gate in enumerate(spec.get("readinessGates", []))
        for e in names.qualified_name(gate.get("conditionType", ""))
    ]


def _spread(spec: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[tuple[Any, Any]] = set()
    for i, term in enumerate(spec.get("topologySpreadConstraints", [])):
        at = f"{path}.topologySpreadConstraints[{i}]"
        if term.get("maxSkew", 0) <= 0:
            errors.append(bad_value(f"{at}.maxSkew", term.get("maxSkew", 0), "must be greater than zero"))
        if not term.get("topologyKey"):
            errors.append(required(f"{at}.topologyKey", "can not be empty"))
        unsatisfiable = term.get("whenUnsatisfiable", "")
        errors += one_of(f"{at}.whenUnsatisfiable", unsatisfiable, ("DoNotSchedule", "ScheduleAnyway"))
        key = (term.get("topologyKey"), unsatisfiable)
        if key in seen:
            errors.append(duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", f"{{{key[0]}, {key[1]}}}"))
        seen.add(key)
        errors += validate_selector(term.get("labelSelector", {}), f"{at}.labelSelector")
    return errors

"""Containers: names, images, ports, environment, mounts, probes, resources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minik8s_net.api import quantity
from minik8s_net.api.errors import FieldError, bad_value, duplicate, prohibited, required, unsupported
from minik8s_net.api.validation import names
from minik8s_net.api.validation.meta import not_negative, one_of

Json = dict[str, Any]
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
PROTOCOLS = ("SCTP", "TCP", "UDP")
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
HEADER_ERROR = (
    "a valid HTTP header must consist of alphanumeric characters or '-' "
    "(e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')"
)
RESOURCES = ("cpu", "memory", "ephemeral-storage")


@dataclass
class ContainerRules:
    """What a container's rules need to know of its pod."""

    volumes: set[str]
    host_network: bool
    restart_policy: str


def validate_containers(spec: Json, path: str, rules: ContainerRules) -> list[FieldError]:
    """All containers of a pod spec: at least one, with unique names and host ports."""
    errors: list[FieldError] = []
    if not spec.get("containers"):
        errors.append(required(f"{path}.containers"))
    seen: set[str] = set()
    for group in ("containers", "initContainers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(group, [])):
            at = f"{path}.{group}[{i}]"
            errors += _container(container, at, rules)
            if group == "initContainers":
                errors += _init_container(container, at)
            name = container.get("name", "")
            if name and name in seen:
                errors.append(duplicate(f"{at}.name", name))
            seen.add(name)
        if group == "containers":
            errors += _host_ports(spec.get(group, []), f"{path}.{group}")
    return errors


def _container(container: Json, path: str, rules: ContainerRules) -> list[FieldError]:
    errors: list[FieldError] = []
    name, image = container.get("name", ""), container.get("image", "")
    if not name:
        errors.append(required(f"{path}.name"))
    errors += [bad_value(f"{path}.name", name, e) for e in names.dns_label(name) if name]
    if not image:
        errors.append(required(f"{path}.image"))
    elif image != image.strip():
        errors.append(bad_value(f"{path}.image", image, "must not have leading or trailing whitespace"))
    for probe in PROBES:
        if probe in container:
            errors += _probe(container[probe], f"{path}.{probe}", probe)
    for hook, handler in container.get("lifecycle", {}).items():
        if isinstance(handler, dict):
            errors += _handler(handler, f"{path}.lifecycle.{hook}")
    errors += one_of(
        f"{path}.terminationMessagePolicy",
        container.get("terminationMessagePolicy", ""),
        ("FallbackToLogsOnError", "File"),
    )
    errors += one_of(f"{path}.imagePullPolicy", container.get("imagePullPolicy", ""), PULL_POLICIES)
    errors += _ports(container.get("ports", []), f"{path}.ports", rules)
    errors += _env(container, path) + _mounts(container.get("volumeMounts", []), f"{path}.volumeMounts", rules)
    errors += _resources(container.get("resources", {}), f"{path}.resources")
    return errors + _security(container.get("securityContext", {}), f"{path}.securityContext")


def _security(context: Json, path: str) -> list[FieldError]:
    errors = [
        bad_value(f"{path}.{field}", context[field], "must be between 0 and 2147483647, inclusive")
        for field in ("runAsUser", "runAsGroup")
        if field in context and not 0 <= context[field] < 2**31
    ]
    if context.get("allowPrivilegeEscalation") is False and context.get("privileged"):
        detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        errors.append(bad_value(path, "", detail))
    return errors


def _init_container(container: Json, path: str) -> list[FieldError]:
    policy = container.get("restartPolicy")
    if policy is not None and policy != "Always":
        return [unsupported(f"{path}.restartPolicy", policy, ("Always",))]
    forbidden = [f for f in ("lifecycle", *PROBES) if f in container]
    return [
        prohibited(f"{path}.{f}", "may not be set for init containers without restartPolicy=Always")
        for f in forbidden
        if not policy
    ]


def _ports(ports: list[Json], path: str, rules: ContainerRules) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        at, name = f"{path}[{i}]", port.get("name", "")
        if name:
            errors += [bad_value(f"{at}.name", name, e) for e in names.port_name(name)]
            if name in seen:
                errors.append(duplicate(f"{at}.name", name))
            seen.add(name)
        number, host = port.get("containerPort", 0), port.get("hostPort", 0)
        if number == 0:
            errors.append(required(f"{at}.containerPort"))
        else:
            errors += [bad_value(f"{at}.containerPort", number, e) for e in names.port_number(number)]
        if host:
            errors += [bad_value(f"{at}.hostPort", host, e) for e in names.port_number(host)]
            if rules.host_network and host != number:
                errors.append(
                    bad_value(f"{at}.hostPort", host, "must match `containerPort` when `hostNetwork` is true")
                )
        if port.get("protocol", "") not in PROTOCOLS:
            errors.append(unsupported(f"{at}.protocol", port.get("protocol", ""), PROTOCOLS))
    return errors


def _host_ports(containers: list[Json], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, container in enumerate(containers):
        for j, port in enumerate(container.get("ports", [])):
            if host := port.get("hostPort"):
                key = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{host}"
                if key in seen:
                    errors.append(duplicate(f"{path}[{i}].ports[{j}].hostPort", key))
                seen.add(key)
    return errors


def _env(container: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, env in enumerate(container.get("env", [])):
        at, name, source = f"{path}.env[{i}]", env.get("name", ""), env.get("valueFrom")
        errors += [bad_value(f"{at}.name", name, e) for e in names.env_name(name)] if name else [required(f"{at}.name")]
        if source is not None:
            errors += _env_source(env, source, f"{at}.valueFrom")
    for i, env in enumerate(container.get("envFrom", [])):
        given = [f for f in ("configMapRef", "secretRef") if f in env]
        if len(given) != 1:
            errors.append(bad_value(f"{path}.envFrom", "", "must specify one of: `configMapRef` or `secretRef`"))
        for field in given:
            if not env[field].get("name"):
                errors.append(required(f"{path}.envFrom[{i}].{field}.name"))
    return errors


def _env_source(env: Json, source: Json, path: str) -> list[FieldError]:
    if not source:
        detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        return [bad_value(path, "", detail)]
    errors: list[FieldError] = []
    if env.get("value"):
        errors.append(bad_value(path, "", "may not be specified when `value` is not empty"))
    if len(source) > 1:
        errors.append(bad_value(path, "", "may not have more than one field specified at a time"))
    for field in ("configMapKeyRef", "secretKeyRef"):
        if field in source:
            if not source[field].get("name"):
                errors.append(required(f"{path}.{field}.name"))
            key = source[field].get("key", "")
            wrong = [bad_value(f"{path}.{field}.key", key, e) for e in names.config_key(key)]
            errors += wrong if key else [required(f"{path}.{field}.key")]
    if "fieldRef" in source:
        errors += field_path(source["fieldRef"].get("fieldPath", ""), f"{path}.fieldRef.fieldPath")
    return errors


DOWNWARD = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip


def field_path(name: str, path: str) -> list[FieldError]:
    """The downward API's field paths."""
    if not name:
        return [required(path)]
    bare = name.partition("['")[0]
    if bare in ("metadata.annotations", "metadata.labels") and name.endswith("']"):
        return []
    return one_of(path, name, DOWNWARD)


def _mounts(mounts: list[Json], path: str, rules: ContainerRules) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, mount in enumerate(mounts):
        at, name, where = f"{path}[{i}]", mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            errors.append(required(f"{at}.name"))
        if name not in rules.volumes:
            errors.append(FieldError(f"{at}.name", "NotFound", name))
        if not where:
            errors.append(required(f"{at}.mountPath"))
        if where and where in seen:
            errors.append(bad_value(f"{at}.mountPath", where, "must be unique"))
        seen.add(where)
        sub = mount.get("subPath", "")
        if sub.startswith("/"):
            errors.append(bad_value(f"{at}.subPath", sub, "must be a relative path"))
        if ".." in sub.split("/"):
            errors.append(bad_value(f"{at}.subPath", sub, "must not contain '..'"))
    return errors


def _probe(probe: Json, path: str, kind: str) -> list[FieldError]:
    errors = _handler(probe, path)
    errors += not_negative(
        probe,
        path,
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    )
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and kind == "readinessProbe":
        errors.append(bad_value(f"{path}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes"))
    elif grace is not None and grace <= 0:
        errors.append(bad_value(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    if kind != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        errors.append(bad_value(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return errors


def _handler(handler: Json, path: str) -> list[FieldError]:
    given = [h for h in HANDLERS if handler.get(h) is not None]
    if not given:
        return [required(path, "must specify a handler type")]
    errors = [prohibited(f"{path}.{h}", "may not specify more than 1 handler type") for h in given[1:]]
    at, body = f"{path}.{given[0]}", handler[given[0]]
    if given[0] == "exec" and not body.get("command"):
        errors.append(required(f"{at}.command"))
    if given[0] == "httpGet":
        if not body.get("path"):
            errors.append(required(f"{at}.path"))
        errors += [bad_value(f"{at}.port", body.get("port", 0), e) for e in names.port_or_name(body.get("port", 0))]
        errors += one_of(f"{at}.scheme", body.get("scheme", ""), ("HTTP", "HTTPS"))
        for header in body.get("httpHeaders", []):
            if not all(c.isalnum() or c == "-" for c in header.get("name", "") or "!"):
                errors.append(
                    bad_value(
                        f"{at}.httpHeaders",
                        header.get("name", ""),
                        HEADER_ERROR,
                    )
                )
    if given[0] in ("tcpSocket", "grpc"):
        port = body.get("port", 0)
        errors += [bad_value(f"{at}.port", port, e) for e in names.port_or_name(port)]
    return errors


def _resources(resources: Json, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            at = f"{path}.{field}"
            if "/" not in name and name not in RESOURCES and not name.startswith("hugepages-"):
                errors.append(bad_value(f"{at}[{name}]", name, "must be a standard resource type or fully qualified"))
                errors.append(bad_value(f"{at}[{name}]", name, "must be a standard resource for containers"))
            if quantity.parse(amount) < 0:
                errors.append(bad_value(f"{at}[{name}]", amount, "must be greater than or equal to 0"))
    for name, amount in requests.items():
        if name in limits and quantity.parse(amount) > quantity.parse(limits[name]):
            detail = f"must be less than or equal to {name} limit of {limits[name]}"
            errors.append(bad_value(f"{path}.requests", amount, detail))
    return errors

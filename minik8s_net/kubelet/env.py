"""A container's environment, command and arguments. Pure but for `lookup`, which reads ConfigMaps and Secrets.

https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping

from lightkube.models.core_v1 import Container, EnvVar, ServiceSpec
from lightkube.resources.core_v1 import Pod, Service

from .fields import field_value, resource_value

_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))")
Lookup = Callable[[str, str], Mapping[str, str] | None]  # ("ConfigMap" | "Secret", name) -> its data, decoded


class ConfigError(Exception):
    """The container can't be made as specified: CreateContainerConfigError with this message."""


def expand(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` -> its value where it has one, `$$(NAME)` -> `$(NAME)`."""

    def value(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return env.get(match[2], match[0])

    return _REFERENCE.sub(value, text)


def command(container: Container, env: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """command and args, expanded."""
    return [expand(c, env) for c in container.command or ()], [expand(a, env) for a in container.args or ()]


def environment(
    pod: Pod, container: Container, services: Iterable[Service], lookup: Lookup, addresses: tuple[str, str]
) -> dict[str, str]:
    """Later entries win: Services, then envFrom, then env. `addresses` are the pod's and the node's."""
    env: dict[str, str] = {}
    for service in services:
        env.update(service_variables(service))
    for source in container.envFrom or ():
        ref, kind = (source.configMapRef, "ConfigMap") if source.configMapRef else (source.secretRef, "Secret")
        if ref is None:
            continue
        data = lookup(kind, ref.name or "")
        if data is None and not ref.optional:
            raise ConfigError(f'{kind.lower()} "{ref.name}" not found')
        env.update({(source.prefix or "") + key: value for key, value in (data or {}).items()})
    for variable in container.env or ():
        value = _value(pod, container, variable, env, lookup, addresses)
        if value is not None:
            env[variable.name] = value
    return env


def _value(
    pod: Pod,
    container: Container,
    variable: EnvVar,
    env: Mapping[str, str],
    lookup: Lookup,
    addresses: tuple[str, str],
) -> str | None:
    source = variable.valueFrom
    if source is None:
        return expand(variable.value or "", env)
    if source.fieldRef:
        return field_value(pod, source.fieldRef.fieldPath, addresses)
    if source.resourceFieldRef:
        return resource_value(pod, source.resourceFieldRef, container)
    ref, kind = (source.configMapKeyRef, "ConfigMap") if source.configMapKeyRef else (source.secretKeyRef, "Secret")
    if ref is None:
        return None
    data = lookup(kind, ref.name or "")
    if data is not None and ref.key in data:
        return data[ref.key]
    if ref.optional:
        return None
    if data is None:
        raise ConfigError(f'{kind.lower()} "{ref.name}" not found')
    namespace = pod.metadata.namespace if pod.metadata else ""
    raise ConfigError(f"couldn't find key {ref.key} in {kind} {namespace}/{ref.name}")


def service_variables(service: Service) -> dict[str, str]:
    """REDIS_SERVICE_HOST, REDIS_SERVICE_PORT[_NAME], and Docker's link variables. Headless Services have none."""
    spec = service.spec or ServiceSpec()
    if not spec.clusterIP or spec.clusterIP == "None" or not spec.ports or not service.metadata:
        return {}
    prefix, host = (service.metadata.name or "").upper().replace("-", "_"), spec.clusterIP
    first = spec.ports[0]
    env = {f"{prefix}_SERVICE_HOST": host, f"{prefix}_SERVICE_PORT": str(first.port)}
    for port in spec.ports:
        if port.name:
            env[f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
    env[f"{prefix}_PORT"] = f"{(first.protocol or 'TCP').lower()}://{host}:{first.port}"
    for port in spec.ports:
        protocol = port.protocol or "TCP"
        link = f"{prefix}_PORT_{port.port}_{protocol}"
        env[link] = f"{protocol.lower()}://{host}:{port.port}"
        env[f"{link}_PROTO"], env[f"{link}_PORT"], env[f"{link}_ADDR"] = (
            protocol.lower(),
            str(port.port),
            host,
        )
    return env


def decoded(data: Mapping[str, str] | None) -> dict[str, str]:
    """A Secret's data as text."""
    return {k: base64.b64decode(v).decode(errors="surrogateescape") for k, v in (data or {}).items()}

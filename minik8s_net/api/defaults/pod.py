"""Defaults of pods and everything with a pod template (core/v1/defaults.go's facts)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
FILE_MODE = 0o644


def fill(tree: Json, **values: Any) -> None:
    """Set what is absent."""
    for name, value in values.items():
        if name not in tree:
            tree[name] = value


def default_pod(pod: Json) -> None:
    """A pod's own and its containers' defaults."""
    spec = pod.setdefault("spec", {})
    default_spec(spec)
    for container in (*spec.get("containers", []), *spec.get("initContainers", [])):
        _requests_from_limits(container)
    fill(spec, enableServiceLinks=True, preemptionPolicy="PreemptLowerPriority", priority=0)
    pod.setdefault("status", {}).setdefault("phase", "Pending")


def default_spec(spec: Json) -> None:
    """A PodSpec, be it a pod's or a template's."""
    fill(
        spec,
        restartPolicy="Always",
        dnsPolicy="ClusterFirst",
        terminationGracePeriodSeconds=30,
        schedulerName="default-scheduler",
        securityContext={},
    )
    if account := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in containers(spec):
        _container(container)
        if spec.get("hostNetwork"):
            for port in container.get("ports", []):
                if "containerPort" in port:
                    fill(port, hostPort=port["containerPort"])
    for volume in spec.get("volumes", []):
        _volume(volume)


def containers(spec: Json) -> Iterator[Json]:
    """Every container of a pod spec, of all three kinds."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field, [])


def _container(container: Json) -> None:
    image = container.get("image", "")
    fill(
        container,
        imagePullPolicy="Always" if tag(image) == "latest" else "IfNotPresent",
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        resources={},
    )
    for port in container.get("ports", []):
        fill(port, protocol="TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            fill(probe, **PROBE)
            _http_get(probe.get("httpGet"))
            if "grpc" in probe:
                fill(probe["grpc"], service="")
    for hook in container.get("lifecycle", {}).values():
        if isinstance(hook, dict):
            _http_get(hook.get("httpGet"))
    for env in container.get("env", []):
        source = env.get("valueFrom", {})
        if "fieldRef" in source:
            fill(source["fieldRef"], apiVersion="v1")
        if "resourceFieldRef" in source:
            fill(source["resourceFieldRef"], divisor="0")


def tag(image: str) -> str:
    """The tag an image name means; "" where a digest says it."""
    if "@" in image:
        return ""
    last = image.rpartition("/")[2]
    return last.partition(":")[2] or "latest"


def _http_get(get: Json | None) -> None:
    if get is not None:
        fill(get, path="/", scheme="HTTP")


def _requests_from_limits(container: Json) -> None:
    resources = container.get("resources", {})
    for name, limit in resources.get("limits", {}).items():
        resources.setdefault("requests", {}).setdefault(name, limit)


def _volume(volume: Json) -> None:
    if not any(k != "name" for k in volume):
        volume["emptyDir"] = {}
    for source in ("configMap", "secret", "downwardAPI", "projected"):
        if source in volume:
            fill(volume[source], defaultMode=FILE_MODE)
    for item in volume.get("downwardAPI", {}).get("items", []):
        if "fieldRef" in item:
            fill(item["fieldRef"], apiVersion="v1")
    for part in volume.get("projected", {}).get("sources", []):
        if "serviceAccountToken" in part:
            fill(part["serviceAccountToken"], expirationSeconds=3600)
        for item in part.get("downwardAPI", {}).get("items", []):
            if "fieldRef" in item:
                fill(item["fieldRef"], apiVersion="v1")
    if "hostPath" in volume:
        fill(volume["hostPath"], type="")
    if "iscsi" in volume:
        fill(volume["iscsi"], iscsiInterface="default")
    if "ephemeral" in volume and (template := volume["ephemeral"].get("volumeClaimTemplate")):
        fill(template.setdefault("spec", {}), volumeMode="Filesystem")


def default_template(owner: Json) -> None:
    """A workload's `spec.template`."""
    template = owner.setdefault("template", {})
    fill(template, metadata={}, spec={})
    default_spec(template["spec"])


def _pod_template(obj: Json) -> None:
    default_template(obj)


DEFAULTS = {"Pod": default_pod, "PodTemplate": _pod_template}

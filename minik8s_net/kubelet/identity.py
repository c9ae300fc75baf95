"""As whom a container runs, by the securityContexts of pod and container, and what of that cannot be had here.

https://kubernetes.io/docs/tasks/configure-pod-container/security-context/
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lightkube.models.core_v1 import Container
from lightkube.resources.core_v1 import Pod

from .env import ConfigError


@dataclass(frozen=True)
class Identity:
    """None: what the image says, which is root for every one of ours. `denied`: what cannot be had, in words."""

    user: int | None = None
    group: int | None = None
    groups: list[int] = field(default_factory=list)
    denied: str = ""


def identity(pod: Pod, container: Container) -> Identity:
    """Raises ConfigError, in the kubelet's words, where it would be root and must not."""
    own, shared = container.securityContext, pod.spec.securityContext if pod.spec else None
    user, group, not_root = (
        next((v for context in (own, shared) if context and (v := getattr(context, name)) is not None), None)
        for name in ("runAsUser", "runAsGroup", "runAsNonRoot")
    )
    groups = [*((shared.supplementalGroups if shared else None) or ())]
    if shared and shared.fsGroup is not None:
        groups.append(shared.fsGroup)
    if not_root and not user:
        why = "container has runAsNonRoot and image will run as root"
        if user == 0:
            why = "container's runAsUser breaks non-root policy"
        meta = pod.metadata
        of = f"{meta.name}_{meta.namespace}({meta.uid})" if meta else ""
        raise ConfigError(f'{why} (pod: "{of}", container: {container.name})')
    lacks = [f"user {user}"] if user and not _mapped("uid", user) else []
    lacks += [f"group {g}" for g in dict.fromkeys((group or 0, *groups)) if not _mapped("gid", g)]
    if lacks:
        denied = f"{', '.join(lacks)} cannot be had: this cluster's user namespace has no such id (rootless, it has "
        return Identity(denied=f"{denied}only root's, who is you outside); container {container.name} runs as root")
    return Identity(user, group, groups)


def _mapped(kind: str, number: int) -> bool:
    """Whether our user namespace, which is the runtime's, has this id."""
    ranges = [[int(n) for n in line.split()] for line in Path(f"/proc/self/{kind}_map").read_text().splitlines()]
    return any(first <= number < first + count for first, _, count in ranges)

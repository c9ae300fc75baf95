"""What the API server needs of the nodes: logs, exec and a connection into a pod. Implemented by `kubelet/`."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from ..runtime.cri import ExecStreams


@dataclass(frozen=True)
class LogOptions:
    """https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#get-read-log-of-the-specified-pod"""

    container: str | None = None
    follow: bool = False
    previous: bool = False
    since_seconds: int | None = None
    since_time: str | None = None
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None


class Kubelets(Protocol):
    """All nodes' kubelets behind one face. Raise api.errors.StatusError in Kubernetes' words."""

    def logs(self, namespace: str, pod: str, options: LogOptions) -> AsyncIterator[bytes]:
        """The lines of a container's log, as bytes. Raises StatusError."""

    async def exec(
        self, namespace: str, pod: str, container: str | None, command: list[str], *, tty: bool, stdin: bool
    ) -> ExecStreams:
        """A process started inside a container, as descriptors. Raises StatusError."""

    async def dial(self, namespace: str, pod: str, port: int) -> socket.socket:
        """A connected TCP socket to the pod, opened from its node's namespace (as the kubelet would)."""

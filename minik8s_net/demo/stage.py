"""The cast of the demo, and how one asks them things: by exec, over the API, like anybody with kubectl."""

from __future__ import annotations

import re
import time
from typing import Any

from ..client.exec import ExecResult
from ..cluster import Cluster

SERVER = {
    "name": "server",
    "image": "registry.k8s.io/e2e-test-images/agnhost:2.53",
    "args": ["netexec", "--http-port=8080"],
}
TOOLS = {"name": "tools", "image": "busybox:1.36", "command": ["sleep", "100000"]}
NO_GRACE = {"terminationGracePeriodSeconds": 0}


def pod(name: str, app: str, container: dict[str, Any], node: str | None = None, **spec: Any) -> dict[str, Any]:
    """A pod of one container, on a given node."""
    where = {"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}
    body = {"containers": [container], **NO_GRACE, **where, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}}, "spec": body}


class Stage:
    """A cluster with two servers (my-app), a client (allowed-app) and a stranger, each pair on different nodes."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def set(self) -> None:
        """Bring on the cast and wait until all are ready."""
        self.cluster.apply(
            [
                pod("web-1", "my-app", SERVER, "node-1"),
                pod("web-2", "my-app", SERVER, "node-2"),
                pod("client", "allowed-app", TOOLS, "node-1"),
                pod("stranger", "other-app", TOOLS, "node-2"),
            ]
        )
        for name in ("web-1", "web-2", "client", "stranger"):
            self.ready(name)

    def ready(self, name: str, namespace: str | None = None) -> Any:
        """Wait until a pod is Ready."""
        return self.cluster.wait(f"pod/{name}", namespace=namespace)

    def ip(self, name: str, namespace: str | None = None) -> str:
        """A pod's address."""
        return str(self.cluster.get("pod", name, namespace).status.podIP)

    def node_of(self, name: str) -> str:
        """Where a pod runs."""
        return str(self.cluster.get("pod", name).spec.nodeName)

    def run(self, name: str, *command: str, container: str | None = None, namespace: str | None = None) -> ExecResult:
        """Run a command in a pod."""
        return self.cluster.exec(name, list(command), container=container, namespace=namespace)

    def fetch(
        self, name: str, url: str, *, seconds: int = 2, container: str | None = None, namespace: str | None = None
    ) -> ExecResult:
        """HTTP GET from inside a pod; the answer's text, or the reason why there was none."""
        command = ("curl", "-sS", "-m", str(seconds), url)
        return self.run(name, *command, container=container, namespace=namespace)

    def resolve(self, name: str, wanted: str, namespace: str | None = None) -> list[str]:
        """Addresses a pod gets for a name, by its resolver with its search path; [] for NXDOMAIN."""
        done = self.run(name, "getent", "ahostsv4", wanted, namespace=namespace)
        return sorted(set(re.findall(r"^([0-9.]+)\s+STREAM", done.stdout, re.MULTILINE)))

    def until(self, true: Any, seconds: float = 5.0) -> bool:
        """Give the cluster a moment to follow a change: poll `true()` until it holds."""
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def brief(result: ExecResult) -> str:
    """The last line of what a command said."""
    lines = (result.stdout.strip() or result.stderr.strip()).splitlines()
    return lines[-1] if lines else f"nothing (exit status {result.exit_code})"

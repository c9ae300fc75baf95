"""One cluster of three nodes for all faults: a client and a server far from each other, and a Service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from minik8s_net import Cluster
from tests.conftest import Home

NAME = "faulty"


def pod(name: str, node: str, image: str, app: str) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "c", "image": image}
    if image != "nginx":
        container["command"] = ["sleep", "100000"]
    spec = {"nodeName": node, "terminationGracePeriodSeconds": 1, "containers": [container]}
    meta = {"name": name, "namespace": "default", "labels": {"app": app}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def service(name: str, app: str) -> dict[str, Any]:
    spec = {"selector": {"app": app}, "ports": [{"port": 80, "targetPort": 80}]}
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}


def policy(name: str, app: str, client: str) -> dict[str, Any]:
    ingress = [{"from": [{"podSelector": {"matchLabels": {"app": client}}}]}]
    spec = {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"], "ingress": ingress}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


OBJECTS = [
    pod("client", "node-1", "netshoot", "client"),
    pod("other", "node-2", "netshoot", "client"),
    pod("near", "node-1", "nginx", "near"),
    pod("web", "node-3", "nginx", "web"),
    service("web", "web"),
    policy("web", "web", "client"),
]


@pytest.fixture(scope="package")
def faulty(
    home: Home,
) -> Iterator[Cluster]:
    """Three nodes; whoever breaks it mends it."""
    home.minik8s("up", "--cluster", NAME, "--nodes", "3")
    cluster = home.cluster(NAME)
    cluster.apply(OBJECTS)
    for name in ("client", "other", "near", "web"):
        cluster.wait(f"pod/{name}")
    yield cluster
    home.minik8s("down", "--cluster", NAME)


@pytest.fixture
def healthy(faulty: Cluster, eventually: Callable[..., Any]) -> Iterator[Cluster]:
    """The same; every fault a test leaves is cleared."""
    yield faulty
    faulty.api.verb("fault-clear", which="all")
    faulty.api.verb("heal-resume", component="all")

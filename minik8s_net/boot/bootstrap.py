"""The first objects of a cluster: namespaces, the `kubernetes` Service, nodes, and the DNS add-on.

In Kubernetes: kubeadm's phases and the API server's own start-up hooks. Creates what is missing; changes nothing else,
so that whatever a user altered survives a restart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightkube.core.resource import Resource
from lightkube.resources.core_v1 import Endpoints, Namespace, Node, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from ..api.kinds import by_kind
from ..config import ClusterConfig
from ..dns.manifests import manifests as dns_manifests
from ..reconcile import Reconciler
from ..store.client import Change, Client, Json
from .node_object import node_object

SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
API_PORT = 6443


def ensure_namespaces_and_api(client: Client, config: ClusterConfig) -> None:
    """What must exist before the API server answers."""
    for kind, obj in _control_plane(config):
        _ensure(client, kind, obj)


class ApiService:
    """Keeps the Service `kubernetes` and its endpoints, as the real API server does: deleted, they come back at once.

    `run` until cancelled.
    """

    def __init__(self, client: Client, config: ClusterConfig) -> None:
        self._client, self._config = client, config
        self._loop: Reconciler[str] = Reconciler("kubernetes", self._reconcile)

    async def run(self) -> None:
        """Until cancelled."""
        ends = [self._client.watch(kind, self._on_change) for kind in (Service, Endpoints, EndpointSlice)]
        try:
            await self._loop.run()
        finally:
            for end in ends:
                end()

    def _on_change(self, change: Change[Any]) -> None:
        meta = change.new.metadata
        if change.type == "DELETED" and (meta.namespace, meta.name) == ("default", "kubernetes"):
            self._loop.mark(meta.name)

    async def _reconcile(self, _: str) -> None:
        ensure_namespaces_and_api(self._client, self._config)


def ensure_nodes(client: Client, config: ClusterConfig) -> None:
    """Nodes of a fresh cluster. Later ones come and go by `minik8s node add|rm`: the stored Nodes are the truth."""
    if not client.list(Node):
        for index in range(1, config.nodes + 1):
            client.create(Node, node_object(config, index))


def ensure_dns(client: Client, config: ClusterConfig) -> None:
    """The DNS add-on, as kubeadm installs CoreDNS."""
    for obj in dns_manifests(config):
        kind = by_kind(obj["apiVersion"], obj["kind"])
        assert kind is not None
        _ensure(client, kind.resource, obj)


def _control_plane(config: ClusterConfig) -> Iterator[tuple[type[Resource], Json]]:
    for name in SYSTEM_NAMESPACES:
        obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        yield Namespace, obj
    ip, server = str(config.api_service_ip), str(config.fabric_ip)
    meta = {"name": "kubernetes", "namespace": "default"}
    labels = {"component": "apiserver", "provider": "kubernetes"}
    yield (
        Service,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**meta, "labels": labels},
            "spec": {
                "clusterIP": ip,
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": API_PORT}],
            },
        },
    )
    port = {"name": "https", "port": API_PORT, "protocol": "TCP"}
    yield (
        Endpoints,
        {
            "apiVersion": "v1",
            "kind": "Endpoints",
            # our own slice below is the one that counts: no mirroring
            "metadata": {**meta, "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [{"addresses": [{"ip": server}], "ports": [port]}],
        },
    )
    yield (
        EndpointSlice,
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [server], "conditions": {"ready": True}}],
            "ports": [port],
        },
    )


def _ensure(client: Client, kind: Any, obj: Json) -> None:
    if client.find(kind, obj["metadata"]["name"], obj["metadata"].get("namespace")) is None:
        client.create(kind, obj)

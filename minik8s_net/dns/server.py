"""The DNS server process: the API's objects in, answers out.

Before the first sync every name of the cluster is SERVFAIL and /ready says 503; when the API goes away, what was known
is still answered. The Corefile (ConfigMap kube-system/coredns) is watched too: a good one is taken at once, a bad one
refused with an error in the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from typing import Any

from . import config as corefile
from .client import Api, Reflector
from .config import Config, CorefileError
from .http import PORTS, Endpoints
from .listener import Listener
from .manifests import COREFILE, ROOT_ZONE
from .records import ClusterNames

Json = dict[str, Any]
log = logging.getLogger("dns")
KINDS = {
    "Namespace": "/api/v1/namespaces",
    "Service": "/api/v1/services",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/endpointslices",
    "Pod": "/api/v1/pods",
}
CONFIG_PATH, CONFIG_QUERY = (
    "/api/v1/namespaces/kube-system/configmaps",
    "fieldSelector=metadata.name%3Dcoredns",
)


class Dns:
    """Ties reflectors, records, configuration and server together."""

    def __init__(self, api: Api, *, host: str = "0.0.0.0", port: int = 53, http_ports: dict[str, int] = PORTS) -> None:
        self.api, self.host, self.port = api, host, 0
        self._wanted_port = port
        self.endpoints = Endpoints(self, http_ports)
        self.ready = asyncio.Event()
        self.reflectors = {kind: self._reflector(kind, path) for kind, path in KINDS.items()}
        self.configs = Reflector(api, CONFIG_PATH, self._config_changed, query=CONFIG_QUERY)
        self.listener = Listener(corefile.parse(COREFILE, {"db.root": ROOT_ZONE}))
        self._tasks = asyncio.TaskGroup()
        self._watched: set[str] = set()
        self._wanted = self.listener.config
        self._reload = asyncio.Event()
        self.cluster = ClusterNames()

    def _reflector(self, kind: str, path: str) -> Reflector:
        return Reflector(self.api, path, lambda obj, deleted: self._object_changed(kind, obj, deleted))

    async def run(self) -> None:
        """Serve until cancelled. A failure nobody foresaw ends the process: better restarted than silently stale."""
        udp, tcp = await self.listener.listen(self.host, self._wanted_port)
        self.port = udp.getsockname()[1]
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self.configs.run())
                self._watch("Namespace", "Service", "EndpointSlice")
                await self.endpoints.listen(self.host)
                await self.configs.synced.wait()
                while True:
                    self._reload.clear()
                    await self._install(self._wanted)
                    await self._reload.wait()
        finally:
            self.endpoints.close()
            tcp.close()
            asyncio.get_running_loop().remove_reader(udp.fileno())
            udp.close()

    def _watch(self, *kinds: str) -> None:
        for kind in kinds:
            if kind not in self._watched:
                self._watched.add(kind)
                self._tasks.create_task(self.reflectors[kind].run(), name=kind)

    def _object_changed(self, kind: str, obj: Json, deleted: bool) -> None:
        if self.cluster.apply(kind, obj, deleted=deleted) and self.ready.is_set():
            self._serve()

    def _config_changed(self, obj: Json, deleted: bool) -> None:
        data = {} if deleted else obj.get("data") or {}
        try:
            self._wanted = corefile.parse(data.get("Corefile", COREFILE), {"db.root": ROOT_ZONE, **data})
        except CorefileError as error:
            log.error("[ERROR] plugin/reload: Corefile not changed, the old one is kept: %s", error)
        else:
            for warning in self._wanted.warnings:
                log.warning("[WARNING] %s", warning)
            self._reload.set()

    async def _install(self, config: Config) -> None:
        """Take a configuration, once all that it needs has been listed: then unknown names are names that do not exist.

        Another zone or pod mode means all records anew.
        """
        began = time.perf_counter()
        plugin = config.kubernetes
        if plugin and plugin.pods == "verified":
            self._watch("Pod")
        for kind in self._watched:
            await self.reflectors[kind].synced.wait()
        if plugin and (plugin.zone, plugin.pods) != (self.cluster.zone, self.cluster.pods):
            self.cluster = ClusterNames(plugin.zone, plugin.pods)
            for kind, reflector in self.reflectors.items():
                for obj in reflector.objects():
                    self.cluster.apply(kind, obj)
        self.listener.config = config
        self.ready.set()
        self._serve()
        milliseconds = (time.perf_counter() - began) * 1000
        log.info("[INFO] plugin/reload: serving %d records (%.0f ms)", len(self.cluster.names), milliseconds)

    def _serve(self) -> None:
        config = self.listener.config
        for block in config.blocks:
            if block.kubernetes:
                block.serve(self.cluster, int(time.time()), synced=self.ready.is_set())
        self.listener.changed()


def main() -> None:
    """Run as the container's process: environment and service account as any pod has them. Ends at once on TERM."""
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "INFO"), format="%(message)s")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    asyncio.run(Dns(Api.in_cluster(), port=int(os.environ.get("DNS_PORT", "53"))).run())

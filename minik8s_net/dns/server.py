"""The DNS server process: the API's objects in, answers out.

Before the first sync and the first good Corefile every name is SERVFAIL and /ready says 503; when the API goes away,
what was known is still answered. The Corefile (ConfigMap kube-system/coredns) is watched too: a good one is taken at
once, a bad one refused with an error in the log; with no ConfigMap any more the last one serves on. After TERM /ready
says 503, and who still comes is answered for the Corefile's `lameduck` time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from typing import Any

from . import config
from .client import Api, Reflector
from .config import Config
from .corefile import CorefileError
from .http import PORTS, Endpoints
from .listener import Listener
from .records import ClusterNames

Json = dict[str, Any]
log = logging.getLogger("dns")
KINDS = {
    "Namespace": "/api/v1/namespaces",
    "Service": "/api/v1/services",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/endpointslices",
    "Pod": "/api/v1/pods",
}
ALWAYS = ("Namespace", "Service", "EndpointSlice")  # Pod: only for `pods verified`
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
        self.ready, self.leaving = asyncio.Event(), False
        self.reflectors = {kind: self._reflector(kind, path) for kind, path in KINDS.items()}
        self.configs = Reflector(api, CONFIG_PATH, self._config_changed, query=CONFIG_QUERY)
        self.listener = Listener(config.unread())
        self._tasks = asyncio.TaskGroup()
        self._watched: set[str] = set()
        self._wanted: Config | None = None
        self._news = asyncio.Event()  # another configuration is wanted, or a kind has been listed
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
                self._watch(*ALWAYS)
                await self.endpoints.listen(self.host)
                while True:
                    await self._news.wait()
                    self._news.clear()
                    self._install()
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
                self._tasks.create_task(self._listed(kind))

    async def _listed(self, kind: str) -> None:
        await self.reflectors[kind].synced.wait()
        self._news.set()

    def _object_changed(self, kind: str, obj: Json, deleted: bool) -> None:
        if self.cluster.apply(kind, obj, deleted=deleted) and self.ready.is_set():
            self._serve()

    def _config_changed(self, obj: Json, deleted: bool) -> None:
        instead = (
            "the old one is kept" if self._wanted else "there is none yet: every name is SERVFAIL until it is mended"
        )
        data = obj.get("data") or {}
        if deleted or "Corefile" not in data:
            what = "ConfigMap kube-system/coredns" if deleted else "its key Corefile"
            log.error("[ERROR] plugin/reload: %s is gone, %s", what, instead)
            return
        try:
            self._wanted = config.parse(data["Corefile"], data)
        except CorefileError as error:
            log.error("[ERROR] plugin/reload: Corefile not taken, %s: %s", instead, error)
        except Exception:  # a fault of ours; to end would be to end again at each start
            log.exception("[ERROR] plugin/reload: Corefile not understood, %s", instead)
        else:
            for warning in self._wanted.warnings:
                log.warning("[WARNING] %s", warning)
            self._news.set()

    def _install(self) -> None:
        """Take the configuration once all that it needs is listed: then unknown names are names that do not exist.

        Another zone or pod mode means all records anew.
        """
        began, wanted = time.perf_counter(), self._wanted
        if wanted is None or wanted is self.listener.config:
            return
        plugin = wanted.kubernetes
        needed = (*ALWAYS, "Pod") if plugin and plugin.pods == "verified" else ALWAYS
        self._watch(*needed)
        if not all(self.reflectors[kind].synced.is_set() for kind in needed):
            return
        if plugin and (plugin.zone, plugin.pods) != (self.cluster.zone, self.cluster.pods):
            self.cluster = ClusterNames(plugin.zone, plugin.pods)
            for kind, reflector in self.reflectors.items():
                for obj in reflector.objects():
                    self.cluster.apply(kind, obj)
        self.listener.config = wanted
        self.ready.set()
        self._serve()
        milliseconds = (time.perf_counter() - began) * 1000
        log.info("[INFO] plugin/reload: serving %d records (%.0f ms)", len(self.cluster.names), milliseconds)

    def leave(self) -> None:
        """The pod is to end: no new clients, please; those who come nevertheless are served a little longer."""
        self.leaving = True
        asyncio.get_running_loop().call_later(self.listener.config.lameduck, os._exit, 0)

    def _serve(self) -> None:
        for block in self.listener.config.blocks:
            if block.kubernetes:
                block.serve(self.cluster, int(time.time()), synced=self.ready.is_set())
        self.listener.changed()


def main() -> None:
    """Run as the container's process: environment and service account as any pod has them."""
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "INFO"), format="%(message)s")
    for number in (signal.SIGTERM, signal.SIGINT):  # PID 1 of a namespace has no default action
        signal.signal(number, lambda *_: os._exit(0))
    asyncio.run(_serve_as_pod())


async def _serve_as_pod() -> None:
    server = Dns(Api.in_cluster(), port=int(os.environ.get("DNS_PORT", "53")))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.leave)
    await server.run()

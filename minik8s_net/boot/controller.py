"""The controller process: store, API server, controllers, and on every node a kubelet, a proxy and a policy enforcer.

In Kubernetes: the control plane and the node agents, here one asyncio process. Its first act, while it is still
single-threaded, is to join the runtime's user and mount namespaces; it stays in the host's network namespace. It may be
killed at any time: rules, pods and traffic go on, and the next one adopts them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

from ..apiserver.kubeconfig import kubeconfig, write_kubeconfig
from ..apiserver.pki import ensure_pki
from ..apiserver.registry import Registry
from ..apiserver.server import ApiServer
from ..apiserver.tokens import Tokens
from ..cni.fabric import ensure_fabric
from ..config import ClusterConfig
from ..controllers import all_controllers
from ..faults.engine import Faults
from ..kernel.netns import Netns
from ..kubelet.kubelets import NodeKubelets
from ..observe.metrics import metrics
from ..observe.top import Traffic
from ..policy.index import PolicyIndex
from ..runtime.client import RuntimeClient
from ..runtime.join import join
from ..state import State
from ..store.store import DamagedError, Store
from . import bootstrap
from .garbage import QuietCollector
from .live import Live
from .nodes import NodeManager
from .readiness import dns_answers
from .verbs import Verbs

log = logging.getLogger(__name__)
READY_AGAIN = 1.0  # seconds until the file that `up` waits for is tried again, on a full disk


class Controller:
    """Builds the parts in the order in which they need each other, then only waits."""

    def __init__(self, config: ClusterConfig, state: State, runtime_pid: int) -> None:
        self.config, self.state, self.runtime_pid = config, state, runtime_pid
        self.progress = state.root / "progress"

    async def run(self) -> None:
        """Until SIGTERM, or until the runtime dies (its namespaces are ours too, so nothing is left to control)."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_reader(os.pidfd_open(self.runtime_pid), stop.set)
        self._write(self.progress, "")
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            await self._start(stack, tasks)
            while not self._write(self.state.root / "ready", json.dumps({"pid": os.getpid()})) and not stop.is_set():
                await asyncio.sleep(READY_AGAIN)
            await stop.wait()
            raise SystemExit(0)  # the kernel keeps everything; nothing needs an orderly end

    async def _start(self, stack: contextlib.AsyncExitStack, tasks: asyncio.TaskGroup) -> None:
        config = self.config
        try:
            store = Store(self.state.database)
        except DamagedError as error:  # starting again would not mend it
            self._write(self.state.root / "failed", str(error))
            raise SystemExit(str(error)) from None
        client = Registry(store, config)
        pki = ensure_pki(self.state.pki, config)
        tokens = Tokens(pki, client.peek)
        bootstrap.ensure_namespaces_and_api(client, config)
        bootstrap.ensure_nodes(client, config)
        bootstrap.ensure_dns(client, config)
        self._step("objects: namespaces, nodes, Services kubernetes and kube-dns")

        runtime = RuntimeClient()
        await runtime.connect()
        for short in ("fabric", "outside"):
            await runtime.ensure_netns(config.netns(short))
        fabric, outside = Netns(config.netns("fabric")), Netns(config.netns("outside"))
        await ensure_fabric(config, fabric, outside)
        kubelets = NodeKubelets(client)
        server = ApiServer(client, kubelets, pki, tokens)
        await server.start([await fabric.run(_listen, str(config.fabric_ip), bootstrap.API_PORT)])
        write_kubeconfig(self.state.kubeconfig, kubeconfig(config.name, server.port, pki))
        self._step(f"API server: https://127.0.0.1:{server.port}, and {config.fabric_ip}:{bootstrap.API_PORT} inside")

        for controller in all_controllers(client, config, pki.ca.read_text()):
            tasks.create_task(controller.run(), name=type(controller).__name__)
        tasks.create_task(bootstrap.ApiService(client, config).run(), name="ApiService")
        policies = PolicyIndex(client)
        nodes = NodeManager(
            self.config, self.state, client, runtime, kubelets, policies, fabric, outside, tokens, pki
        )  # fmt: skip
        faults = Faults(config, self.state)
        live = Live(
            config, self.state, client, runtime, nodes, policies, fabric, outside, server.app, faults, Traffic()
        )  # fmt: skip
        server.app.verbs = Verbs(live)
        tasks.create_task(nodes.run(), name="nodes")
        await nodes.synced()
        self._step(f"{len(nodes.names())} nodes: namespaces, bridges, routes, rules, kubelets")
        await dns_answers(nodes.netns(), str(config.dns_ip), f"kubernetes.default.svc.{config.cluster_domain}")
        self._step("DNS answers from inside every node")
        tasks.create_task(faults.run(live), name="faults")
        tasks.create_task(live.traffic.run(live), name="traffic")
        tasks.create_task(QuietCollector(lambda: store.revision).run(), name="garbage")
        server.app.data_plane = lambda: metrics(live)

    def _step(self, text: str) -> None:
        self._write(self.progress, text + "\n", "a")
        log.info("%s", text)

    @staticmethod
    def _write(path: Path, text: str, mode: str = "w") -> bool:
        """For people and for `up`, not for us: a full disk is no reason not to run."""
        try:
            with open(path, mode) as file:
                file.write(text)
        except OSError as error:
            log.warning("%s: %s", path, error.strerror)
            return False
        return True


def _listen(address: str, port: int) -> socket.socket:
    """A listening socket; it belongs to the network namespace of the thread that makes it."""
    listener = socket.create_server((address, port), backlog=1024)
    listener.setblocking(False)
    return listener


def main(folder: str) -> None:
    """`python -m minik8s_net.boot.controller STATE_FOLDER`, with the runtime's process id on standard input."""
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", level=logging.INFO)
    logging.Formatter.converter = time.gmtime
    os.umask(0o022)  # pods' files are for whoever runs in them; the state folder itself is 0700
    state = State(Path(folder))
    config = ClusterConfig.from_dict(json.loads(state.config.read_text()))
    if not (told := sys.stdin.readline().strip()):
        sys.exit("nobody named the runtime: it did not start, or the supervisor ended")
    join(int(told))
    asyncio.run(Controller(config, state, int(told)).run())


if __name__ == "__main__":
    main(sys.argv[1])

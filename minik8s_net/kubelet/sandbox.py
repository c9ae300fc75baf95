"""A pod's sandbox on its node: namespaces, network and address; made where it is missing, given back at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lightkube.resources.core_v1 import Pod

from ..runtime.cri import ContainerStatus, CriError, Sandbox, SandboxConfig
from . import dnsconfig
from .host import Host
from .hostports import host_ports
from .ignored import ignored
from .interrupt import Interrupt

NETWORK_TIMEOUT = 30.0  # seconds until a pod whose policy was not programmed is tried again


class PodSandbox:
    """`address` is set only while the network stands and lets nothing slip: containers may run."""

    def __init__(self, host: Host, uid: str, interrupt: Interrupt) -> None:
        self.host, self.uid, self._interrupt = host, uid, interrupt
        self.sandbox: Sandbox | None = None
        self.address = ""
        self._attempts = 0
        self._adopted = False

    def adopt(self, sandbox: Sandbox) -> None:
        """Take over a sandbox found at start (of a kubelet before us)."""
        self.sandbox, self._attempts, self._adopted = sandbox, sandbox.config.attempt + 1, True

    async def ensure(self, pod: Pod, say: Callable[[Pod], Pod]) -> Pod:
        """Sandbox and network, each only where it is missing. `say` writes the status once the address is known."""
        if self.sandbox is None:
            self.sandbox = await self._make(pod)
        if not self.address:
            pod = await self._plug_in(pod, self.sandbox, say)
        return pod

    async def attempts(self) -> dict[str, list[ContainerStatus]]:
        """Every attempt of every container here, oldest first, by the container's name."""
        found: dict[str, list[ContainerStatus]] = {}
        if self.sandbox is not None:
            for status in await self.host.runtime.list_containers(self.sandbox.id):
                found.setdefault(status.config.name, []).append(status)
        return {name: sorted(every, key=lambda s: s.config.attempt) for name, every in found.items()}

    async def forget(self, pod: Pod | None) -> None:
        """It died under us: clear away what is left, so that the next round makes a new one."""
        if pod is not None:
            text = "Pod sandbox changed, it will be killed and re-created."
            self.host.events.normal(pod, "SandboxChanged", text)
        await self.release(remove=True)
        self.sandbox, self.address, self._adopted = None, "", False

    async def release(self, *, remove: bool) -> None:
        """Give back the network; with `remove` also the sandbox and what ran in it. Can be called many times."""
        sandbox = self.sandbox
        if sandbox is None:
            return
        if self.address or remove:
            if sandbox.config.netns is None:
                await self.host.network.delete(sandbox.netns, sandbox.id)
            self.address = ""
        try:
            await self.host.runtime.stop_pod_sandbox(sandbox.id)
            if remove:
                await self.host.runtime.remove_pod_sandbox(sandbox.id)
                self.sandbox = None
        except CriError as error:
            if error.reason != "NotFound":
                raise

    async def _make(self, pod: Pod) -> Sandbox:
        host, meta, spec = self.host, pod.metadata, pod.spec
        assert meta and spec
        try:
            hostname = dnsconfig.hostname(pod, host.node_name, host.config.cluster_domain)
        except ValueError as error:
            host.events.warning(pod, "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            raise CriError("InvalidHostname", str(error)) from None
        config = SandboxConfig(
            namespace=meta.namespace or "default",
            name=meta.name or "",
            uid=self.uid,
            attempt=self._attempts,
            hostname=hostname,
            netns=host.netns.name if spec.hostNetwork else None,
            resolv_conf=dnsconfig.resolv_conf(pod, host.config),
            node=host.node_name,
        )
        self._attempts += 1
        for text in ignored(pod):
            host.events.warning(pod, "FieldIgnored", text)
        try:
            return await host.runtime.run_pod_sandbox(config)
        except CriError as error:
            host.events.warning(pod, "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error.message}")
            raise

    async def _plug_in(self, pod: Pod, sandbox: Sandbox, say: Callable[[Pod], Pod]) -> Pod:
        """CNI ADD, the address made known, and the wait until policy lets nothing slip."""
        host = self.host
        on_host = bool(pod.spec and pod.spec.hostNetwork)
        try:
            address = host.node_ip if on_host else await host.network.add(sandbox.netns, sandbox.id, host_ports(pod))
        except Exception as error:
            text = f'Failed to create pod sandbox: plugin type="bridge" failed (add): {error}'
            host.events.warning(pod, "FailedCreatePodSandBox", text)
            raise
        hosts = host.pods_root / self.uid / "etc-hosts"
        hosts.parent.mkdir(parents=True, exist_ok=True)
        hosts.write_text(dnsconfig.hosts(pod, address, host.config.cluster_domain))
        self.address = address
        told = pod.status.podIP if pod.status else None
        try:
            if not (self._adopted and told == address):  # what runs in there is not to be unsaid
                pod = say(pod)
            if not on_host:
                async with asyncio.timeout(NETWORK_TIMEOUT):
                    await self._interrupt.unless(host.network_ready(pod))
        except BaseException:
            self.address = ""  # not ready: do it all again
            raise
        return pod

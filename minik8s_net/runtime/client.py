"""How the kubelet and the CNI talk to the runtime: CRI's verbs over a Unix socket, from asyncio."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

from .cri import (
    SOCKET,
    ContainerConfig,
    ContainerStatus,
    CriError,
    ExecStreams,
    ImageInfo,
    Mount,
    Sandbox,
    SandboxConfig,
)
from .pipes import read_some
from .wire import Channel, Json

Answer = tuple[Any, list[int]]
MAX_OUTPUT = 10 << 10  # bytes of each of its outputs that a probe or a hook is known by, as in Kubernetes


class RuntimeClient:
    """One connection to the runtime. Every verb raises CriError; all are idempotent where CRI says so.

    After the connection is lost every call raises CriError("Unavailable", …) until `connect` is called again.
    """

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._channel: Channel | None = None
        self._numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Answer]] = {}
        self._listeners: set[asyncio.Queue[ContainerStatus | None]] = set()

    # -- the connection -------------------------------------------------------------------------------------------
    async def connect(self) -> None:
        """Open the connection. Raises OSError if no runtime answers."""
        await self.close()
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self._path)
        except OSError as error:
            sock.close()
            raise CriError("Unavailable", f"the runtime does not answer: {error}") from None
        self._channel = Channel(sock)
        asyncio.get_running_loop().add_reader(sock, self._readable)

    async def close(self) -> None:
        """Close the connection; containers go on."""
        self._lost("the connection was closed")

    def _lost(self, why: str) -> None:
        channel, self._channel = self._channel, None
        if channel is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(channel.sock)
        loop.remove_writer(channel.sock)
        channel.close()
        calls, self._calls = self._calls, {}
        for future in calls.values():
            if not future.done():
                future.set_exception(CriError("Unavailable", f"the runtime is gone: {why}"))
        for queue in self._listeners:
            queue.put_nowait(None)

    def _readable(self) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            messages = channel.receive()
        except OSError as error:
            self._lost(str(error))
            return
        for message in messages:
            if "event" in message:
                status = _container_status(message["event"])
                for queue in self._listeners:
                    queue.put_nowait(status)
                continue
            fds = channel.take(message["fds"])
            future = self._calls.pop(message["id"], None)
            if future is None or future.done():  # the caller was cancelled
                for fd in fds:
                    os.close(fd)
            elif "error" in message:
                future.set_exception(CriError(*message["error"]))
            else:
                future.set_result((message["ok"], fds))

    def _writable(self) -> None:
        if self._channel is None:
            return
        try:
            self._channel.flush()
        except OSError as error:
            self._lost(str(error))
            return
        if not self._channel.pending:
            asyncio.get_running_loop().remove_writer(self._channel.sock)

    async def _ask(self, verb: str, **args: Any) -> Answer:
        if self._channel is None:
            raise CriError("Unavailable", "not connected to the runtime")
        number = next(self._numbers)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        try:
            self._channel.send({"id": number, "verb": verb, "args": args})
        except OSError as error:
            self._lost(str(error))
        else:
            if self._channel.pending:
                asyncio.get_running_loop().add_writer(self._channel.sock, self._writable)
        return await future

    async def _call(self, verb: str, **args: Any) -> Any:
        value, _ = await self._ask(verb, **args)
        return value

    # -- namespaces that are no pods: the fabric, nodes, outside ---------------------------------------------------
    async def ensure_netns(self, name: str) -> None:
        """Make the network namespace `name` unless it is there."""
        await self._call("ensure_netns", name=name)

    async def unnamed_netns(self) -> list[str]:
        """Namespaces whose names in the host's /run/netns are gone; `ensure_netns` names one again."""
        return list(await self._call("unnamed_netns"))

    async def remove_netns(self, name: str) -> None:
        """Let go of it; it ends with its last process."""
        await self._call("remove_netns", name=name)

    # -- pods -----------------------------------------------------------------------------------------------------
    async def run_pod_sandbox(self, config: SandboxConfig) -> Sandbox:
        """CRI RunPodSandbox: namespaces for a pod, no process yet."""
        return _sandbox(await self._call("run_pod_sandbox", config=dataclasses.asdict(config)))

    async def stop_pod_sandbox(self, sandbox_id: str) -> None:
        """Kills its containers and lets go of its namespaces."""
        await self._call("stop_pod_sandbox", sandbox_id=sandbox_id)

    async def remove_pod_sandbox(self, sandbox_id: str) -> None:
        """Forgets it and its containers; returns once the last of their processes is gone."""
        await self._call("remove_pod_sandbox", sandbox_id=sandbox_id)

    async def list_pod_sandboxes(self) -> list[Sandbox]:
        """CRI ListPodSandbox: those of a restarted controller's pods too."""
        return [_sandbox(s) for s in await self._call("list_pod_sandboxes")]

    # -- containers -----------------------------------------------------------------------------------------------
    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Raises CriError ErrImagePull or InvalidImageName for an image that is not in the catalogue."""
        answer = await self._call("create_container", sandbox_id=sandbox_id, config=dataclasses.asdict(config))
        return str(answer)

    async def start_container(self, container_id: str) -> None:
        """Returns once the program runs. Raises ContainerCannotRun; the container is then exited (StartError, 128)."""
        await self._call("start_container", container_id=container_id)

    async def stop_container(self, container_id: str, timeout: float) -> None:
        """TERM, and KILL after `timeout` seconds; returns when it has ended."""
        await self._call("stop_container", container_id=container_id, timeout=timeout)

    async def remove_container(self, container_id: str) -> None:
        """CRI RemoveContainer: it must have ended."""
        await self._call("remove_container", container_id=container_id)

    async def list_containers(self, sandbox_id: str | None = None) -> list[ContainerStatus]:
        """CRI ListContainers."""
        return [_container_status(s) for s in await self._call("list_containers", sandbox_id=sandbox_id)]

    async def container_status(self, container_id: str) -> ContainerStatus:
        """CRI ContainerStatus."""
        return _container_status(await self._call("container_status", container_id=container_id))

    async def exec(
        self, container_id: str, command: list[str], *, tty: bool = False, stdin: bool = False
    ) -> ExecStreams:
        """Returns once the program runs. Raises ContainerCannotRun in runc's words if it cannot."""
        told, fds = await self._ask("exec", container_id=container_id, command=command, tty=tty, stdin=stdin)
        if tty:
            master, status = fds
            return ExecStreams(told["pid"], os.dup(master), master, None, status)
        source = fds.pop(0) if stdin else None
        out, err, status = fds
        return ExecStreams(told["pid"], source, out, err, status)

    async def exec_sync(
        self, container_id: str, command: list[str], timeout: float, limit: int = MAX_OUTPUT
    ) -> tuple[int, bytes, bytes]:
        """(exit code, stdout, stderr), of each the first `limit` bytes: the rest is let go, the command goes on.

        Raises TimeoutError after `timeout` seconds, having killed the process.
        """
        streams = await self.exec(container_id, command)
        assert streams.stderr is not None
        ends = (streams.stdout, streams.stderr, streams.status)
        reads = [asyncio.ensure_future(read_some(fd, limit)) for fd in ends]
        try:
            async with asyncio.timeout(timeout or None):
                code = await reads[2]
                out, err = await asyncio.gather(*reads[:2])
        except TimeoutError:
            await self._call("kill_exec", container_id=container_id, pid=streams.pid)
            raise TimeoutError(f"command {' '.join(command)!r} timed out after {timeout:g}s") from None
        finally:
            for read in reads:
                read.cancel()
        return int(code), out, err

    async def events(self) -> AsyncIterator[ContainerStatus]:
        """Every change of a container's state, as it happens (a lost connection ends the iteration)."""
        queue: asyncio.Queue[ContainerStatus | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            await self._call("events")
            while (status := await queue.get()) is not None:
                yield status
        finally:
            self._listeners.discard(queue)

    # -- images ---------------------------------------------------------------------------------------------------
    async def image_status(self, image: str) -> ImageInfo | None:
        """CRI ImageStatus. Raises UnknownImage."""
        found = await self._call("image_status", image=image)
        return ImageInfo(**found) if found else None

    async def list_images(self) -> list[ImageInfo]:
        """CRI ListImages: the catalogue."""
        return [ImageInfo(**image) for image in await self._call("list_images")]


def _sandbox(value: Json) -> Sandbox:
    return Sandbox(**{**value, "config": SandboxConfig(**value["config"])})


def _container_status(value: Json) -> ContainerStatus:
    config = value["config"]
    mounts = [Mount(**m) for m in config["mounts"]]
    return ContainerStatus(**{**value, "config": ContainerConfig(**{**config, "mounts": mounts})})

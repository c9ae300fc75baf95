"""The runtime's loop: one thread, sockets, timers and dead children. Nothing here may block: forks do the slow work."""

from __future__ import annotations

import gc
import heapq
import importlib
import importlib.util
import itertools
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from . import child, rootfs
from .wire import Channel, Json

SOCKET = "/run/minik8s/runtime.sock"
PRELOADED = ("minik8s_net.runtime.servers.agnhost", "minik8s_net.runtime.servers.web", "minik8s_net.dns.server")


class Refused(Exception):
    """A verb's answer is no: CriError's reason and message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class Request:
    """A verb that was asked for; answered now or later, at most once."""

    def __init__(self, client: Client, number: int) -> None:
        self._client, self._number = client, number

    def answer(self, value: Any = None, fds: tuple[int, ...] = ()) -> None:
        """The result."""
        self._client.send({"id": self._number, "ok": value, "fds": len(fds)}, fds)

    def refuse(self, reason: str, message: str) -> None:
        """The error, in place of a result."""
        self._client.send({"id": self._number, "error": [reason, message], "fds": 0})


class Client:
    """A connection. Answers to one that has left are dropped, with their descriptors."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.channel, self._server = Channel(sock), server
        self.events = False

    def send(self, message: Json, fds: tuple[int, ...] = ()) -> None:
        """Queue a message; descriptors go with it."""
        if self.channel.fileno() < 0:
            for fd in fds:
                os.close(fd)
            return
        try:
            self.channel.send(message, fds)
        except ConnectionError:
            self._server.drop(self)
        else:
            self._server.watch_client(self)


class Server:
    """Owns the loop; `verbs.Verbs` knows what is asked for."""

    def __init__(self, cluster: str, pid: int, host_names: int | None) -> None:
        from .verbs import Verbs

        self.pid, self.selector = pid, selectors.EpollSelector()
        self.clients: list[Client] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._children: dict[int, Callable[[int], None]] = {}
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 16), hard))
        self._wake, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os._exit(0))
        self.selector.register(self._wake, selectors.EVENT_READ, self._signalled)
        self.verbs = Verbs(self, cluster, host_names)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.setblocking(False)
        os.umask(0o077)
        self._listener.bind(SOCKET)
        os.umask(0o022)
        self._listener.listen(64)
        self.selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def serve(self) -> None:
        """Until killed: one thread, one selector."""
        self.fork(rootfs.make_template, self.verbs.template_ready)
        self.after(0, self._preload)
        while True:
            wait = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            for key, mask in self.selector.select(wait):
                key.data(mask)
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()

    def _preload(self) -> None:
        """Import the built-in servers, so that a forked one starts at once. Happens while nobody waits."""
        for name in PRELOADED:
            if importlib.util.find_spec(name):
                try:
                    importlib.import_module(name)
                except Exception as error:
                    print(f"{name} cannot be preloaded: {error!r}", file=sys.stderr, flush=True)
        for codec in ("idna", "latin-1", "ascii"):
            "x".encode(codec)
        gc.collect()
        gc.freeze()

    # -- children ------------------------------------------------------------------------------------------------
    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call `function` once, `seconds` from now."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), call))

    def fork(self, work: Callable[[], None], done: Callable[[int], None]) -> int:
        """Run `work` in a child, `done(exit code)` here when it has ended."""
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                child.keep_only([])
                work()
                code = 0
            except BaseException as error:
                print(f"{work}: {error!r}", file=sys.stderr, flush=True)
            os._exit(code)
        self._children[pid] = done
        return pid

    def adopt(self, pid: int, done: Callable[[int], None]) -> None:
        """Notice the end of a child process."""
        self._children[pid] = done

    def _signalled(self, _mask: int) -> None:
        os.read(self._wake, 512)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            if done := self._children.pop(pid, None):
                done(code if code >= 0 else 128 - code)

    def read_until_end(self, fd: int, done: Callable[[bytes], None]) -> None:
        """Collect what a child writes into a pipe; hand it over at end of file, and close."""
        os.set_blocking(fd, False)
        collected = bytearray()

        def readable(_mask: int) -> None:
            try:
                data = os.read(fd, 1 << 16)
            except BlockingIOError:
                return
            collected.extend(data)
            if not data:
                self.selector.unregister(fd)
                os.close(fd)
                done(bytes(collected))

        self.selector.register(fd, selectors.EVENT_READ, readable)

    # -- clients -------------------------------------------------------------------------------------------------
    def _accept(self, _mask: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        client = Client(self, sock)
        self.clients.append(client)
        self.selector.register(client.channel, selectors.EVENT_READ, lambda mask: self._talk(client, mask))

    def watch_client(self, client: Client) -> None:
        """Hear this connection."""
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.channel.pending else 0)
        key = self.selector.get_key(client.channel)
        if key.events != mask:
            self.selector.modify(client.channel, mask, key.data)

    def drop(self, client: Client) -> None:
        """Forget a connection that closed."""
        if client in self.clients:
            self.clients.remove(client)
            self.selector.unregister(client.channel)
            client.channel.close()

    def _talk(self, client: Client, mask: int) -> None:
        if client.channel.fileno() < 0:
            return
        try:
            if mask & selectors.EVENT_WRITE:
                client.channel.flush()
                self.watch_client(client)
            messages = client.channel.receive() if mask & selectors.EVENT_READ else []
        except (ConnectionError, OSError):
            self.drop(client)
            return
        for message in messages:
            self._serve(client, message)

    def _serve(self, client: Client, message: Json) -> None:
        request = Request(client, message["id"])
        try:
            if message["verb"] == "events":
                client.events = True
                request.answer()
                return
            self.verbs.call(request, message["verb"], message["args"])
        except Refused as no:
            request.refuse(no.reason, no.message)
        except Exception as error:  # the runtime dies last: a bug in one verb is that caller's answer
            print(f"{message['verb']}: {error!r}", file=sys.stderr, flush=True)
            request.refuse("Internal", f"{message['verb']}: {error}")

    def publish(self, event: Json) -> None:
        """Tell every subscriber of events."""
        for client in list(self.clients):
            if client.events:
                client.send({"event": event})

    def remove_tree(self, path: str) -> None:
        """Delete a folder tree in a child: it may be large."""

        def remove() -> None:
            import shutil

            shutil.rmtree(path, ignore_errors=True)

        self.fork(remove, lambda _code: None)

"""How runtime and client frame what they say: a four-byte length, JSON, and descriptors alongside (SCM_RIGHTS).

request   {"id": 7, "verb": "start_container", "args": {…}}
answer    {"id": 7, "ok": …, "fds": N}   or   {"id": 7, "error": [reason, message]}
event     {"event": ContainerStatus}      (to clients that asked with the verb "events")
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections import deque
from typing import Any

Json = dict[str, Any]
MAX_BACKLOG = 64 << 20  # bytes a client may leave unread before it is dropped


class Channel:
    """One end of a connection, non-blocking. Closing it closes descriptors that were received and not taken."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.fds: deque[int] = deque()
        self._in = bytearray()
        self._out: deque[tuple[bytes, list[int]]] = deque()
        self._backlog = 0

    def fileno(self) -> int:
        return self.sock.fileno()

    def receive(self) -> list[Json]:
        """What has arrived. Raises ConnectionError once the other end is gone."""
        space = socket.CMSG_SPACE(16 * 4)
        try:
            data, ancillary, _, _ = self.sock.recvmsg(1 << 16, space, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return []
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.fds.extend(array.array("i", payload[: len(payload) // 4 * 4]))
        if not data:
            raise ConnectionResetError("the other end has closed the connection")
        self._in += data
        return list(self._messages())

    def _messages(self) -> list[Json]:
        messages, start = [], 0
        while len(self._in) - start >= 4:
            (size,) = struct.unpack_from("!I", self._in, start)
            if len(self._in) - start - 4 < size:
                break
            messages.append(json.loads(self._in[start + 4 : start + 4 + size]))
            start += 4 + size
        del self._in[:start]
        return messages

    def take(self, count: int) -> list[int]:
        return [self.fds.popleft() for _ in range(count)]

    def send(self, message: Json, fds: tuple[int, ...] = ()) -> None:
        """Queue, and send what the socket takes. The descriptors are the channel's from here on."""
        data = json.dumps(message).encode()
        self._out.append((struct.pack("!I", len(data)) + data, list(fds)))
        self._backlog += len(data)
        if self._backlog > MAX_BACKLOG:
            raise ConnectionAbortedError("client does not read what it asked for")
        self.flush()

    def flush(self) -> None:
        while self._out:
            data, fds = self._out[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self.sock.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            for fd in fds:
                os.close(fd)
            self._backlog -= sent
            if sent < len(data):
                self._out[0] = (data[sent:], [])
            else:
                self._out.popleft()

    @property
    def pending(self) -> bool:
        return bool(self._out)

    def close(self) -> None:
        for fd in [*self.fds, *(fd for _, fds in self._out for fd in fds)]:
            os.close(fd)
        self.fds.clear()
        self._out.clear()
        self.sock.close()

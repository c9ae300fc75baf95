"""Who listens: the sockets of the calling thread's network namespace, from /proc/thread-self/net (proc_pid_net(5))."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LISTEN, _UNCONNECTED = "0A", "07"


@dataclass(frozen=True)
class Listener:
    """`ip` "0.0.0.0" or "::" means every address of the pod. `inode` names the socket in /proc/PID/fd."""

    protocol: str
    ip: str
    port: int
    inode: int

    def takes(self, ip: str) -> bool:
        """Whether a packet to `ip` is for this socket."""
        return self.ip in (ip, "0.0.0.0", "::") or self.ip == f"::ffff:{ip}"

    def __str__(self) -> str:
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{self.protocol} {host}:{self.port}"


def listeners(protocol: str) -> list[Listener]:
    """All listening ("tcp") or bound and unconnected ("udp") sockets."""
    return [found for file in (protocol, f"{protocol}6") for found in _listeners(protocol, file)]


def _listeners(protocol: str, file: str) -> Iterator[Listener]:
    wanted = _LISTEN if protocol == "tcp" else _UNCONNECTED
    try:
        lines = Path(f"/proc/thread-self/net/{file}").read_text().splitlines()[1:]
    except FileNotFoundError:  # no IPv6 in this kernel
        return
    for line in lines:
        words = line.split()
        if words[3] == wanted:
            address, port = words[1].split(":")
            yield Listener(protocol, _address(address), int(port, 16), int(words[9]))


def _address(digits: str) -> str:
    """The kernel prints each 32-bit word in the machine's own order."""
    raw = b"".join(bytes.fromhex(digits[i : i + 8])[::-1] for i in range(0, len(digits), 8))
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def owner(inode: int, pids: list[int]) -> tuple[int, str] | None:
    """(process id, its name) of the first of `pids` that holds the socket; None if none of them may be looked at."""
    for pid in pids:
        try:
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                if str(fd.readlink()) == f"socket:[{inode}]":
                    return pid, Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:  # it ended meanwhile, or is not ours to look at
            continue
    return None


def processes_in(netns_fd: int) -> list[int]:
    """The processes whose network namespace is the one behind `netns_fd`."""
    wanted, found = os.fstat(netns_fd), []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                here = (process / "ns/net").stat()
            except OSError:  # ended, or not ours
                continue
            if (here.st_ino, here.st_dev) == (wanted.st_ino, wanted.st_dev):
                found.append(int(process.name))
    return found

"""exec: a further process in a running container.

The runtime forks a helper, which opens all the container's namespaces, joins them, and forks again: a PID namespace
holds for children only. The helper waits, and writes the exit code into `status`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, NoReturn

from . import child, terminal
from .container import Reporter, become, open_null, shed
from .syscalls import setns

if TYPE_CHECKING:
    from .server import Request, Server

Json = dict[str, Any]


def start(
    server: Server,
    request: Request,
    spec: Json,
    init: int,
    descriptors: tuple[int, int],
    command: list[str],
    tty: bool,
    stdin: bool,
) -> None:
    """Answers {"pid", "tty", "stdin"} with the descriptors [stdin] stdout [stderr] status once the program runs.

    With a tty: master, status. `descriptors`: of the host's /proc, and as `open_null` wants it.
    """
    proc, null = descriptors
    report, report_child = os.pipe2(os.O_CLOEXEC)
    status, status_child = os.pipe2(os.O_CLOEXEC)
    theirs: list[int] = []
    ours: list[int] = []
    carrier, carrier_child = socket.socketpair()
    if not tty:
        source, to_source = os.pipe2(os.O_CLOEXEC) if stdin else (open_null(null), -1)
        (out, out_child), (err, err_child) = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        theirs, ours = [source, out_child, err_child], [*([to_source] if stdin else []), out, err]
    pid = os.fork()
    if pid == 0:
        _help(spec, init, Reporter(report_child, proc), status_child, theirs, carrier_child, command)
    server.adopt(pid, lambda _code: None)
    for fd in (report_child, status_child, *theirs):
        os.close(fd)
    carrier_child.close()

    def started(data: bytes) -> None:
        told: Json = {}
        for line in data.splitlines():
            told |= json.loads(line)
        if tty and "error" not in told:
            _, fds, _, _ = socket.recv_fds(carrier, 1, 1, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
            ours.extend(fds)
        carrier.close()
        if "pid" in told and "error" not in told:
            request.answer({"pid": told["pid"], "tty": tty, "stdin": stdin}, (*ours, status))
            return
        for fd in (*ours, status):
            os.close(fd)
        error = told.get("error", "the container has just ended")
        message = f"OCI runtime exec failed: exec failed: unable to start container process: {error}: unknown"
        request.refuse("ContainerCannotRun", message)

    server.read_until_end(report, started)


def _help(
    spec: Json,
    init: int,
    reporter: Reporter,
    status: int,
    streams: list[int],
    carrier: socket.socket,
    command: list[str],
) -> NoReturn:
    code = 128 + signal.SIGKILL
    try:
        child.keep_only([*streams, reporter.fd, reporter.host_proc, status, *([] if streams else [carrier.fileno()])])
        child.enter()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for fd in [os.open(f"/proc/{init}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in _KINDS]:
            setns(fd)
            os.close(fd)
        tty = not streams
        if tty:
            master, slave = terminal.open_pair()
            socket.send_fds(carrier, [b"t"], [master])
            os.close(master)
            streams = [slave, slave, slave]
        shed(spec)
        pid = os.fork()
        if pid == 0:
            _become(spec, streams, reporter, command, tty)
        child.keep_only([status])
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        code = ended if ended >= 0 else 128 - ended
    except BaseException as error:
        os.write(reporter.fd, json.dumps({"error": str(error)}).encode() + b"\n")
    try:
        os.write(status, str(code).encode())
    except BrokenPipeError:
        pass  # nobody waits for it any more
    os._exit(0)


_KINDS = ("ipc", "uts", "net", "pid", "mnt")


def _become(spec: Json, streams: list[int], reporter: Reporter, command: list[str], tty: bool) -> NoReturn:
    try:
        reporter.say_pid("pid")
        child.keep_only([*streams, reporter.fd])
        os.setsid()
        if tty:
            terminal.take(streams[0])
        become(spec, streams, reporter, command, None, tty)
    except BaseException as error:
        reporter.say({"error": str(error)})
    os._exit(127)


def kill(pid: int, init: int) -> None:
    """KILL the exec'd process `pid` if it still is one of the container whose PID 1 is `init` (ids as on the host)."""
    try:
        if os.stat(f"/proc/{pid}/ns/pid").st_ino != os.stat(f"/proc/{init}/ns/pid").st_ino:
            return
        with open(f"/proc/{pid}/status") as file:
            here = next(line.split()[2] for line in file if line.startswith("NSpid:"))  # host, runtime, container
        os.kill(int(here), signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        pass  # it has ended meanwhile

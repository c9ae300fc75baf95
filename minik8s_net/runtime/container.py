"""A container: one process that sets up and then stays as mini-init (PID 1), and its child, the workload.

`report` is a pipe to the runtime, JSON lines: {"init": host pid}, {"pid": host pid}; then {"error": text} or, when the
workload runs (exec closed the pipe), end of file. `final` is a pipe for the termination message.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any, NoReturn

from . import caps, child, ids, paths, rootfs, terminal, user
from .init import Init
from .log import LogFile
from .syscalls import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWUTS, MS_PRIVATE, MS_REC, mount, setns

Json = dict[str, Any]
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MESSAGE = 4096  # bytes of a termination message
START_FAILED = 128  # what containerd reports as exit code of a container that could not start


def environment(config: Json, hostname: str, tty: bool = False) -> dict[str, str]:
    """What the process gets: its own variables over a sane PATH and HOME."""
    base = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname, "HOME": user.home(config)}
    return {**base, **({"TERM": "xterm"} if tty else {}), **config["env"]}


class Reporter:
    """Tells the runtime how a start goes. `host_proc` is a descriptor of the machine's /proc."""

    def __init__(self, fd: int, host_proc: int) -> None:
        self.fd, self.host_proc = fd, host_proc

    def say(self, message: Json) -> None:
        os.write(self.fd, json.dumps(message).encode() + b"\n")

    def say_pid(self, key: str) -> None:
        """Tell by which process id the host knows us."""
        self.say({key: int(os.readlink("self", dir_fd=self.host_proc))})


def run(spec: Json, namespaces: dict[str, int], report: int, final: int, host_proc: int, null: int) -> NoReturn:
    """Born in new mount and PID namespaces: become the container. Never returns. `null` as in `open_null`."""
    try:
        child.keep_only([*namespaces.values(), report, final, host_proc, null])
        child.enter()
        os.setsid()
        reporter = Reporter(report, host_proc)
        reporter.say_pid("init")
        code = _run(spec, namespaces, reporter, final, open_null(null))
    except BaseException as error:
        os.write(report, json.dumps({"error": str(error)}).encode() + b"\n")
        code = START_FAILED
    os._exit(code)


def _run(spec: Json, namespaces: dict[str, int], reporter: Reporter, final: int, null: int) -> int:
    config = spec["config"]
    for kind, flag in (("net", CLONE_NEWNET), ("uts", CLONE_NEWUTS), ("ipc", CLONE_NEWIPC)):
        setns(namespaces[kind], flag)
    log = LogFile(config["log_path"])
    # `ip netns add` in a place of ours makes its mounts shared: ours must not take them away with the old root
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    rootfs.build(spec["place"], config, spec["etc"], spec["writable"], config["working_dir"] or spec["workdir"])
    child.keep_only([*log.descriptors(), reporter.fd, reporter.host_proc, final, null])
    streams = _Streams(config["tty"], config["stdin"], null)
    _touch_message(config["termination_message_path"])
    init = Init(log)
    shed(spec)
    pid = os.fork()
    if pid == 0:
        _workload(spec, streams, reporter)
    for fd in (reporter.fd, reporter.host_proc):
        os.close(fd)
    streams.close_child_ends()
    code = init.wait_for(pid, streams.outputs)
    os.write(final, _read_message(config["termination_message_path"]))
    return code


class _Streams:
    """Standard streams of the workload. `outputs` maps our ends to the stream's name in the log."""

    def __init__(self, tty: bool, stdin: bool, null: int) -> None:
        self.tty = tty
        if tty:
            master, slave = terminal.open_pair()
            self.child, self.outputs = [slave, slave, slave], {master: "stdout"}
            return
        (out, out_child), (err, err_child) = os.pipe(), os.pipe()
        source = os.pipe()[0] if stdin else null
        self.child, self.outputs = [source, out_child, err_child], {out: "stdout", err: "stderr"}

    def close_child_ends(self) -> None:
        for fd in set(self.child):
            os.close(fd)


def open_null(null: int) -> int:
    """/dev/null to read from, by way of a read-only mount of it (`null`): not even its mode can be changed."""
    return os.open(f"/proc/self/fd/{null}", os.O_RDONLY | os.O_CLOEXEC)


def _workload(spec: Json, streams: _Streams, reporter: Reporter) -> NoReturn:
    config = spec["config"]
    try:
        reporter.say_pid("pid")
        child.keep_only([*streams.child, reporter.fd])
        os.setsid()
        if streams.tty:
            terminal.take(streams.child[0])
        become(spec, streams.child, reporter, spec["argv"], spec["entry"], config["tty"])
    except BaseException as error:
        reporter.say({"error": str(error)})
    os._exit(START_FAILED)


def shed(spec: Json) -> None:
    """Before the container's processes can see this one: keep no more than `become` needs and they may have.

    A container with CAP_SYS_PTRACE can take over whatever it sees: its PID 1, and execs on their way in.
    """
    if spec["single_id"]:
        ids.pretend()
    caps.hold(caps.owned(caps.DEFAULT | _wanted(spec["config"])))


def _wanted(config: Json) -> frozenset[str]:
    return caps.wanted(config["add_capabilities"], config["drop_capabilities"], config["privileged"])


def become(
    spec: Json, streams: list[int], reporter: Reporter, argv: list[str], entry: str | None, tty: bool
) -> NoReturn:
    """The last steps into the workload: streams, directory, environment, capabilities, program."""
    config = spec["config"]
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    paths.enter(config["working_dir"] or spec["workdir"])
    os.umask(0o022)
    user.become(config, _wanted(config), streams)
    signal.set_wakeup_fd(-1)
    for number in (*range(1, 32), signal.SIGRTMIN):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    env = environment(config, spec["hostname"], tty)
    if entry:
        serve_builtin(entry, argv, env)
    execute(argv, env)


def serve_builtin(entry: str, argv: list[str], env: dict[str, str]) -> NoReturn:
    """Run a server that the runtime has preloaded: `module:function`, in this process."""
    child.keep_only([])
    child.stay()
    os.environ.clear()
    os.environ.update(env)
    sys.argv = argv
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, m, 1) for n, m in ((0, "r"), (1, "w"), (2, "w")))
    module, _, function = entry.partition(":")
    code: object = 1
    try:
        code = getattr(sys.modules[module], function)()
    except SystemExit as leaving:
        code = leaving.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def execute(argv: list[str], env: dict[str, str]) -> NoReturn:
    """exec, failing in runc's words. Raises FileNotFoundError, PermissionError."""
    name = argv[0]
    if "/" in name:
        candidates = [name]
    else:
        candidates = [os.path.join(folder, name) for folder in env.get("PATH", DEFAULT_PATH).split(":") if folder]
    for path in candidates:
        if os.access(path, os.X_OK) and os.path.isfile(path):
            try:
                os.execve(path, argv, env)
            except OSError as error:
                if error.errno == 8:  # ENOEXEC
                    raise OSError(8, f"exec {path}: exec format error") from None
                raise OSError(error.errno, f'exec: "{name}": {(error.strerror or "").lower()}') from None
    raise _not_runnable(name)


def _not_runnable(name: str) -> Exception:
    if "/" not in name:
        return RuntimeError(f'exec: "{name}": executable file not found in $PATH')
    if not os.path.exists(name):
        return RuntimeError(f'exec: "{name}": stat {name}: no such file or directory')
    if os.path.isdir(name):
        return RuntimeError(f'exec: "{name}": is a directory')
    return RuntimeError(f'exec: "{name}": permission denied')


def _touch_message(path: str) -> None:
    if (fd := paths.open_message(path)) is not None:
        os.fchmod(fd, 0o666)  # whoever the workload is
        os.close(fd)


def _read_message(path: str) -> bytes:
    """The last 4096 bytes, as Kubernetes' kubelet reads them."""
    try:
        fd = paths.open_regular(path, os.O_RDONLY)
        return os.pread(fd, MESSAGE, max(0, os.fstat(fd).st_size - MESSAGE))
    except OSError:
        return b""

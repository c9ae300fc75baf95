"""Starting the runtime: a new process that shuts itself into namespaces of its own and becomes their PID 1.

    caller ── spawns ──► user namespace (unless root), mount, net ── fork into a PID namespace ── exec ──► the runtime

Everything the cluster makes (namespaces, mounts, processes) lives inside and goes with that last process: the kernel
kills every process of a PID namespace with its PID 1, and mounts and namespaces end with their last user.

That last exec is for the interpreter's sake: containers are forks of the runtime, and their /proc/self/exe leads to the
machine's file by the very mount it was started from. So it is started once more, from a read-only mount.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from . import names
from .syscalls import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    MOUNT_ATTR_RDONLY,
    MS_NODEV,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    PR_SET_NAME,
    bind,
    clone_tree,
    fork_into,
    mount,
    move_mount,
    need_openat2,
    prctl,
    unshare,
)

if TYPE_CHECKING:
    from ..state import State
    from .server import Server

PRIVATE = "/run/minik8s"
RECORDED = "recorded\n"
_NO_USER_NAMESPACES = """this user may not make user namespaces ({error}).
As root, one of these allows it:
  sysctl -w kernel.unprivileged_userns_clone=1               # Debian
  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0   # Ubuntu 24.04 and later
  sysctl -w user.max_user_namespaces=15000                   # RHEL and others
Or run the same command as root."""


class StartError(RuntimeError):
    """The runtime did not start. The text says why and what to type next."""


def start(state: State, cluster: str, record: Callable[[int], object] = lambda _: None) -> int:
    """Start the runtime of `cluster`; its process id on the host, once its socket accepts. Raises StartError.

    `record` gets that id as soon as there is one. Until it has returned, the runtime makes nothing but its own
    namespaces; and if we die before, it reads the end of its standard input and ends too: there is never one that
    nobody knows of.
    """
    import subprocess

    names.remove_names(state)  # of a predecessor that was killed
    state.logs.mkdir(parents=True, exist_ok=True)
    package_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])])
    with open(state.logs / "runtime.log", "a") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "minik8s_net.runtime", cluster, str(state.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONPATH": path},
            cwd="/",
            text=True,
            start_new_session=True,
        )
    assert child.stdin and child.stdout
    with child.stdin, child.stdout:
        word, _, rest = child.stdout.readline().strip().partition(" ")
        if word == "map":
            child.stdin.write(_map_ids(child.pid) + "\n")
            child.stdin.flush()
            word, _, rest = child.stdout.readline().strip().partition(" ")
        if word == "born":
            record(int(rest))
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(RECORDED)
                child.stdin.flush()
            word, _, rest = child.stdout.readline().strip().partition(" ")
        rest += child.stdout.read()
    child.wait()
    if word != "ready":
        raise StartError(rest.strip() or f"the runtime died while starting; see {state.logs / 'runtime.log'}")
    return int(rest)


def _map_ids(pid: int) -> str:
    """Give the new user namespace the user's subordinate ids (/etc/subuid), if he has any: "done" or "none"."""
    import shutil
    import subprocess

    if not (shutil.which("newuidmap") and shutil.which("newgidmap")):
        return "none"
    ranges = [_subordinate(path) for path in ("/etc/subuid", "/etc/subgid")]
    for tool, own, found in zip(("newuidmap", "newgidmap"), (os.getuid(), os.getgid()), ranges, strict=True):
        if not all(ranges):
            return "none"
        command = [tool, str(pid), "0", str(own), "1", "1", *found]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return "none"
    return "done"


def _subordinate(path: str) -> list[str]:
    """[first, count] of this user's first line in subuid(5), or []."""
    import pwd

    try:
        me = {str(os.getuid()), pwd.getpwuid(os.getuid()).pw_name}
    except KeyError:
        me = {str(os.getuid())}
    try:
        with open(path) as file:
            lines = [line.strip().split(":") for line in file]
    except OSError:
        return []
    return next((fields[1:3] for fields in lines if len(fields) == 3 and fields[0] in me), [])


def main() -> int:
    """The new process. Says `born PID`, then `ready PID` or `error TEXT` on its standard output.

    Its arguments: the cluster's name, its folder; a third one in its second life, the host's /run/netns (a descriptor).
    """
    cluster, root, *host_names = sys.argv[1:]
    try:
        if not host_names:
            _shut_in(cluster, root)
        server = _serve(cluster, host_names[0])
    except OSError as error:
        print(f"error {error.strerror or error}", flush=True)
        return 1
    print(f"ready {server.pid}", flush=True)
    os.dup2(2, 1)
    server.serve()
    return 0


def _shut_in(cluster: str, root: str) -> NoReturn:
    need_openat2()
    is_root = os.geteuid() == 0
    if not is_root:
        _enter_user_namespace()
    _enter_namespaces()
    print(f"born {_own_pid()}", flush=True)
    if sys.stdin.readline() != RECORDED:
        sys.exit(1)  # whoever started us is dead: nobody would ever end us
    host_names = names.prepare(root, cluster, _own_pid()) if is_root else None
    _private_run(host_names)
    if host_names is not None:
        os.set_inheritable(host_names, True)
    program = os.readlink("/proc/self/exe")
    move_mount(clone_tree(program, MOUNT_ATTR_RDONLY), program)  # at its own path: it looks for its library from there
    arguments = [sys.executable, "-m", "minik8s_net.runtime", cluster, root, str(host_names or "")]
    os.execv(program, arguments)


def _serve(cluster: str, host_names: str) -> Server:
    from .server import Server

    if host_names:
        os.set_inheritable(int(host_names), False)
    prctl(PR_SET_NAME, f"minik8s-{cluster}"[:15].encode())
    return Server(cluster, _own_pid(), int(host_names) if host_names else None)


def _own_pid() -> int:
    return int(os.readlink("/proc/self"))


def _enter_user_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    try:
        unshare(CLONE_NEWUSER)
    except OSError as error:
        raise OSError(error.errno, _NO_USER_NAMESPACES.format(error=error.strerror)) from None
    print("map", flush=True)
    if sys.stdin.readline().strip() != "done":
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _enter_namespaces() -> None:
    """Mount, net and PID namespace; returns in the child, whose PID is 1 and which becomes the runtime."""
    try:
        unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC)  # all: only into one's own may one return
        mount("none", "/", flags=MS_REC | MS_PRIVATE)
        if fork_into(CLONE_NEWPID):
            os._exit(0)
    except PermissionError as error:
        help_text = "the runtime needs root with CAP_SYS_ADMIN, or a user who may make user namespaces"
        raise OSError(error.errno, f"{error.strerror}: {help_text}") from None


def _private_run(host_names: int | None) -> None:
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for folder in ("", "/netns", "/host-netns", "/roots", "/template"):
        os.mkdir(PRIVATE + folder, 0o700 if not folder else 0o755)
    if host_names is not None:
        bind(f"/proc/self/fd/{host_names}", f"{PRIVATE}/host-netns")

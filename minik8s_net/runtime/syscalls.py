"""The system calls the runtime needs and Python 3.11 lacks, over ctypes. Each raises OSError naming call and target.

Imports little on purpose: this runs in the runtime, which must start in milliseconds and fork cheaply.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NODEV = 1, 4
RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 0x02, 0x08, 0x10
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_CAPBSET_DROP = 1, 4, 15, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 38, 47
_SIGCHLD = 17
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
# The same numbers on every architecture.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 428, 429, 430, 431, 432
_SYS_CLOSE_RANGE, _SYS_OPENAT2, _SYS_MOUNT_SETATTR = 436, 437, 442
_OPEN_TREE_CLONE, _FROM_EMPTY_PATH, _TO_EMPTY_PATH, _FS_CLOEXEC = 1, 0x04, 0x40, 1
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6  # of fsconfig(2)
_TRIES = 128  # as runc: openat2 says EAGAIN while anybody renames anything and the path has a `..`
_SYS_PIVOT_ROOT = {"x86_64": 155}.get(os.uname().machine, 41)
_SYS_CLONE = {"x86_64": 56}.get(os.uname().machine, 220)

_libc = ctypes.CDLL(None, use_errno=True)
_with_gil = ctypes.PyDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def unshare(flags: int) -> None:
    """unshare(2). Raises OSError."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, nstype: int = 0) -> None:
    """setns(2). Raises OSError."""
    _check(_libc.setns(fd, nstype), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Strings as in `mount -t kind -o data source target`."""
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None
    )
    _check(result, f"mount {kind or 'bind'} {source} on {target}")


def bind(source: str, target: str, recursive: bool = False) -> None:
    """A bind mount. Raises OSError."""
    mount(source, target, flags=MS_BIND | (MS_REC if recursive else 0))


def umount(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2). Raises OSError."""
    _check(_libc.umount2(target.encode(), flags), f"umount {target}")


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount_setattr(target: str | int, attributes: int, recursive: bool = False) -> None:
    """Set mount attributes (MOUNT_ATTR_RDONLY …) on a mount, or on it and everything mounted below it at once."""
    attr = _MountAttr(attributes, 0, 0, 0)
    at, path, flags = _of(target)
    flags |= _AT_RECURSIVE if recursive else 0
    result = _libc.syscall(_SYS_MOUNT_SETATTR, at, path, flags, ctypes.byref(attr), ctypes.sizeof(attr))
    _check(result, f"mount_setattr {target}")


def _of(place: str | int) -> tuple[int, bytes, int]:
    """A path, or an open descriptor: (directory, path, flags) for a system call of the `at` kind."""
    return (_AT_FDCWD, place.encode(), 0) if isinstance(place, str) else (place, b"", _AT_EMPTY_PATH)


def clone_tree(source: str | int, attributes: int = 0) -> int:
    """A copy of what is mounted at and below `source`, with these attributes, mounted nowhere yet; its descriptor.

    It is a mount of its own: no path through it leads above its root, and nobody can change its attributes by a path.
    """
    at, path, flags = _of(source)
    flags |= _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
    fd = _check(_libc.syscall(_SYS_OPEN_TREE, at, path, flags), f"open_tree {source}")
    if attributes:
        mount_setattr(fd, attributes, recursive=True)
    return fd


def new_mount(kind: str, options: dict[str, str | None], attributes: int = 0) -> int:
    """A new file system (`mount -t kind -o options`; None marks a bare word), mounted nowhere yet; its descriptor."""
    what = f"mount {kind}"
    context = _check(_libc.syscall(_SYS_FSOPEN, kind.encode(), _FS_CLOEXEC), what)
    try:
        for key, value in options.items():
            how, text = (_SET_FLAG, None) if value is None else (_SET_STRING, value.encode())
            _check(_libc.syscall(_SYS_FSCONFIG, context, how, key.encode(), text, 0), f"{what}: {key}={value}")
        _check(_libc.syscall(_SYS_FSCONFIG, context, _CREATE, None, None, 0), what)
        return _check(_libc.syscall(_SYS_FSMOUNT, context, _FS_CLOEXEC, attributes), what)
    finally:
        os.close(context)


def move_mount(mounted: int, target: str | int) -> None:
    """Mount what clone_tree or new_mount made; the descriptor stays that mount's."""
    at, path, empty = _of(target)
    flags = _FROM_EMPTY_PATH | (_TO_EMPTY_PATH if empty else 0)
    _check(_libc.syscall(_SYS_MOVE_MOUNT, mounted, b"", at, path, flags), f"mount on {target}")


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(folder: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """openat2(2), close-on-exec: the kernel itself sees to it that the path stays below `folder` (RESOLVE_…)."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(_TRIES):
        fd = int(_libc.syscall(_SYS_OPENAT2, folder, path.encode(), ctypes.byref(how), ctypes.sizeof(how)))
        if fd >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break
    return _check(fd, path)


def need_openat2() -> None:
    """Raises OSError that says what is missing, on a kernel that would follow a container's links to the host."""
    try:
        os.close(openat2(_AT_FDCWD, "/", os.O_PATH, RESOLVE_NO_MAGICLINKS))
    except OSError as error:
        why = "this kernel has no openat2(2), without which a container's links lead to the host"
        text = f"{why} ({error.strerror}): minik8s needs Linux 5.12 or later, and no filter on its system calls"
        raise OSError(error.errno, text) from None


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor but standard streams and these. One system call for each gap."""
    first = 3
    for fd in (*sorted(keep), 0xFFFFFFFF):
        if first < fd:
            _check(_libc.syscall(_SYS_CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(fd - 1), 0), "close_range")
        first = max(first, fd + 1)


def pivot_root(new: int) -> None:
    """Make `new` (a mount) the root and let go of the old one; the caller ends up in its `/`."""
    os.fchdir(new)
    _check(_libc.syscall(_SYS_PIVOT_ROOT, b".", b"."), "pivot_root")
    umount(".")
    os.chdir("/")


def prctl(option: int, *arguments: int | bytes) -> None:
    """prctl(2). Raises OSError."""
    padded = [a if isinstance(a, bytes) else ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    _check(_libc.prctl(option, *padded), f"prctl({option})")


def fork_into(flags: int) -> int:
    """fork(), the child being born in new namespaces (`flags`): one fork where unshare(NEWPID) needs two.

    Only in a single-threaded process. clone(2) is called holding the GIL between Python's own fork hooks.
    """
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(_with_gil.syscall(_SYS_CLONE, ctypes.c_ulong(flags | _SIGCHLD), None, None, None, None))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    code = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    ctypes.set_errno(code)
    return _check(pid, f"clone({flags:#x})")

"""A container's root file system: the image is the machine you sit at.

    /               overlay: this container's own changes over the cluster's template (both on the runtime's tmpfs)
    /etc, /var …    from the template: what any user of the machine may read of /etc, empty folders otherwise
    /usr            the machine's, recursively read-only *before* anything runs
    /proc /sys /dev its own; kernel knobs read-only, device nodes bound from the machine

Files that only root may read (/etc/shadow, host keys) are not copied, /var/lib and homes start empty.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import Any

from .syscalls import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_RDONLY,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    bind,
    mount,
    mount_setattr,
    pivot_root,
)

TEMPLATE, ROOTS = "/run/minik8s/template", "/run/minik8s/roots"
_FOLDERS = [
    "dev/pts",
    "dev/shm",
    "etc",
    "home",
    "media",
    "mnt",
    "opt",
    "proc",
    "root",
    "run/lock",
    "srv",
    "sys",
    "tmp",
    "usr",
    "var/cache",
    "var/lib",
    "var/local",
    "var/log/nginx",
    "var/mail",
    "var/opt",
    "var/spool",
    "var/tmp",
]
_DEVICES = ["null", "zero", "full", "random", "urandom", "tty"]
_HIDDEN_ETC = frozenset(
    [
        "shadow",
        "gshadow",
        "ssh",
        "sudoers",
        "sudoers.d",
        "mtab",
        "hosts",
        "hostname",
        "resolv.conf",
        "machine-id",
    ]
)
_READ_ONLY_PROC = ["bus", "fs", "irq", "sys", "sysrq-trigger"]
_MASKED = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/kernel/debug",
    "/sys/kernel/security",
]


def make_template() -> None:
    """Build the template (some 100 ms of copying: done once, in a process of its own)."""
    for folder in _FOLDERS:
        os.makedirs(f"{TEMPLATE}/{folder}", exist_ok=True)
    for sticky in ("tmp", "var/tmp"):
        os.chmod(f"{TEMPLATE}/{sticky}", 0o1777)
    os.symlink("../run", f"{TEMPLATE}/var/run")
    os.symlink("../run/lock", f"{TEMPLATE}/var/lock")
    for name in _DEVICES:
        _touch(f"{TEMPLATE}/dev/{name}")
    for name, target in (("fd", "/proc/self/fd"), ("ptmx", "pts/ptmx"), ("stdin", "/proc/self/fd/0")):
        os.symlink(target, f"{TEMPLATE}/dev/{name}")
    os.symlink("/proc/self/fd/1", f"{TEMPLATE}/dev/stdout")
    os.symlink("/proc/self/fd/2", f"{TEMPLATE}/dev/stderr")
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{TEMPLATE}/{name}")
        elif os.path.isdir(f"/{name}"):
            os.mkdir(f"{TEMPLATE}/{name}")
    _copy_readable("/etc", f"{TEMPLATE}/etc", _HIDDEN_ETC)
    os.symlink("/proc/mounts", f"{TEMPLATE}/etc/mtab")
    _only_files_and_dns(f"{TEMPLATE}/etc/nsswitch.conf")


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def _copy_readable(source: str, target: str, hidden: frozenset[str] = frozenset()) -> None:
    """Copy what any user may read; anything else is left out."""
    try:
        entries = list(os.scandir(source))
    except PermissionError:
        return
    for entry in entries:
        if entry.name in hidden:
            continue
        copy = f"{target}/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), copy)
            continue
        mode = entry.stat().st_mode
        if stat.S_ISDIR(mode) and mode & 0o005 == 0o005:
            os.mkdir(copy)
            _copy_readable(entry.path, copy)
        elif stat.S_ISREG(mode) and mode & 0o004:
            _copy_file(entry.path, copy, mode & 0o777)


def _copy_file(source: str, target: str, mode: int) -> None:
    with open(source, "rb") as file:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        while data := file.read(1 << 20):
            os.write(fd, data)
        os.close(fd)


def _only_files_and_dns(path: str) -> None:
    """The machine may ask mDNS or systemd-resolved for names: a pod asks /etc/hosts and the cluster's DNS."""
    lines = []
    if os.path.exists(path):
        with open(path) as file:
            lines = [line for line in file if not line.startswith("hosts:")]
    with open(path, "w") as file:
        file.writelines([*lines, "hosts: files dns\n"])


def build(container: str, config: dict[str, Any], etc: dict[str, str], writable: Iterable[str], workdir: str) -> None:
    """In the container's new mount namespace (and its network namespace): make its root and move there.

    `etc` maps file names below /etc to their text. Raises OSError, whose text names the mount that failed.
    """
    base = f"{ROOTS}/{container}"
    root = f"{base}/root"
    mount(
        "overlay",
        root,
        "overlay",
        MS_NODEV,
        f"lowerdir={TEMPLATE},upperdir={base}/upper,workdir={base}/work,userxattr",
    )
    for name in ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}"):
            bind(f"/{name}", f"{root}/{name}", recursive=True)
            mount_setattr(f"{root}/{name}", MOUNT_ATTR_RDONLY, recursive=True)
    for name, text in etc.items():
        with open(f"{root}/etc/{name}", "w") as file:
            file.write(text)
    for name in _DEVICES:
        bind(f"/dev/{name}", f"{root}/dev/{name}")
    mount("devpts", f"{root}/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    mount("shm", f"{root}/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=64m")
    own = [_held(root)]  # what is the container's own, and no volume
    for number, path in enumerate(writable):
        own += make_place(root, f"{base}/place-{number}", path, is_dir=True)
        mount("tmpfs", root + path, "tmpfs", MS_NODEV, "mode=755,size=64m")
        own.append(_held(root + path))
    for number, volume in enumerate(config["mounts"]):
        own += _mount_volume(root, f"{base}/volume-{number}", volume)
    _kernel_views(root, config["privileged"])
    pivot_root(root)
    if config["read_only_root"]:
        _lock(own, workdir, config["termination_message_path"])
    for fd in own:
        os.close(fd)


def _held(mounted: str) -> int:
    """A mount by a descriptor: a volume may hide its path later."""
    return os.open(mounted, os.O_PATH | os.O_CLOEXEC)


def _lock(own: list[int], workdir: str, message: str) -> None:
    """Inside: only volumes, /dev/shm and what the termination message is written to stay writable."""
    os.makedirs(workdir, exist_ok=True)
    if message and os.path.isdir(os.path.dirname(message)):
        _touch(message)
        bind(message, message)
    for fd in own:
        mount_setattr(f"/proc/self/fd/{fd}", MOUNT_ATTR_RDONLY)


def _kernel_views(root: str, privileged: bool) -> None:
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    mount("sysfs", f"{root}/sys", "sysfs", flags if privileged else flags | MS_RDONLY)
    if privileged:
        return
    for name in _READ_ONLY_PROC:
        path = f"{root}/proc/{name}"
        if os.path.exists(path):
            bind(path, path, recursive=True)
            mount_setattr(path, MOUNT_ATTR_RDONLY, recursive=True)
    for masked in _MASKED:
        if os.path.isdir(root + masked):
            mount("tmpfs", root + masked, "tmpfs", MS_RDONLY, "size=0")
        elif os.path.exists(root + masked):
            bind("/dev/null", root + masked)


def _mount_volume(root: str, place: str, volume: dict[str, Any]) -> list[int]:
    source, path = volume["host_path"], os.path.normpath("/" + volume["container_path"])
    made = make_place(root, place, path, os.path.isdir(source))
    bind(source, root + path, recursive=True)
    attributes = MOUNT_ATTR_NODEV | (MOUNT_ATTR_RDONLY if volume.get("read_only") else 0)
    mount_setattr(root + path, attributes, recursive=True)
    return made


def make_place(root: str, place: str, path: str, is_dir: bool) -> list[int]:
    """Make sure that `path` exists in the container, to mount on it.

    Below the read-only /usr it cannot be made: there the nearest existing folder gets an overlay of its own (returned).
    """
    made: list[int] = []
    if os.path.exists(root + path):
        return made
    parent = os.path.dirname(path)
    while not os.path.isdir(root + parent):
        parent = os.path.dirname(parent)
    if os.statvfs(root + parent).f_flag & os.ST_RDONLY:
        for name in ("upper", "work"):
            os.makedirs(f"{place}/{name}")
        layers = f"lowerdir={root}{parent},upperdir={place}/upper,workdir={place}/work,userxattr"
        mount("overlay", root + parent, "overlay", MS_NODEV, layers)
        made.append(_held(root + parent))
    os.makedirs(root + (path if is_dir else os.path.dirname(path)), exist_ok=True)
    if not is_dir:
        _touch(root + path)
    return made

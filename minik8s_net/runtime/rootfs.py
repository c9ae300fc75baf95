"""A container's root file system: the image is the machine you sit at.

    /               overlay: this container's own changes over the cluster's template (both on the runtime's tmpfs)
    /etc, /var …    from the template: what any user of the machine may read of /etc, empty folders otherwise
    /usr            the machine's, recursively read-only *before* anything runs
    /proc /sys /dev its own; kernel knobs read-only, device nodes bound from the machine

Files that only root may read (/etc/shadow, host keys) are not copied, /var/lib and homes start empty. What is the
machine's own is shown through read-only mounts, device nodes too (one can write to the device, but not chmod it).

Volumes are full of what containers put there, links to the host among it, and this is the host's root at work. So from
the first volume on no path is followed that leads through one: sources are all opened (as mounts that are mounted
nowhere yet) before any target is, and targets are opened within the new root, then mounted on by descriptor.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from typing import Any

from . import paths
from .syscalls import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_RDONLY,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    bind,
    clone_tree,
    mount,
    mount_setattr,
    move_mount,
    new_mount,
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
    """The machine may ask mDNS or systemd-resolved for names: a pod asks /etc/hosts and the cluster's DNS.

    The copy may be a link as the machine's own file is: what is written replaces it.
    """
    lines = []
    try:
        with open("/etc/nsswitch.conf") as file:
            lines = [line for line in file if not line.startswith("hosts:")]
    except OSError:
        pass
    with open(f"{path}.new", "w") as file:
        file.writelines([*lines, "hosts: files dns\n"])
    os.replace(f"{path}.new", path)


def build(container: str, config: dict[str, Any], etc: dict[str, str], writable: Iterable[str], workdir: str) -> None:
    """In the container's new mount namespace (and its network namespace): make its root and move there.

    `etc` maps file names below /etc to their text. Raises OSError, whose text names the mount that failed. Descriptors
    stay open: the caller closes all but his own.
    """
    base = f"{ROOTS}/{container}"
    root = f"{base}/root"
    volumes = [_source(volume) for volume in config["mounts"]]
    within = _overlay(TEMPLATE, base, root)
    for name in ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}"):
            _show(f"/{name}", f"{root}/{name}")
    for name, text in etc.items():
        with open(f"{root}/etc/{name}", "w") as file:
            file.write(text)
    for name in _DEVICES:
        _show(f"/dev/{name}", f"{root}/dev/{name}")
    mount("devpts", f"{root}/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    mount("shm", f"{root}/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=64m")
    own = [within]  # what is the container's own, and no volume
    for number, path in enumerate(writable):
        place, made = _make_place(within, f"{base}/place-{number}", path, is_dir=True)
        tmpfs = new_mount("tmpfs", {"mode": "755", "size": "64m"}, MOUNT_ATTR_NODEV)
        move_mount(tmpfs, place)
        own += [*made, tmpfs]
    for number, (volume, source) in enumerate(zip(config["mounts"], volumes, strict=True)):
        try:
            own += _mount_volume(within, f"{base}/volume-{number}", volume["container_path"], source)
        except OSError as error:
            why = f"mount {volume['host_path']} on {volume['container_path']}: {error.strerror}"
            raise OSError(error.errno, why) from None
    _kernel_views(root, config["privileged"])
    pivot_root(within)
    if config["read_only_root"]:
        _lock(own, workdir, config["termination_message_path"])


def _show(source: str, target: str) -> None:
    """Something of the machine, to look at."""
    move_mount(clone_tree(source, MOUNT_ATTR_RDONLY), target)


def _overlay(lower: str, place: str, target: str | int) -> int:
    """Mount a writable layer over `lower`; the mount's descriptor."""
    for name in ("upper", "work"):
        os.makedirs(f"{place}/{name}", exist_ok=True)
    layers = {"lowerdir": lower, "upperdir": f"{place}/upper", "workdir": f"{place}/work", "userxattr": None}
    layer = new_mount("overlay", layers, MOUNT_ATTR_NODEV)
    move_mount(layer, target)
    return layer


def _lock(own: list[int], workdir: str, message: str) -> None:
    """Inside: only volumes, /dev/shm and what the termination message is written to stay writable."""
    paths.enter(workdir)
    if (fd := paths.open_message(message)) is not None:
        move_mount(clone_tree(fd), fd)
        os.close(fd)  # what is open for writing cannot become read-only
    for fd in own:
        mount_setattr(fd, MOUNT_ATTR_RDONLY)


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
            _show("/dev/null", root + masked)


def _source(volume: dict[str, Any]) -> int:
    """A volume as a mount that is mounted nowhere yet."""
    try:
        found = paths.open_source(volume["host_path"], volume.get("sub_path", ""))
    except OSError as error:
        raise OSError(error.errno, f"mount {volume['host_path']}: {error.strerror}") from None
    source = clone_tree(found, MOUNT_ATTR_NODEV | (MOUNT_ATTR_RDONLY if volume.get("read_only") else 0))
    os.close(found)
    return source


def _mount_volume(root: int, spare: str, path: str, source: int) -> list[int]:
    path = os.path.normpath("/" + path)
    if path.strip("/") == "":
        raise OSError(errno.EINVAL, "a volume cannot be the container's root")
    place, made = _make_place(root, spare, path, stat.S_ISDIR(os.fstat(source).st_mode))
    move_mount(source, place)
    return made


def _make_place(root: int, spare: str, path: str, is_dir: bool) -> tuple[int, list[int]]:
    """A descriptor of `path` in the container, to mount on; what is missing of it is made.

    Below the read-only /usr it cannot be made: there the nearest existing folder gets an overlay of its own (returned).
    """
    found, missing = paths.nearest(root, path)
    made = []
    if missing and os.fstatvfs(found).f_flag & os.ST_RDONLY:
        made = [_overlay(f"/proc/self/fd/{found}", spare, found)]
        os.close(found)
        found = os.dup(made[0])
    return paths.make_below(found, missing, is_dir), made

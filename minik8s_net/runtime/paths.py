"""Paths that a container has had its hands on, followed by root: the kernel itself keeps them below a folder.

What is looked at first and used later can be a link to the host by then (CVE-2021-25741), so nothing here hands out
paths: it opens, and what is opened is mounted, read or entered by its descriptor. `/proc/PID/fd`, `root` and `cwd` are
never followed (RESOLVE_NO_MAGICLINKS): they lead out of any root (CVE-2024-21626).
"""

from __future__ import annotations

import errno
import os
import stat

from .syscalls import RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS  # links and `..` as the container sees them
BENEATH = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS  # links and `..` that lead out are errors (EXDEV)


def root() -> int:
    """This process's root; to be closed."""
    return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def nearest(folder: int, path: str, resolve: int = IN_ROOT) -> tuple[int, list[str]]:
    """As much of `path` below `folder` as there is, opened (O_PATH), and the names that are missing below it."""
    names, missing = [name for name in path.split("/") if name], list[str]()
    while True:
        try:
            flags = os.O_PATH | (os.O_DIRECTORY if missing else 0)
            return openat2(folder, "/".join(names) or ".", flags, resolve), missing
        except FileNotFoundError:
            if not names or names[-1] == "..":
                raise
            missing.insert(0, names.pop())


def make_below(folder: int, names: list[str], is_dir: bool = True) -> int:
    """Make folders `names` (the last one an empty file unless `is_dir`) below `folder`; the last, opened.

    Closes `folder`. Each is entered by its name without following it: who puts a link there meanwhile gets an error.
    """
    for number, name in enumerate(names):
        try:
            below = _make_one(folder, name, is_dir or number < len(names) - 1)
        finally:
            os.close(folder)
        folder = below
    return folder


def _make_one(folder: int, name: str, is_dir: bool) -> int:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    if not is_dir:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=folder))
        return os.open(name, flags, dir_fd=folder)
    try:
        os.mkdir(name, 0o755, dir_fd=folder)
    except FileExistsError:
        pass  # somebody else just made it
    return os.open(name, flags | os.O_DIRECTORY, dir_fd=folder)


def enter(path: str) -> None:
    """chdir to a folder of the container that we are in, made where it is missing."""
    top = root()
    folder, missing = nearest(top, path)
    os.close(top)
    folder = make_below(folder, missing)
    os.fchdir(folder)
    os.close(folder)


def open_regular(path: str, flags: int, mode: int = 0) -> int:
    """Open a plain file of the container that we are in; OSError for whatever else lies there.

    Not a link, and no pipe whose other end never comes: opening does not wait (O_NONBLOCK).
    """
    top = root()
    try:
        fd = openat2(top, path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY, IN_ROOT, mode)
    finally:
        os.close(top)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.ENXIO, f"{path}: no plain file")
    return fd


def open_message(path: str) -> int | None:
    """The container's termination message, made if its folder is there; None where there can be none.

    What a container put in its place, a link or a pipe, gets no message.
    """
    if not path:
        return None
    try:
        return open_regular(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return None
        raise


def open_source(host_path: str, sub_path: str = "", make: bool = False) -> int:
    """A volume, or what `subPath` names in it, to bind from. The volume's own path is ours, what is in it is not.

    With `make` a missing subPath becomes a folder. Raises OSError; EXDEV for one that leads out of the volume.
    """
    volume = os.open(host_path, os.O_PATH | os.O_CLOEXEC)
    if not sub_path:
        return volume
    try:
        found, missing = nearest(volume, sub_path, BENEATH)
    finally:
        os.close(volume)
    if missing and not make:
        os.close(found)
        raise FileNotFoundError(errno.ENOENT, f"{sub_path}: {os.strerror(errno.ENOENT)}")
    return make_below(found, missing)

"""Pseudo-terminals of a container, from the container's own devpts.

/dev/ptmx is the container's to replace, so it is opened where the kernel put it, without following links that lead out,
and must be what it says; the other end comes from the kernel, without a path.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import termios

from . import paths
from .syscalls import openat2

_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441
_PTMX = (5, 2)


def open_pair() -> tuple[int, int]:
    """(master, slave) of a new terminal of the container that we are in. Raises OSError."""
    top = paths.root()
    flags = os.O_RDWR | os.O_NOCTTY
    master = openat2(top, "/dev/pts/ptmx", flags | os.O_NONBLOCK, paths.IN_ROOT)
    os.close(top)
    device = os.fstat(master)
    if not stat.S_ISCHR(device.st_mode) or (os.major(device.st_rdev), os.minor(device.st_rdev)) != _PTMX:
        os.close(master)
        raise OSError("/dev/pts/ptmx is no terminal multiplexer")
    os.set_blocking(master, True)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    return master, fcntl.ioctl(master, _TIOCGPTPEER, flags | os.O_CLOEXEC)


def take(slave: int) -> None:
    """Make the pseudo-terminal behind `fd` this session's controlling terminal."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

"""Files of a container, read from outside by somebody who does not trust it.

A pod may replace its /etc/resolv.conf by a link to one of the machine's files, or by a pipe that nobody writes to. So
links lead no further than the container's own root (openat2(2), RESOLVE_IN_ROOT), and only plain files are read.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct

_SYS_OPENAT2 = 437  # the same number on every architecture
_IN_ROOT, _NO_MAGIC_LINKS = 0x10, 0x02
_libc = ctypes.CDLL(None, use_errno=True)


def read_text(root: str, path: str, most: int = 65536) -> str:
    """At most `most` bytes of the file `path` as it is below `root` (e.g. /proc/PID/root). Raises OSError."""
    within = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = struct.pack("QQQ", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, 0, _IN_ROOT | _NO_MAGIC_LINKS)
        fd = _libc.syscall(_SYS_OPENAT2, within, path.encode(), how, len(how))
        if fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
    finally:
        os.close(within)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path} is no plain file")
        return os.read(fd, most).decode(errors="replace")
    finally:
        os.close(fd)

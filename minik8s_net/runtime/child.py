"""What a fork of the runtime lets go of before it goes near a container.

It is born with everything the runtime holds: other execs' pipes (whose readers wait for the last writer to leave),
namespaces of pods that are to end, clients' sockets, and the memory of it all. A container must find none of these.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable

from .syscalls import PR_SET_DUMPABLE, close_all_but, prctl

_finders = list(sys.meta_path)


def keep_only(descriptors: Iterable[int]) -> None:
    """Close every other descriptor but standard streams."""
    signal.set_wakeup_fd(-1)  # its number will be another descriptor's
    close_all_but(descriptors)


def enter() -> None:
    """Before it sees a container's files and is seen by its processes: nothing is imported from there, and only who
    has CAP_SYS_PTRACE may look at our memory, descriptors and directory. exec ends the latter."""
    sys.meta_path.clear()
    prctl(PR_SET_DUMPABLE, 0)


def stay() -> None:
    """It goes on as a program of the container's own, with no more rights than that: it may import again."""
    sys.meta_path[:] = _finders

"""What /proc tells of a process: enough to know it again.

A process id is given to somebody else some day. Together with the start time (clock ticks since boot, field 22 of
/proc/PID/stat) it means one process as long as the machine runs, and with the boot's id one process for ever.
"""

from __future__ import annotations

import functools


def start_time(pid: int | str) -> int:
    """Clock ticks since boot at which the process began. Raises ProcessLookupError if there is none."""
    return int(_stat(pid)[19])


def is_zombie(pid: int) -> bool:
    """Whether it has ended and only waits to be asked for its exit status. Raises ProcessLookupError."""
    return _stat(pid)[0] in "ZX"


@functools.cache
def boot_id() -> str:
    """The id of this boot of the machine; "" where the kernel doesn't tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def _stat(pid: int | str) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None
    return text[text.rindex(")") + 2 :].split()

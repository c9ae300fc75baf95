"""As whom a container's processes run: securityContext.runAsUser, runAsGroup and supplementary groups.

As Docker does it: the bounding set is cut as ever; a process that is not root keeps no capability of it in effect.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from . import caps, paths

Json = dict[str, Any]
ROOTS_HOME = "/root"
_LONGEST = 1 << 20  # bytes of /etc/passwd


def home(config: Json) -> str:
    """What HOME is by default: as the container's own /etc/passwd says, else /."""
    return _account(config["user"])[1] if config["user"] else ROOTS_HOME


def become(config: Json, capabilities: frozenset[str], streams: list[int]) -> None:
    """Give up every capability but these, and then be the user. Raises OSError for ids that are none here."""
    user, group, groups = config["user"], config["group"], config["groups"]
    kept = caps.bound_to(capabilities)
    if user:
        for fd in streams:
            if stat.S_ISFIFO(os.fstat(fd).st_mode) or os.isatty(fd):  # never a device node: it is the machine's
                os.fchown(fd, user, -1)
    if user is not None or group is not None or groups:
        os.setgroups(groups)
        os.setgid(_account(user)[0] if group is None else group)
    if user:
        os.setuid(user)  # the kernel clears what was permitted and in effect
    else:
        caps.hold(kept)


def _account(user: int | None) -> tuple[int, str]:
    """(group, home) of a user of the container's own files; (0, /) of one that is in none."""
    try:
        fd = paths.open_regular("/etc/passwd", os.O_RDONLY)
        text = os.read(fd, _LONGEST).decode(errors="replace")
        os.close(fd)
        for line in text.splitlines():
            parts = line.split(":")
            if len(parts) > 5 and parts[2] == str(user):
                return int(parts[3]), parts[5]
    except (OSError, ValueError):
        pass
    return 0, "/"

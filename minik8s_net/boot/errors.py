"""Why a cluster does not come up. The text is the user's: what happened, why, and what to type next."""

from __future__ import annotations

import os
from pathlib import Path

from ..state import typed

FULL = 64 * 1024  # bytes; with less than that free nothing of ours can be written


class StartError(Exception):
    """The cluster could not be started: what happened, why, and what to type next."""


class DamagedError(StartError):
    """A file of the cluster's folder is not what we wrote."""

    def __init__(self, path: Path, why: str) -> None:
        down, up = (typed(command, path.parent.name) for command in ("down", "up"))
        super().__init__(
            f"{path} is damaged: {why}.\n`{down}` ends what there is of the cluster; then `{up}` begins a new one."
        )


def full_disk(folder: Path) -> str:
    """A line for messages if the disk below `folder` is full, else ""."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return ""
    full = found.f_bavail * found.f_frsize < FULL or (found.f_files and not found.f_favail)
    return f"\nThe disk that holds {folder} is full: free some space, then type the command again." if full else ""

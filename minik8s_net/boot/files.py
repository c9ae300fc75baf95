"""Small state files (JSON, a line or two) that are whole at every moment: also after a crash, also on a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def write_whole(path: Path, text: str) -> None:
    """Write JSON atomically and durably: there is the old text or the new one, never half of either.

    Where the disk has no room for a second file, the first is overwritten in place (one write into a block that it
    has already), because healing must go on: the supervisor starts nothing that it cannot record. Raises OSError.
    """
    draft = path.with_name(f"{path.name}.new")
    try:
        with open(draft, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        if error.errno not in NO_SPACE or not path.exists():
            raise
        _overwrite(path, text)


def _overwrite(path: Path, text: str) -> None:
    """What is longer than the new text becomes blanks, which are nothing in JSON."""
    with open(path, "r+b", buffering=0) as file:
        file.write(text.encode().ljust(os.fstat(file.fileno()).st_size))

"""What a container said last, as its termination message (terminationMessagePolicy FallbackToLogsOnError).

https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lightkube.models.core_v1 import Container

from ..runtime.cri import ContainerStatus

MAX_LINES, MAX_BYTES = 80, 2048
_READ = 1 << 16  # bytes of a log: several of its longest lines


def with_last_words(container: Container, status: ContainerStatus) -> ContainerStatus:
    """The status; of an attempt that failed without a message, and where it is asked for, with the end of its log."""
    failed = status.state == "exited" and status.exit_code and not status.message
    if not failed or container.terminationMessagePolicy != "FallbackToLogsOnError":
        return status
    return dataclasses.replace(status, message=_tail(Path(status.config.log_path)))


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            start = file.seek(max(0, file.seek(0, 2) - _READ))
            lines = file.read().split(b"\n")
    except OSError:
        return ""
    whole = lines[1:] if start else lines  # the first may have been cut
    said = b""
    parts = [line.split(b" ", 3) for line in whole]
    for _, _, tag, text in [each for each in parts if len(each) == 4][-MAX_LINES:]:  # one may be cut by a full disk
        said += text + (b"" if tag == b"P" else b"\n")
    return said[-MAX_BYTES:].decode(errors="replace")

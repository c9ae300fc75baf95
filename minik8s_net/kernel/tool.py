"""Running one of the packet filter's command line tools in the calling thread's network namespace."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence


class ToolError(Exception):
    """A tool failed: its command, exit status and output, and (if it named one) the line of its input at fault."""

    def __init__(self, command: Sequence[str], status: int, output: str, line: str = "") -> None:
        self.command, self.status, self.output, self.line = list(command), status, output.strip(), line
        at = f"\n  at: {line}" if line else ""
        super().__init__(f"{' '.join(command)} (exit status {status}): {self.output}{at}")


class ToolMissing(ToolError):
    """The tool is not installed."""

    def __init__(self, command: Sequence[str]) -> None:
        super().__init__(command, 127, f"{command[0]}: not found; `minik8s doctor` says how to install it")


def run(command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run with `text` as standard input; its completed process, whatever the exit status. Raises ToolMissing."""
    path = shutil.which(command[0], path="/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin")
    if path is None:
        raise ToolMissing(command)
    return subprocess.run([path, *command[1:]], input=text, capture_output=True, text=True, check=False)

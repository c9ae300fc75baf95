"""Running one of the packet filter's command line tools in the calling thread's network namespace."""

from __future__ import annotations

import _thread
import os
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
    return subprocess.run(_found(command), input=text, capture_output=True, text=True, check=False)


def run_until(said: str, command: Sequence[str], text: str) -> subprocess.CompletedProcess[str]:
    """As `run`, but back, with status 0, once it has `said` that. How it ends after that nobody waits for.

    If it ends without saying so, that is what comes back; its output and errors are then one text.
    """
    given = os.memfd_create(command[0])  # not a pipe, which could be full while it waits for us to read
    try:
        with open(given, "w", closefd=False) as file:
            file.write(text)
        os.lseek(given, 0, os.SEEK_SET)
        process = subprocess.Popen(_found(command), stdin=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    finally:
        os.close(given)
    assert process.stdout is not None
    heard, sign = b"", said.encode()
    while sign not in heard:
        piece = os.read(process.stdout.fileno(), 1 << 16)
        if not piece:
            process.stdout.close()
            output = heard.decode(errors="replace")
            return subprocess.CompletedProcess(command, process.wait(), output, output)
        heard += piece
    _thread.start_new_thread(process.communicate, ())
    return subprocess.CompletedProcess(command, 0, heard.decode(errors="replace"), "")


def _found(command: Sequence[str]) -> list[str]:
    path = shutil.which(command[0], path="/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin")
    if path is None:
        raise ToolMissing(command)
    return [path, *command[1:]]

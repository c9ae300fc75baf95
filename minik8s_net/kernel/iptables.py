"""iptables, loaded and saved whole (iptables-restore(8), iptables-save(8)), in the calling thread's namespace.

One `*table … COMMIT` section is one atomic netlink batch. Rootless, it must fit the socket buffer (some 200 lines):
give `restore` a list of pieces, each complete in itself (whole Services, chains and rules before the jump to them).
All pieces go through one process; those before a failing one stay applied.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from .tool import ToolError, run, run_until

PIECE_LINES = 200  # what one rootless batch holds with room to spare
_AT_LINE = re.compile(r"line:? (\d+)")
_WAIT = ["-w", "5"]  # seconds for the legacy backend's lock; the nft backend has none
# With -v a comment is printed, after all that stands before it is committed; at once if it fills stdio's buffer.
_DONE = "# all is in force"
_DONE_LINE = f"{_DONE} {'.' * 8000}\n"


def restore(pieces: str | Sequence[str], *, flush: bool = False, freed: bool = True) -> None:
    """Apply `*table` sections. Chains named by a `:CHAIN` line are emptied first; others are left alone unless `flush`.

    Not `freed`: return when the rules are in force. Until the kernel has also freed the rules they replace, which is
    what the tool's end waits for, it takes some 15 ms more; the sets that those matched are in use for so long.
    Raises ToolError with the rule at fault.
    """
    text = pieces if isinstance(pieces, str) else "".join(p if p.endswith("\n") else p + "\n" for p in pieces)
    if not text.strip():
        return
    command = ["iptables-restore", *([] if flush else ["--noflush"]), *_WAIT]
    text = text if text.endswith("\n") else text + "\n"
    done = run(command, text) if freed else run_until(_DONE, [*command, "-v"], text + _DONE_LINE)
    if done.returncode:
        raise ToolError(command, done.returncode, done.stderr or done.stdout, _line(text, done.stderr))


def _line(text: str, output: str) -> str:
    found = _AT_LINE.search(output)
    lines = text.splitlines()
    return lines[int(found[1]) - 1] if found and 0 < int(found[1]) <= len(lines) else ""


def rootless() -> bool:
    """Whether the kernel limits our batches: no capability in the first user namespace (`/proc/self/uid_map`)."""
    fd = os.open("/proc/self/uid_map", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096).split()[:3] != [b"0", b"0", b"4294967295"]
    finally:
        os.close(fd)


def save(table: str | None = None, *, counters: bool = False) -> str:
    """The rules as iptables-save prints them, comments (`# …`) left out."""
    command = ["iptables-save", *(["-t", table] if table else []), *(["-c"] if counters else [])]
    done = run(command)
    if done.returncode:
        raise ToolError(command, done.returncode, done.stderr)
    return "".join(f"{line}\n" for line in done.stdout.splitlines() if not line.startswith("#"))


def chains(text: str) -> dict[str, list[str]]:
    """One table's saved text -> chain -> its rules, as `-A` lines, in order."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith(":"):
            found[line[1:].split(" ", 1)[0]] = []
        elif line.startswith("-A "):
            found.setdefault(line.split(" ", 2)[1], []).append(line)
    return found


def ensure_jump(table: str, chain: str, rule: str, *, first: bool = False) -> bool:
    """Have `rule` (e.g. `-m comment --comment "…" -j KUBE-SERVICES`) in a built-in chain; True if it was put there.

    `first`: it must be the chain's first rule, and is moved there if it is not. The chain jumped to must exist.
    """
    where = chains(save(table)).get(chain, [])
    line = f"-A {chain} {rule}"
    if line in where and (not first or where[0] == line):
        return False
    stale = "".join(f"-D {chain} {rule}\n" for each in where if each == line)
    restore(f"*{table}\n{stale}-{'I' if first else 'A'} {chain} {rule}\nCOMMIT\n")
    return True

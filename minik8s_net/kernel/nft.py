"""nftables (nft(8)): scripts applied as one transaction, tables listed, in the calling thread's namespace.

Through libnftables where it is installed (0.1–0.3 ms for a small change, no process), else through the `nft` command.
"""

from __future__ import annotations

import _thread
import ctypes
import functools
import json
import threading
from typing import Any

from .tool import ToolError
from .tool import run as run_tool

_HANDLES, _JSON = 1 << 3, 1 << 4  # NFT_CTX_OUTPUT_…, for `-a` and `-j`


def run(script: str) -> None:
    """Apply a script, all of it or nothing. Raises ToolError with nft's own words."""
    if script.strip():
        _nft(script, "-f", "-")


def list_table(table: str) -> str:
    """`family name` (e.g. `ip kube-proxy`) as nft prints it; "" if there is no such table."""
    try:
        return _nft(f"list table {table}", "list", "table", *table.split())
    except ToolError as error:
        if "No such file or directory" in error.output:
            return ""
        raise


def tables(family: str) -> list[str]:
    """The names of a family's tables in this thread's namespace."""
    found = [item["table"] for item in list_json(f"list tables {family}") if "table" in item]
    return [table["name"] for table in found if table["family"] == family]


def list_rules(family: str, table: str, chain: str) -> dict[int, str]:
    """A chain's rules by their handles, as `nft -a list chain` prints them. Raises ToolError."""
    command = f"list chain {family} {table} {chain}"
    lines = (line.strip().rpartition(" # handle ") for line in _nft(command, "-a", *command.split()).splitlines())
    return {int(handle): rule for rule, _, handle in lines if handle.isdigit() and not rule.endswith("{")}


def get_element(family: str, table: str, name: str, key: str) -> str:
    """The set or map `name` with the one element that matches `key`. Raises ToolError if there is none."""
    command = f"get element {family} {table} {name} {{ {key} }}"
    return _nft(command, *command.split())


def list_json(command: str = "list ruleset") -> list[dict[str, Any]]:
    """`list …` as libnftables-json(5) objects, the leading metainfo left out."""
    listed: list[dict[str, Any]] = json.loads(_nft(command, "-j", *command.split()) or '{"nftables":[]}')["nftables"]
    return [each for each in listed if "metainfo" not in each]


def _nft(text: str, *arguments: str) -> str:
    """`arguments` are the command line of the same thing; `-j` asks for JSON."""
    command = ["nft", *arguments]
    if (found := library()) is not None:
        flags = (_JSON if "-j" in arguments else 0) | (_HANDLES if "-a" in arguments else 0)
        status, output, errors = _in_process(found, text, flags)
    else:
        done = run_tool(command, text if "-f" in arguments else "")
        status, output, errors = done.returncode, done.stdout, done.stderr
    if status:
        raise ToolError(command, abs(status), errors or output)
    return output


# libnftables (1.0.6) keeps a ruleset's generation in one place for the whole process: two threads, each in a namespace
# of its own, take each other's for an interruption, and with large tables begin again for ever.
_one_at_a_time = threading.Lock()


@functools.cache
def library() -> ctypes.CDLL | None:
    """libnftables, or None where it is not installed."""
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError:
        return None
    library.nft_ctx_new.restype = ctypes.c_void_p
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).restype = ctypes.c_char_p
    return library


def _in_process(library: ctypes.CDLL, text: str, flags: int) -> tuple[int, str, str]:
    """A context of its own per call: its netlink socket belongs to the thread's present namespace."""
    context = ctypes.c_void_p(library.nft_ctx_new(0))
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        library.nft_ctx_output_set_flags(context, flags)
        with _one_at_a_time:
            status = library.nft_run_cmd_from_buffer(context, text.encode())
        output, errors = library.nft_ctx_get_output_buffer(context), library.nft_ctx_get_error_buffer(context)
        return status, (output or b"").decode(), (errors or b"").decode()
    finally:
        _thread.start_new_thread(library.nft_ctx_free, (context,))  # see `nfnetlink`: closing its socket may wait

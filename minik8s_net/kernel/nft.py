"""nftables (nft(8)): scripts applied as one transaction, tables listed, in the calling thread's namespace.

Through libnftables where it is installed (0.1–0.3 ms for a small change, no process), else through the `nft` command.
"""

from __future__ import annotations

import ctypes
import functools
import json
from typing import Any

from .tool import ToolError
from .tool import run as run_tool

_JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON


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


def list_json(command: str = "list ruleset") -> list[dict[str, Any]]:
    """`list …` as libnftables-json(5) objects, the leading metainfo left out."""
    listed: list[dict[str, Any]] = json.loads(_nft(command, "-j", *command.split()) or '{"nftables":[]}')["nftables"]
    return [each for each in listed if "metainfo" not in each]


def _nft(text: str, *arguments: str) -> str:
    """`arguments` are the command line of the same thing; `-j` asks for JSON."""
    command = ["nft", *arguments]
    if (found := library()) is not None:
        status, output, errors = _in_process(found, text, json_output="-j" in arguments)
    else:
        done = run_tool(command, text if "-f" in arguments else "")
        status, output, errors = done.returncode, done.stdout, done.stderr
    if status:
        raise ToolError(command, abs(status), errors or output)
    return output


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


def _in_process(library: ctypes.CDLL, text: str, *, json_output: bool) -> tuple[int, str, str]:
    """A context of its own per call: its netlink socket belongs to the thread's present namespace."""
    context = ctypes.c_void_p(library.nft_ctx_new(0))
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        if json_output:
            library.nft_ctx_output_set_flags(context, _JSON)
        status = library.nft_run_cmd_from_buffer(context, text.encode())
        output, errors = library.nft_ctx_get_output_buffer(context), library.nft_ctx_get_error_buffer(context)
        return status, (output or b"").decode(), (errors or b"").decode()
    finally:
        library.nft_ctx_free(context)

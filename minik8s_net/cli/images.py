"""`minik8s image`: what `image:` may name here, and images of one's own."""

from __future__ import annotations

import argparse
import json
import shlex

from . import output
from .objects import UsageError


def image(args: argparse.Namespace) -> int:
    """List the catalogue; add or remove an entry of one's own."""
    if args.action == "list":
        return _list(args)
    if not args.name:
        raise UsageError(f"which image? e.g. minik8s image {args.action} shop --command 'python3 -m http.server 8080'")
    return _add(args) if args.action == "add" else _remove(args)


def _list(args: argparse.Namespace) -> int:
    from ..runtime.images import CATALOGUE, user_catalogue

    known = {**CATALOGUE, **user_catalogue()}
    if args.output == "json":
        print(json.dumps(known, indent=2, default=str))
    else:
        rows = [[name, str(i.get("kind", "")), str(i.get("description", ""))] for name, i in sorted(known.items())]
        output.table(["IMAGE", "KIND", "WHAT IT IS"], rows, prose=True)
    return 0


def _add(args: argparse.Namespace) -> int:
    from ..runtime.images import CATALOGUE, UnknownImage, repository, user_catalogue, write_user_catalogue

    try:
        name = repository(args.name)
    except UnknownImage as error:
        raise UsageError(str(error)) from None
    try:
        command = shlex.split(args.command)
    except ValueError as error:
        raise UsageError(f"--command {args.command!r}: {error}") from None
    if name in CATALOGUE:
        print(f"note: your own {name} now stands before the built-in one; minik8s image rm {name} brings that back")
    entry = {"kind": "tool", "command": command, "description": args.description}
    path = write_user_catalogue({**user_catalogue(), name: entry})
    print(f"image {name} runs `{args.command}` with this machine's tools; kept in {path}")
    return 0


def _remove(args: argparse.Namespace) -> int:
    from ..runtime.images import CATALOGUE, user_catalogue, write_user_catalogue

    own = user_catalogue()
    if args.name not in own:
        built_in = " (it is built in)" if args.name in CATALOGUE else ""
        raise UsageError(f"there is no image {args.name!r} of your own{built_in}; see: minik8s image list")
    write_user_catalogue({name: entry for name, entry in own.items() if name != args.name})
    print(f"image {args.name} removed")
    return 0

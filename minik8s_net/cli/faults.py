"""Commands that break and mend: fault, diff."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import Any

from ..state import typed
from . import output
from .objects import UsageError, connect

Json = dict[str, Any]


def fault(args: argparse.Namespace) -> int:
    """List, inject, clear; pause and resume healing."""
    return {"list": _list, "inject": _inject, "clear": _clear, "pause": _pause, "resume": _pause}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    told = connect(args).verb("fault-list", reveal=args.reveal)
    if args.output == "json":
        print(json.dumps(told, indent=2))
        return 0
    output.table(["FAULT", "WHAT IT IS", "PARAMETERS"], [_row(known) for known in told["catalogue"]])
    print()
    if told["injected"]:
        rows = [[str(f["number"]), f["name"], _parameters(f["parameters"]) or "-", f["at"]] for f in told["injected"]]
        output.table(["IN NOW", "FAULT", "WHERE", "SINCE"], rows)
        print(f"Clear one with: {typed('fault clear NUMBER', args.cluster)}")
    else:
        print(f"No fault is in. Inject one with: {typed('fault inject NAME', args.cluster)}")
    if told["paused"]:
        print(f"Healing is paused for: {', '.join(told['paused'])}")
    return 0


def _row(known: Json) -> list[str]:
    return [known["name"], known["title"], " ".join(p["name"] for p in known["parameters"])]


def _inject(args: argparse.Namespace) -> int:
    if not args.what:
        raise UsageError("which fault? See: minik8s fault list")
    name, *given = args.what
    asked: Json = {"name": name, "hidden": args.quiet_name}
    if name == "random":
        if args.seed is None:
            raise UsageError("a random fault needs a seed, so that it can be had again: --seed 7")
        asked["seed"] = args.seed
    else:
        asked["parameters"] = _pairs(given)
    told = connect(args).verb("fault-inject", **asked)
    if args.output == "json":
        print(json.dumps(told, indent=2))
    elif told["hidden"]:
        print(f"Fault {told['number']} is in. What is it? Look: minik8s explain, trace, diff.")
        clear = typed(f"fault clear {told['number']}", args.cluster)
        print(f"Clear it, and see what it was: {clear}")
    else:
        print(f"Fault {told['number']} is in: {told['title']} ({_parameters(told['parameters']) or told['name']}).")
        _say("What is seen: ", told["symptom"])
        _say("To learn: ", told["lesson"])
        clear = typed(f"fault clear {told['number']}", args.cluster)
        print(f"Clear it with: {clear}")
    return 0


def _clear(args: argparse.Namespace) -> int:
    which = args.what[0] if args.what else "all"
    told = connect(args).verb("fault-clear", which=which)
    if args.output == "json":
        print(json.dumps(told, indent=2))
    elif not told["cleared"]:
        print("No fault is in; nothing to clear.")
    for cleared in told["cleared"] if args.output != "json" else ():
        print(f"Fault {cleared['number']} is cleared: {cleared['name']} {_parameters(cleared['parameters'])}".rstrip())
    return 0


def _pause(args: argparse.Namespace) -> int:
    if not args.what:
        raise UsageError(f"which component? e.g. minik8s fault {args.action} route, or: all")
    told = connect(args).verb(f"heal-{args.action}", component=args.what[0])
    if args.output == "json":
        print(json.dumps(told, indent=2))
        return 0
    for mended in told.get("mended", ()):
        print(f"mended {mended['place']}: {mended['what']}")
    print(f"Healing is paused for: {', '.join(told['paused'])}" if told["paused"] else "Everything heals.")
    return 0


def _pairs(given: list[str]) -> dict[str, str]:
    for each in given:
        if "=" not in each:
            raise UsageError(f"{each!r} is no parameter: write NAME=VALUE, e.g. node=node-2")
    return dict(each.split("=", 1) for each in given)


def _parameters(given: Json) -> str:
    return " ".join(f"{name}={value}" for name, value in given.items())


def _say(head: str, text: str) -> None:
    print(textwrap.fill(text, 80, initial_indent=head, subsequent_indent=" " * len(head)))

"""`minik8s diff`: what differs from what was written, by what a command did, or since the last `minik8s apply`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

from ..client.http import Api
from ..observe.changes.model import Changes, compare
from ..observe.changes.recording import now, recorded, settled
from ..state import State, typed
from .objects import UsageError, connect

BEFORE_APPLY = "before-apply.json"


def diff(args: argparse.Namespace) -> int:
    """Exit status: of a command its own; else 1 if anything differs."""
    command, api = getattr(args, "argv", []), connect(args)
    if command:
        if args.place or args.last:
            raise UsageError("a command stands for itself: no place, no --last")
        return _of_command(args, api, command)
    if args.last:
        changes = _since_apply(args, api)
        _show(args, changes)
        return 1 if changes else 0
    return _drift(args, api)


def remember(args: argparse.Namespace, api: Api) -> None:
    """Keep what the kernel holds before an `apply`, for `diff --last`."""
    path = State.of(args.cluster).root / BEFORE_APPLY
    try:
        path.write_text(json.dumps(now(api)))
    except OSError as error:
        path.unlink(missing_ok=True)
        print(f"warning: `minik8s diff --last` will not know of this: {error}", file=sys.stderr)


def _of_command(args: argparse.Namespace, api: Api, command: list[str]) -> int:
    environment = {**os.environ, "MINIK8S_CLUSTER": args.cluster, "KUBECONFIG": str(State.of(args.cluster).kubeconfig)}
    with recorded(api) as changes:
        try:
            status = subprocess.run(command, env=environment).returncode
        except OSError as error:
            raise UsageError(f"{command[0]}: {error.strerror}") from None
    _show(args, changes)
    return status


def _since_apply(args: argparse.Namespace, api: Api) -> Changes:
    try:
        before = json.loads((State.of(args.cluster).root / BEFORE_APPLY).read_text())
    except (FileNotFoundError, ValueError):
        raise UsageError("nothing was applied with `minik8s apply` yet; for any command: "
                         f"{typed('diff', args.cluster)} -- kubectl apply -f FILE") from None  # fmt: skip
    changes = compare(before, settled(api))
    return Changes([c for c in changes.items if args.place in (None, c.place)])


def _show(args: argparse.Namespace, changes: Changes) -> None:
    print(json.dumps(changes.to_dict(), indent=2) if args.output == "json" else changes)


def _drift(args: argparse.Namespace, api: Api) -> int:
    """Where the kernel differs from what our components wrote."""
    from ..healing.drift import Drift

    told = api.verb("diff", place=args.place)
    if args.output == "json":
        print(json.dumps(told, indent=2))
    elif not told["drift"]:
        print("The kernel is as it was written.")
    else:
        for each in told["drift"]:
            print(Drift.from_dict(each))
    if args.output != "json" and (faults := len(api.verb("fault-list")["injected"])):
        shown = typed("fault list", args.cluster)
        print(f"{faults} fault(s) are in; not all are told from the rules alone. See: {shown}")
    return 1 if told["drift"] else 0

"""`minik8s lab`: the course."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from typing import TYPE_CHECKING

from . import output

if TYPE_CHECKING:
    from ..lab.check import Check, Result


def lab(args: argparse.Namespace) -> int:
    """List, start, check, hint, solution, reset. `check` has exit status 0 only if every check passes."""
    from ..cluster import Cluster
    from ..lab.labs import LabError, find, labs
    from ..state import State, typed

    if args.action == "list":
        rows = [{"number": lab.number, "name": lab.folder.name, "title": lab.about["title"]} for lab in labs()]
        if args.output == "json":
            print(json.dumps(rows, indent=2))
        else:
            output.table(["LAB", "TITLE"], [[row["name"], row["title"]] for row in rows])
        return 0
    if args.action == "ui":
        from ..lab.ui import ui

        return ui()
    if not args.number:
        raise LabError(f"which lab? e.g. minik8s lab {args.action} 6")
    chosen = find(args.number)
    if args.action == "hint":
        print(textwrap.fill(chosen.about["hints"][0], 80))
        return 0
    kubeconfig = State.of(args.cluster).kubeconfig
    if not kubeconfig.exists():
        raise LabError(f'there is no cluster "{args.cluster}"; start it with: {typed("up", args.cluster)}')
    cluster = Cluster(kubeconfig, name=args.cluster)
    if args.action == "start":
        print("\n".join(chosen.start(cluster)))
        print(f"\n{(chosen.folder / 'README.md').read_text()}")
    elif args.action == "solution":
        print("\n".join(chosen.solve(cluster)))
    elif args.action == "reset":
        chosen.reset(cluster)
        print(f"lab {chosen.folder.name} is as if it had never been")
    else:
        status = _check(chosen.check(cluster), chosen.checks(), args.output)
        if status and not chosen.started(cluster):
            begin = typed(f"lab start {chosen.number}", args.cluster)
            print(f"Nothing of this lab is in the cluster; start it with: {begin}", file=sys.stderr)
        return status
    return 0


def _check(results: list[Result], checks: list[Check], form: str | None) -> int:
    """Checks build on each other: the first that fails is explained, those after it were not looked at."""
    passed = 0
    rows = []
    for result in results:
        passed += result.verdict.ok
        rows.append({"name": result.name, **vars(result.verdict)})
        if form == "json":
            continue
        mark = output.paint("ok  ", "green") if result.verdict.ok else output.paint("FAIL", "red")
        print(f"[{mark}] {result.name}")
        if not result.verdict.ok:
            for label, text in (
                ("expected", result.verdict.expected),
                ("observed", result.verdict.observed),
                ("hint", result.hint),
            ):
                print(textwrap.fill(f"{label}: {text}", 78, initial_indent="       ", subsequent_indent="         "))
    for later in checks[len(results) :]:
        rows.append({"name": later.name, "ok": False, "expected": "", "observed": "not looked at yet"})
        if form != "json":
            print(output.paint(f"[ -- ] {later.name}", "dim"))
    total = len(checks)
    if form == "json":
        print(json.dumps({"passed": passed, "total": total, "checks": rows}, indent=2))
    else:
        print(f"{passed} of {total} checks passed.")
    return 0 if passed == total else 1

"""`minik8s demo`: a fresh cluster, the whole text proved on it, and gone again."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from . import output

if TYPE_CHECKING:
    from ..demo.statements import Finding, Statement


def demo(args: argparse.Namespace) -> int:
    """Exit status 0 only if every statement holds."""
    from ..boot import lifecycle
    from ..cluster import Cluster
    from ..config import ClusterConfig
    from ..demo import runner
    from ..state import State

    name = f"{args.cluster}-demo"
    if lifecycle.is_dead(name):
        print(f'(the cluster "{name}" of a demo that was interrupted is ended first)', file=sys.stderr)
        lifecycle.down(name)
    if lifecycle.stored_config(name):
        raise lifecycle.StartError(f'a cluster "{name}" is there already; end it with: minik8s down --cluster {name}')
    quiet = args.output == "json"
    config = ClusterConfig(name=name, nodes=max(2, args.nodes))
    began = time.monotonic()
    try:
        with output.Progress(enabled=not quiet) as progress:
            lifecycle.up(config, progress.step, publish=args.keep)
        section = ""

        def tell(statement: Statement, findings: list[Finding]) -> None:
            nonlocal section
            if quiet:
                return
            if statement.section != section:
                section = statement.section
                print(f"\n{output.paint(section, 'bold')}\n{'─' * len(section)}")
            print(runner.narrate(statement, findings, output.paint), flush=True)

        results = runner.play(Cluster(State.of(name).kubeconfig, name=name), tell)
    finally:
        if not args.keep:
            lifecycle.down(name)
    failed = [r["id"] for r in results if not r["ok"]]
    if quiet:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    else:
        verdict = f"{len(results) - len(failed)} of {len(results)} statements hold"
        print(f"{verdict}{' (not: ' + ', '.join(failed) + ')' if failed else ''}, in {time.monotonic() - began:.1f} s.")
        if args.keep:
            print(f"The cluster stays: kubectl --context minik8s-{name} get pods -A")
    return 1 if failed else 0

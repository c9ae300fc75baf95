"""Commands about the cluster as a whole: up, down, list, status, doctor, kubeconfig, node, image."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..client.http import Api
from ..config import MAX_NODES, ClusterConfig
from ..state import State, typed
from . import output


def up(args: argparse.Namespace) -> int:
    """Start or resume."""
    from ..boot import lifecycle

    flags = {"nodes": args.nodes, "cni": args.cni, "proxy_mode": args.proxy_mode, "runtime": args.runtime}
    given: dict[str, Any] = {k: v for k, v in flags.items() if v is not None}
    if args.no_heal:
        given["heal"] = False
    exported = _exported(args) if args.from_file else None
    if exported is not None:
        config = ClusterConfig.from_dict({**exported["config"], **given, "name": args.cluster})
    elif args.config:
        named = {"name": args.chosen} if args.chosen else {}  # else the file's own name holds
        config = ClusterConfig.from_file(Path(args.config), **given, **named)
    else:
        stored = lifecycle.stored_config(args.cluster)
        base = stored.to_dict() if stored else {"name": args.cluster}
        config = ClusterConfig.from_dict({**base, **given})
    progress = output.Progress(enabled=not args.quiet)
    with progress:
        done = lifecycle.up(config, progress.step, explicit=bool(given or args.config or exported))
        if exported is not None:
            Api.load(State.of(args.cluster).kubeconfig).verb("import", document=exported)
            progress.step(f"objects and faults of {args.from_file}")
    name = done.config.name
    if done.running:
        print(f'Cluster "{name}" is already running.')
        if done.deaf:
            print(
                f"error: its DNS does not answer on {', '.join(done.deaf)}. See: {typed('status', name)},\n"
                f"{typed('fault list', name)}, kubectl -n kube-system get pods,svc -l k8s-app=kube-dns",
                file=sys.stderr,
            )
            return 1
    else:
        verb = "resumed" if done.resumed else "is up"
        print(f'Cluster "{name}" {verb}: {lifecycle.node_count(name)} nodes, DNS answers, in {done.seconds:.2f} s.')
    if not args.quiet:
        if done.published:
            print(f"kubectl uses it now (context minik8s-{name}).")
        print(f"Look: {typed('get pods -A', name)}   End it: {typed('down', name)}")
    return 0


def _exported(args: argparse.Namespace) -> dict[str, Any]:
    from ..boot import lifecycle
    from .objects import UsageError
    from .snapshot import read

    if lifecycle.stored_config(args.cluster):
        raise UsageError(
            f'there is a cluster "{args.cluster}" already: --from needs a new one.\n'
            f"Choose another --cluster NAME, or end that one with: {typed('down', args.cluster)}"
        )
    return read(args.from_file)


def down(args: argparse.Namespace) -> int:
    """End one cluster, or all of this user's."""
    from ..boot import lifecycle

    names = lifecycle.clusters() if args.all else [args.cluster]
    for name in names:
        kept = len(list((State.of(name).root / "snapshots").glob("*"))) if State.of(name).root.is_dir() else 0
        if lifecycle.down(name, lambda said: print(said, file=sys.stderr)):
            also = f", its {kept} snapshot(s) too (`minik8s export` keeps what should last)" if kept else ""
            print(f'Cluster "{name}" is gone, without a trace{also}.')
        else:
            print(f'There is no cluster "{name}"; nothing to do.')
    return 0


def list_(args: argparse.Namespace) -> int:
    """All clusters of this user."""
    from ..boot import lifecycle
    from ..boot.listing import listed

    found = [one for name in lifecycle.clusters() if (one := listed(name))]
    if args.output == "json":
        rows = [{"name": c.name, "state": c.state, "nodes": c.nodes, "cni": c.cni, "proxyMode": c.proxy_mode}
                for c in found]  # fmt: skip
        print(json.dumps(rows, indent=2))
    elif found:
        cells = [(c.name, c.state, c.nodes, c.cni, c.proxy_mode) for c in found]
        rows_of_text = [["-" if v is None else str(v) for v in row] for row in cells]
        output.table(["NAME", "STATE", "NODES", "CNI", "PROXY"], rows_of_text)
    else:
        print("No clusters. Start one with: minik8s up")
    for detail in (c.detail for c in found if c.detail):
        print(detail, file=sys.stderr)
    return 0


def status(args: argparse.Namespace) -> int:
    """Health of each part; exit status 1 unless all are healthy."""
    from ..boot.health import health

    parts = health(args.cluster)
    if args.output == "json":
        print(json.dumps({"cluster": args.cluster, "components": [vars(part) for part in parts]}, indent=2))
    else:
        rows = [[p.name, "ok" if p.healthy else "FAILING", str(p.pid or "-"), p.detail] for p in parts]
        output.table(["COMPONENT", "HEALTH", "PID", "DETAIL"], rows, prose=True)
    return 0 if all(part.healthy for part in parts) else 1


def doctor(args: argparse.Namespace) -> int:
    """What this machine lacks; exit status 1 if something a cluster needs is missing."""
    from ..boot.doctor import examine
    from ..boot.lifecycle import add_sbin_to_path

    add_sbin_to_path()
    findings = examine()
    if args.output == "json":
        print(json.dumps([vars(f) for f in findings], indent=2, default=str))
    else:
        for finding in findings:
            mark = "ok  " if finding.ok else ("MISS" if finding.required else "info")
            print(f"[{mark}] {finding.name}: {finding.detail}")
            if not finding.ok and finding.mend:
                print(f"       mend with: {finding.mend}")
    broken = [f for f in findings if f.required and not f.ok]
    if args.output != "json":
        print("This machine is ready for minik8s." if not broken else f"{len(broken)} needed thing(s) missing.")
    return 1 if broken else 0


def kubeconfig(args: argparse.Namespace) -> int:
    """Print the kubeconfig."""
    path = State.of(args.cluster).kubeconfig
    if not path.exists():
        start = typed("up", args.cluster)
        print(f'error: there is no cluster "{args.cluster}"; start it with: {start}', file=sys.stderr)
        return 1
    print(path.read_text(), end="")
    return 0


def node(args: argparse.Namespace) -> int:
    """Add or remove a node: the Node object is the wanted state, the controller does the rest."""
    from ..boot.folder import read_config
    from ..boot.node_object import node_object
    from ..client.wait import wait_for
    from .objects import UsageError, connect

    api, nodes = connect(args), "/api/v1/nodes"
    config = read_config(State.of(args.cluster))
    if args.action == "add":
        there = {n["metadata"]["name"] for n in api.request("GET", nodes)["items"]}
        free = (i for i in range(1, MAX_NODES + 1) if config.node_name(i) not in there)
        index = config.node_index(args.name) if args.name else next(free)
        name = config.node_name(index)
        api.request("POST", nodes, node_object(config, index))
        wait_for(api, f"{nodes}/{name}", "condition=Ready", 30)
        print(f"node/{name} added and Ready")
    else:
        if not args.name:
            raise UsageError("which node? e.g. minik8s node rm node-3")
        api.request("DELETE", f"{nodes}/{args.name}")
        wait_for(api, f"{nodes}/{args.name}", "delete", 30)
        print(f"node/{args.name} removed; its pods go with it")
    return 0

"""`minik8s shell PLACE`: the machine's own tools inside a namespace of the cluster.

As root this is `ip netns exec`; rootless the namespaces live in the cluster's own user and mount namespace, which this
process joins first. What is entered is the network (and its /sys): the files are the host's.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import textwrap

from ..boot.lifecycle import add_sbin_to_path
from ..boot.record import Record
from ..client.exec import ExecResult
from ..kernel.netns import CLONE_NEWNET, NETNS_DIR, setns
from ..runtime.client import RuntimeClient
from ..runtime.cri import CriError, Sandbox
from ..runtime.join import join
from ..state import State, typed

SYSTEM = "kube-system"
SHOWN, WIDTH = 8, 80  # names of places in an error, and columns


class ShellError(PermissionError):
    """The place cannot be entered: says why, and what there is."""


def shell(args: argparse.Namespace) -> int:
    """Become the command (default: a shell with a prompt that says where one is)."""
    add_sbin_to_path()
    argv = args.argv or [os.environ.get("SHELL", "/bin/sh")]
    os.environ["PS1"] = f"[{args.cluster} {args.place}] # "
    enter(args.cluster, args.place, args.namespace)
    if not args.argv and argv[0].endswith("bash"):
        argv = [argv[0], "--norc"]
    try:
        os.execvp(argv[0], argv)
    except OSError as error:  # as shells do: 127 not found, 126 found but not to be run
        missing = isinstance(error, FileNotFoundError)
        print(f"{argv[0]}: {'command not found' if missing else (error.strerror or '').lower()}", file=sys.stderr)
        return 127 if missing else 126


def run_in(cluster: str, place: str, argv: list[str]) -> ExecResult:
    """Run a command there and collect its output. A child enters; this process stays where it is."""
    done = subprocess.run(
        [sys.executable, "-m", "minik8s_net.cli", "shell", "--cluster", cluster, place, "--", *argv],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )
    return ExecResult(done.returncode, done.stdout, done.stderr)


def enter(cluster: str, place: str, namespace: str = "default") -> None:
    """Move this process into the place's network namespace. Raises ShellError."""
    runtime = Record(State.of(cluster)).alive("runtime")
    if not runtime:
        raise ShellError(f'the cluster "{cluster}" is not running; start it with: {typed("up", cluster)}')
    join(runtime.pid)
    name = _netns(cluster, place, namespace, asyncio.run(_sandboxes()))
    fd = os.open(NETNS_DIR / name, os.O_RDONLY)
    setns(fd, CLONE_NEWNET)
    os.close(fd)


async def _sandboxes() -> list[Sandbox]:
    """The runtime's, newest last: asked directly, so that it works while the controller is down."""
    client = RuntimeClient()
    try:
        await client.connect()
        return sorted(await client.list_pod_sandboxes(), key=lambda sandbox: sandbox.created_at)
    except CriError as error:
        raise ShellError(error.message) from None
    finally:
        await client.close()


def _netns(cluster: str, place: str, namespace: str, sandboxes: list[Sandbox]) -> str:
    """The namespace meant. A name alone is a node, the fabric or outside if there is such a place, else a pod.

    Of several sandboxes of one name the newest counts: a pod that was force-deleted may still be ending.
    """
    shared = {entry.name.removeprefix(f"{cluster}.") for entry in NETNS_DIR.iterdir() if entry.name.count(".") == 1}
    if place in shared:
        return f"{cluster}.{place}"
    pods = {(s.config.namespace, s.config.name): s.netns for s in sandboxes if s.ready}
    wanted = pod_of(place, namespace)
    if wanted in pods:
        return pods[wanted]
    text = f'no running pod "{"/".join(wanted)}"' if wanted else f'no namespace "{place}"'
    if wanted and "/" not in place:
        text = f'no namespace "{place}", and {text}'
    own = sorted(pods, key=lambda pod: (pod[0] == SYSTEM, *pod))
    there = f"{_some(sorted(shared))}; pods: {_some(['/'.join(pod) for pod in own])}"
    before = "error: "  # as it will be printed
    text = textwrap.fill(f"{before}there is {text}; there are: {there}", WIDTH, break_on_hyphens=False)
    raise ShellError(text.removeprefix(before))


def _some(names: list[str]) -> str:
    return (", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")) or "none"


def pod_of(place: str, namespace: str = "default") -> tuple[str, str] | None:
    """(namespace, name): `web`, `shop/web`, `pod/web`, `pod/shop/web`, `shop/pod/web`, as `trace` takes them."""
    parts = [part for part in place.split("/") if part not in ("pod", "pods", "po")]
    if len(parts) not in (1, 2) or not all(parts):
        return None
    return (parts[0] if len(parts) == 2 else namespace), parts[-1]

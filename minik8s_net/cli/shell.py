"""`minik8s shell PLACE`: the machine's own tools inside a namespace of the cluster.

As root this is `ip netns exec`; rootless the namespaces live in the cluster's own user and mount namespace, which this
process joins first. What is entered is the network (and its /sys): the files are the host's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from ..boot.lifecycle import add_sbin_to_path
from ..boot.record import Record
from ..client.exec import ExecResult
from ..kernel.netns import CLONE_NEWNET, NETNS_DIR, setns
from ..runtime.join import join
from ..state import State, typed


class ShellError(PermissionError):
    """The place cannot be entered: says why, and what there is."""


def shell(args: argparse.Namespace) -> int:
    """Become the command (default: a shell with a prompt that says where one is)."""
    add_sbin_to_path()
    argv = args.argv or [os.environ.get("SHELL", "/bin/sh")]
    os.environ["PS1"] = f"[{args.cluster} {args.place}] # "
    enter(args.cluster, args.place)
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


def enter(cluster: str, place: str) -> None:
    """Move this process into the place's network namespace. Raises ShellError."""
    runtime = Record(State.of(cluster)).alive("runtime")
    if not runtime:
        raise ShellError(f'the cluster "{cluster}" is not running; start it with: {typed("up", cluster)}')
    name = netns_name(cluster, place)
    join(runtime.pid)
    try:
        fd = os.open(NETNS_DIR / name, os.O_RDONLY)
    except FileNotFoundError:
        there = ", ".join(sorted(entry.name for entry in NETNS_DIR.iterdir()))
        raise ShellError(f'there is no namespace "{name}"; there are: {there}') from None
    setns(fd, CLONE_NEWNET)
    os.close(fd)


def netns_name(cluster: str, place: str) -> str:
    """`node-1` -> `minik8s.node-1`; `pod/web`, `shop/pod/web` -> `minik8s.shop.web`."""
    from ..runtime.sandbox import netns_name as pod_netns_name

    parts = place.split("/")
    if parts[-2:-1] in (["pod"], ["pods"], ["po"]):
        namespace = parts[0] if len(parts) == 3 else "default"
        return pod_netns_name(cluster, namespace, parts[-1])
    return f"{cluster}.{place}"

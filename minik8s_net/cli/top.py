"""`minik8s top`: who talks how much, by the kernel's counters."""

from __future__ import annotations

import argparse
import json
from typing import Any

from . import output
from .objects import connect

Json = dict[str, Any]


def top(args: argparse.Namespace) -> int:
    """Three tables, the busiest first; or one of them."""
    told = connect(args).verb("top")
    if args.output == "json":
        print(json.dumps(told, indent=2))
        return 0
    wanted = [args.what] if args.what else ["pods", "services", "policies"]
    for number, what in enumerate(wanted):
        if number:
            print()
        {"pods": _pods, "services": _services, "policies": _policies}[what](told[what])
    return 0


def _pods(pods: list[Json]) -> None:
    rows = [
        [f"{p['namespace']}/{p['name']}", p["node"], str(p["rxPackets"]), size(p["rxBytes"]), str(p["txPackets"]),
         size(p["txBytes"])]
        for p in sorted(pods, key=lambda p: -(p["rxBytes"] + p["txBytes"]))
    ]  # fmt: skip
    output.table(["POD", "NODE", "IN PACKETS", "IN", "OUT PACKETS", "OUT"], rows)


def _services(services: list[Json]) -> None:
    rows = [
        [f"{s['namespace']}/{s['name']}", s["port"], str(s["packets"]), size(s["bytes"]), str(s["replyPackets"]),
         size(s["replyBytes"])]
        for s in sorted(services, key=lambda s: -(s["bytes"] + s["replyBytes"]))
    ]  # fmt: skip
    output.table(["SERVICE", "PORT", "TO PACKETS", "TO", "BACK PACKETS", "BACK"], rows)


def _policies(policies: list[Json]) -> None:
    if not policies:
        print("No policy rules: every pod may talk to every other.")
        return
    rows = [
        [p["pod"], p["direction"], p["verdict"], str(p["packets"]), size(p["bytes"]), p["rule"]]
        for p in sorted(policies, key=lambda p: -p["packets"])
    ]
    output.table(["POD", "DIRECTION", "VERDICT", "PACKETS", "BYTES", "RULE"], rows)


def size(count: int) -> str:
    """1234567 -> 1.2 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")

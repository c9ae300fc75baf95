"""`minik8s trace POD TARGET` and `minik8s capture PLACE`: packets, as the kernel saw them."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys

from .objects import connect
from .output import paint


def trace(args: argparse.Namespace) -> int:
    """One packet's way. Exit status 0 only if an answer came back. With --beside, two of them, compared."""
    from ..observe.trace.model import Trace
    from ..observe.trace.text import text

    api = connect(args)
    rest = {"namespace": args.namespace or api.namespace, "seconds": args.seconds}
    found = Trace.from_dict(api.verb("trace", source=args.source, target=args.target, **rest))
    if args.beside:
        source, target = args.beside
        both = found.beside(Trace.from_dict(api.verb("trace", source=source, target=target, **rest)))
        print(_json(both.to_dict()) if args.output == "json" else both)
        return 0 if both.left.verdict == both.right.verdict else 1
    print(_json(found.to_dict()) if args.output == "json" else text(found, paint, brief=args.brief))
    return 0 if found.delivered else 1


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def capture(args: argparse.Namespace) -> int:
    """Decoded lines (or JSON ones) until count, seconds or Ctrl-C; with -w also a pcap file, complete at any time."""
    from ..client.capture import Captured
    from ..kernel.packet_ring import Frame
    from ..observe import pcap

    api = connect(args)
    asked = {key: getattr(args, key) for key in ("place", "interface", "filter", "count", "seconds")}
    lines = api.follow("capture", **asked, namespace=args.namespace or api.namespace)
    devices = next(lines)["devices"]
    count = lost = 0
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(args.write, "wb", buffering=0)) if args.write else None
        if file:
            file.write(pcap.head())
        print(f"listening in {args.place} on {args.interface or ', '.join(devices)}; Ctrl-C ends it", file=sys.stderr)
        with contextlib.suppress(KeyboardInterrupt):
            for line in lines:
                if "frame" not in line:
                    lost = line["lost"]
                    continue
                packet, count = Captured.of(line), count + 1
                if file:
                    file.write(pcap.record(Frame(packet.at_ns, 0, False, False, packet.length, packet.frame)))
                print(json.dumps(line) if args.output == "json" else packet, flush=True)
    missing = f", {lost} more came too fast and are missing" if lost else ""
    print(f"{count} packets{missing}" + (f", written to {args.write}" if file else ""), file=sys.stderr)
    return 0

"""Commands that look: topology."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..client.http import Api
from ..observe.trace.model import Trace
from .objects import UsageError, connect


def topology(args: argparse.Namespace) -> int:
    """The live picture as text, JSON or SVG."""
    from ..observe.topology import topology as look

    api = connect(args)
    found = look(api, args.cluster)
    if args.trace and not args.svg:
        raise UsageError("--trace draws over the picture: say where to write that, with --svg FILE")
    if args.svg:
        Path(args.svg).write_text(found.svg(_trace(api, *args.trace) if args.trace else None))
        print(f"wrote {args.svg}")
    elif args.output == "json":
        print(json.dumps(found.to_dict(), indent=2))
    else:
        print(found)
    return 0


def _trace(api: Api, source: str, target: str) -> Trace:
    return Trace.from_dict(api.verb("trace", source=source, target=target, namespace=api.namespace))

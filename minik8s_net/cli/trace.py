"""`minik8s trace POD TARGET` and `minik8s capture PLACE`: packets, as the kernel saw them."""

from __future__ import annotations

import argparse
import json

from .objects import connect
from .output import paint


def trace(args: argparse.Namespace) -> int:
    """One packet's way. Exit status 0 only if an answer came back."""
    from ..observe.trace.model import Trace
    from ..observe.trace.text import text

    api = connect(args)
    asked = {"source": args.source, "target": args.target, "namespace": args.namespace or api.namespace}
    found = Trace.from_dict(api.verb("trace", **asked, seconds=args.seconds))
    if args.output == "json":
        print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        print(text(found, paint, brief=args.brief))
    return 0 if found.delivered else 1

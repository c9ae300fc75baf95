"""`minik8s dns POD NAME`: one lookup as the pod's resolver does it, each try along its search path."""

from __future__ import annotations

import argparse
import json

from .objects import connect


def dns(args: argparse.Namespace) -> int:
    """Exit status 0 only if the name was found."""
    from ..dns.walk import Walk

    api = connect(args)
    asked = {"source": args.pod, "name": args.name, "type": args.type, "namespace": args.namespace or api.namespace}
    walk = Walk.from_dict(api.verb("resolve", **asked))
    print(json.dumps(walk.to_dict(), indent=2) if args.output == "json" else walk)
    return 0 if walk.found else 1

"""`minik8s explain POD TARGET` and `minik8s reach`: why, or why not; and who reaches whom."""

from __future__ import annotations

import argparse
import json

from .objects import connect


def explain(args: argparse.Namespace) -> int:
    """The ladder of questions and the one cause. Exit status 0 only if nothing is in the way."""
    from ..observe.explain.model import Explanation

    api = connect(args)
    asked = {"source": args.source, "target": args.target, "namespace": args.namespace or api.namespace}
    found = Explanation.from_dict(api.verb("explain", **asked))
    print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False) if args.output == "json" else found)
    return 1 if found.cause else 0


def reach(args: argparse.Namespace) -> int:
    """The matrix. Exit status 0 only if what was measured is what the policies say."""
    from ..observe.reach import Reach

    api = connect(args)
    namespace = None if args.all_namespaces else args.namespace or api.namespace
    asked = {"port": args.port, "protocol": args.protocol, "namespace": namespace, "services": args.services}
    found = Reach.from_dict(api.verb("reach", **asked))
    print(json.dumps(found.to_dict(), indent=2) if args.output == "json" else found)
    return 1 if found.wrong else 0

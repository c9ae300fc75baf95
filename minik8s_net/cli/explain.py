"""`minik8s explain POD TARGET`, `explain rule …` and `minik8s reach`: why; whose rule; who reaches whom."""

from __future__ import annotations

import argparse
import json

from ..client.http import Api
from .objects import connect


def explain(args: argparse.Namespace) -> int:
    """The ladder of questions and the one cause. Exit status 0 only if nothing is in the way."""
    from ..observe.explain.model import Explanation

    api = connect(args)
    if args.source == "rule":
        return _rule(args, api)
    asked = {"source": args.source, "target": args.target, "namespace": args.namespace or api.namespace}
    found = Explanation.from_dict(api.verb("explain", **asked))
    print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False) if args.output == "json" else found)
    return 1 if found.cause else 0


def _rule(args: argparse.Namespace, api: Api) -> int:
    from ..observe.rules.lines import with_lines
    from ..observe.rules.model import RuleOrigins

    found = with_lines(api, RuleOrigins.from_dict(api.verb("explain-rule", rule=args.target, node=args.node)))
    print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False) if args.output == "json" else found)
    return 0


def reach(args: argparse.Namespace) -> int:
    """The matrix. Exit status 0 only if what was measured is what the policies say."""
    from ..observe.reach import Reach

    api = connect(args)
    namespace = None if args.all_namespaces else args.namespace or api.namespace
    asked = {"port": args.port, "protocol": args.protocol, "namespace": namespace, "services": args.services}
    found = Reach.from_dict(api.verb("reach", **asked))
    print(json.dumps(found.to_dict(), indent=2) if args.output == "json" else found)
    return 1 if found.wrong else 0

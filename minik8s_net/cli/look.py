"""Commands that look: topology."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .objects import connect


def topology(args: argparse.Namespace) -> int:
    """The live picture as text, JSON or SVG."""
    from ..observe.topology import topology as look

    found = look(connect(args), args.cluster)
    if args.svg:
        Path(args.svg).write_text(found.svg())
        print(f"wrote {args.svg}")
    elif args.output == "json":
        print(json.dumps(found.to_dict(), indent=2))
    else:
        print(found)
    return 0

"""Commands that keep and bring back: snapshot, export, and `up --from`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..state import typed
from . import output
from .objects import UsageError, connect

Json = dict[str, Any]
HEAD = """\
# A cluster of minik8s-net: what it was made with, what is in it, and what is broken in it on purpose.
# The same again, under any name:  minik8s up --cluster NAME --from THIS-FILE
# (Secrets are in here as they are: look before you send it to somebody.)
"""


def snapshot(args: argparse.Namespace) -> int:
    """Save, restore, list, delete."""
    if args.action != "list" and not args.name:
        raise UsageError(f"under which name? e.g. minik8s snapshot {args.action} before-lab-6")
    asked = {} if args.action == "list" else {"name": args.name}
    told = connect(args).verb(f"snapshot-{args.action}", **asked)
    if args.output == "json":
        print(json.dumps(told, indent=2))
    elif args.action == "list":
        _list(told["snapshots"])
    elif args.action == "save":
        print(f"Snapshot {told['name']}: {told['objects']} objects, {told['pods']} pods, {told['faults']} faults.")
        print(f"Come back to it with: {typed(f'snapshot restore {args.name}', args.cluster)}")
    elif args.action == "restore":
        changes = f"{told['written']} objects written, {told['removed']} removed, {told['unchanged']} left as they were"
        print(f"Back at {args.name} in {told['seconds']:.2f} s: {changes};")
        print(f"{len(told['revived'])} pods started again, {told['faults']} faults in.")
    else:
        print(f"Snapshot {args.name} is deleted.")
    return 0


def _list(found: list[Json]) -> None:
    if not found:
        print("No snapshots. Make one with: minik8s snapshot save NAME")
        return
    rows = [[str(one[key]) for key in ("name", "at", "objects", "pods", "faults")] for one in found]
    output.table(["SNAPSHOT", "MADE", "OBJECTS", "PODS", "FAULTS"], rows)


def export(args: argparse.Namespace) -> int:
    """Write the readable file; `-` is standard output."""
    import yaml

    document = connect(args).verb("export")
    text = HEAD + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    if args.file == "-":
        sys.stdout.write(text)
    else:
        Path(args.file).write_text(text)
        print(f"wrote {args.file}: {len(document['objects'])} objects, {len(document['faults'])} faults")
        print(f"The same again: minik8s up --cluster OTHER-NAME --from {args.file}")
    return 0


def read(path: str) -> Json:
    """An export's document. Raises UsageError."""
    import yaml

    try:
        document = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: not YAML: {error}") from None
    if not isinstance(document, dict) or document.get("kind") != "Export":
        raise UsageError(f"{path} is no export of minik8s; one is made with: minik8s export {path}")
    return document

"""Objects as YAML, line by line as `kubectl get -o yaml` prints them: sorted keys, nothing folded, texts as blocks."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def dump(data: Any) -> str:
    """`data` is plain JSON."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=1 << 20)

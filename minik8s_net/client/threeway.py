"""What `apply` sends: the manifest, plus the removal of what the last applied manifest had and this one has not. Pure.

As kubectl's client-side apply: the last applied manifest is kept in an annotation, the patch is a strategic merge.
https://kubernetes.io/docs/tasks/manage-kubernetes-objects/declarative-config/#how-apply-calculates-differences-and-merges-changes
"""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]
ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MERGE_KEYS = ("name", "containerPort", "port", "mountPath", "devicePath", "ip", "topologyKey", "type", "key", "uid")


def annotated(manifest: Json) -> Json:
    """The manifest carrying itself as the last applied configuration."""
    text = json.dumps(manifest, separators=(",", ":"), sort_keys=True) + "\n"
    metadata = manifest.get("metadata") or {}
    annotations = {**(metadata.get("annotations") or {}), ANNOTATION: text}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def strategic_patch(manifest: Json, live: Json) -> Json:
    """The strategic merge patch that makes `live` what `manifest` says. Fields never named by us are left alone."""
    text = ((live.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION)
    last = json.loads(text) if text else {}
    patch: Json = _with_removals(last, annotated(manifest))
    return patch


def _with_removals(last: Any, wanted: Any) -> Any:
    if isinstance(last, dict) and isinstance(wanted, dict):
        gone = {key: None for key in last if key not in wanted}
        return {**gone, **{key: _with_removals(last.get(key), value) for key, value in wanted.items()}}
    if isinstance(last, list) and isinstance(wanted, list) and (key := _merge_key(last + wanted)):
        before = {item[key]: item for item in last}
        kept = [_with_removals(before.get(item[key]), item) for item in wanted]
        there = {item[key] for item in wanted}
        return kept + [{"$patch": "delete", key: name} for name in before if name not in there]
    return wanted


def _merge_key(items: list[Any]) -> str | None:
    """The key that tells the items of a list apart, None for lists that are replaced as a whole."""
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    return next((key for key in MERGE_KEYS if all(isinstance(item.get(key), str | int) for item in items)), None)

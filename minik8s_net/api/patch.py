"""The three patches: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
None changes what it is given; a patched tree may share subtrees with it.
"""

from __future__ import annotations

import copy
import json
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any

from minik8s_net.api import schema
from minik8s_net.api.errors import StatusError, bad_request, rejected_patch

Json = dict[str, Any]
JSON, MERGE = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"
MAX_OPERATIONS = 10_000
MAX_COPIED = 3 * 1024 * 1024  # bytes that one patch's "copy" operations may add


def merge(tree: Any, patch: Any) -> Any:
    """RFC 7386: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(tree) if isinstance(tree, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value) if isinstance(value, dict) else value
    return merged


# -- JSON patch ----------------------------------------------------------------------------------------------------
def json_patch(tree: Json, operations: Any) -> Json:
    """RFC 6902. Raises StatusError: 422 where an operation does not apply or a test fails, 400 where it is no patch."""
    if not isinstance(operations, list) or not all(isinstance(o, dict) for o in operations):
        raise bad_request("error decoding patch: json: cannot unmarshal into Go value of type jsonpatch.Patch")
    if len(operations) > MAX_OPERATIONS:
        detail = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        raise bad_request(detail)
    document: Any = copy.deepcopy(tree)
    copied = 0
    for operation in operations:
        try:
            if operation["op"] == "copy":
                copied += len(json.dumps(_get(document, _pointer(operation["from"]))))
                _check_copied(copied)
            document = _apply(document, operation)
        except (KeyError, IndexError, ValueError, TypeError):
            raise rejected_patch() from None
    if not isinstance(document, dict):
        raise rejected_patch()
    return document


def _check_copied(size: int) -> None:
    if size > MAX_COPIED:
        said = "Unable to complete the copy, the accumulated size increase of copy is"
        raise StatusError(413, "RequestEntityTooLarge", f"{said} {size}, exceeding the limit {MAX_COPIED}")


def _apply(document: Any, operation: Json) -> Any:
    op, path = operation["op"], _pointer(operation["path"])
    if op == "add":
        return _add(document, path, copy.deepcopy(operation["value"]))
    if op == "remove":
        return _remove(document, path)
    if op == "replace":
        _get(document, path)
        return _put(document, path, copy.deepcopy(operation["value"]))
    if op == "test":
        if not _same(_get(document, path) if path else document, operation.get("value")):
            raise ValueError("test failed")
        return document
    source = _pointer(operation["from"])
    value = copy.deepcopy(_get(document, source))
    if op == "move":
        return _add(_remove(document, source), path, value)
    if op == "copy":
        return _add(document, path, value)
    raise ValueError(op)


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def _pointer(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise ValueError(path)
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _index(part: str, length: int) -> int:
    if not part.isdigit() or int(part) >= length:
        raise IndexError(part)
    return int(part)


def _get(node: Any, path: list[str]) -> Any:
    for part in path:
        node = node[_index(part, len(node))] if isinstance(node, list) else node[part]
    return node


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent) + 1), value)
    else:
        parent[last] = value
    return document


def _put(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    parent[_index(last, len(parent)) if isinstance(parent, list) else last] = value
    return document


def _remove(document: Any, path: list[str]) -> Any:
    parent, last = _get(document, path[:-1]), path[-1]
    del parent[_index(last, len(parent)) if isinstance(parent, list) else last]
    return document


# -- strategic merge patch -----------------------------------------------------------------------------------------
@cache
def merge_keys() -> dict[str, dict[str, list[str]]]:
    """Model name -> field -> [patch strategy, merge key or "", list type or "", *list map keys]."""
    text = (Path(__file__).parent / "data" / "merge_keys.json").read_text()
    found: dict[str, dict[str, list[str]]] = json.loads(text)
    return found


def strategic(model: type[Any], tree: Json, patch: Json) -> Json:
    """Merge as the fields' patch strategies say: lists by merge key, `$patch`, `$deleteFromPrimitiveList`,
    `$setElementOrder`, `$retainKeys`. Raises StatusError 400 for a patch that makes no sense."""
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}")
    return _strategic(model, tree, patch)


def _strategic(model: type[Any] | None, tree: Json, patch: Json) -> Json:
    directive = patch.get("$patch")
    if directive == "replace":
        return {k: v for k, v in patch.items() if k != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"Unknown patch type found: {directive}")
    known = schema.fields(model) if model else {}
    hints = merge_keys().get(model.__name__, {}) if model else {}
    merged = dict(tree)
    if (retain := patch.get("$retainKeys")) is not None:
        merged = {k: v for k, v in merged.items() if k in retain}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            _take_out(merged, name.partition("/")[2], value)
    for name, value in patch.items():
        if name.startswith("$"):
            continue
        if value is None:
            merged.pop(name, None)
        else:
            field = known.get(name)
            order = patch.get(f"$setElementOrder/{name}")
            merged[name] = _field(field.type if field else None, hints.get(name), merged.get(name), value, order)
    for name, order in patch.items():
        bare = name.partition("/")[2]
        if name.startswith("$setElementOrder/") and bare not in patch and isinstance(merged.get(bare), list):
            merged[bare] = _ordered(merged[bare], order, tree.get(bare), (hints.get(bare) or ["", ""])[1])
    return merged


def _take_out(merged: Json, field: str, values: Any) -> None:
    """`$deleteFromPrimitiveList`: before anything is added."""
    if isinstance(merged.get(field), list) and isinstance(values, list):
        merged[field] = [v for v in merged[field] if v not in values]


def _field(kind: schema.Type | None, hint: list[str] | None, old: Any, value: Any, order: Any) -> Any:
    if isinstance(value, dict):
        model = kind.model if kind and kind.kind == "struct" else None
        return _strategic(model, old if isinstance(old, dict) else {}, value)
    if isinstance(value, list) and hint and "merge" in hint[0].split(","):
        item = kind.item.model if kind and kind.item else None
        before = old if isinstance(old, list) else []
        merged = _merge_list(item, hint[1], before, value)
        return _ordered(merged, value if order is None else order, before, hint[1])
    return [v for v in value if not (isinstance(v, dict) and "$patch" in v)] if isinstance(value, list) else value


def _merge_list(model: type[Any] | None, key: str, old: list[Any], patch: list[Any]) -> list[Any]:
    if not key:  # a set of scalars
        return list({repr(v): v for v in (*old, *patch)}.values())
    if any(isinstance(v, dict) and v.get("$patch") == "replace" and len(v) == 1 for v in patch):
        return [v for v in patch if not (isinstance(v, dict) and "$patch" in v)]
    merged = {f"{_name(item, key)} {i if _name(item, key) is None else ''}": item for i, item in enumerate(old)}
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"map: {str(item)[:200]} does not contain declared merge key: {key}")
        name = f"{_name(item, key)} "
        if item.get("$patch") == "delete":
            merged.pop(name, None)
        else:
            merged[name] = _strategic(model, merged.get(name, {}), item)
    return list(merged.values())


def _name(item: Any, key: str) -> str | None:
    """What tells an item of a list from the others: its merge key's value, or itself where it is a scalar."""
    if not isinstance(item, dict):
        return repr(item)
    return repr(item[key]) if key in item else None


def _ordered(items: list[Any], order: Any, before: Any, key: str) -> list[Any]:
    """The items that `order` names, in that order, and between them the others, as `before` has them.

    `order` is `$setElementOrder` or else the patch itself. One of the others comes before a named item only where
    `before` has both, so: new items of a patch come first, as in a real server's answer.
    """
    if not isinstance(order, list) or not isinstance(before, list):
        return items

    wanted, known = ({_name(v, key): at for at, v in enumerate(values)} for values in (order, before))
    named = deque(sorted((v for v in items if _name(v, key) in wanted), key=lambda v: wanted[_name(v, key)]))
    others = deque(v for v in items if _name(v, key) not in wanted)
    made: list[Any] = []
    while named and others:
        here, there = known.get(_name(others[0], key)), known.get(_name(named[0], key))
        first = here is not None and there is not None and here < there
        made.append((others if first else named).popleft())
    return [*made, *named, *others]

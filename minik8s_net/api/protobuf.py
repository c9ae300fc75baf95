"""Kubernetes' protobuf bodies (`k8s\\0` + runtime.Unknown) to JSON trees: kubectl ≥ 1.32 sends them for `create …`.

Field numbers: data/protobuf.json (Kubernetes 1.33; kinds that few clients send as protobuf: the newest, for numbers
never change). Proto2 presence is kept: an empty string or zero that was sent is dropped where Go's `omitempty` would
drop it, so that the tree is what the same client would have sent as JSON.
https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from minik8s_net.api import jsontext, kinds, schema
from minik8s_net.api.errors import bad_request

Json = dict[str, Any]
MAGIC = b"k8s\0"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SCALARS = {"string", "bytes", "bool", "int32", "int64"}
INLINE = {"volumeSource", "localObjectReference", "handler", "ephemeralContainerCommon", "ingressRuleValue",
          "persistentVolumeSource", "rule", "ruleWithOperations"}  # fmt: skip
MAX_DEPTH = 100


@cache
def _messages() -> dict[str, dict[str, list[str]]]:
    text = (Path(__file__).parent / "data" / "protobuf.json").read_text()
    found: dict[str, dict[str, list[str]]] = json.loads(text)
    return found


def decode(body: bytes) -> Json:
    """The JSON tree of a body, with apiVersion and kind. Raises StatusError 400 for what cannot be read."""
    try:
        return _decode(body)
    except (ValueError, IndexError, KeyError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise bad_request(f"provided data does not appear to be a protobuf message: {error}") from None


def _decode(body: bytes) -> Json:
    if not body.startswith(MAGIC):
        raise ValueError("expected prefix k8s\\0")
    budget = _Budget()
    envelope = _message("runtime.Unknown", memoryview(body)[len(MAGIC) :], budget)
    meta = envelope.get("typeMeta", {})
    api_version, name = meta.get("apiVersion", ""), meta.get("kind", "")
    raw = base64.b64decode(envelope.get("raw", ""))
    message = _find(api_version, name)
    if message is None:
        raise ValueError(f"no protobuf definition for {api_version} {name}")
    tree = _message(message, memoryview(raw), budget)
    kind = kinds.by_kind(api_version, name)
    model = kind.model if kind else None
    clean = _omit_empty(model, tree) if model else tree
    return {"kind": name, "apiVersion": api_version, **clean}


def _find(api_version: str, kind: str) -> str | None:
    group, _, version = api_version.rpartition("/")
    candidates = [f"{group.partition('.')[0] or 'core'}.{version}.{kind}", f"apis.meta.v1.{kind}"]
    if group == "rbac.authorization.k8s.io":
        candidates.insert(0, f"rbac.{version}.{kind}")
    return next((c for c in candidates if c in _messages()), None)


# -- the wire ------------------------------------------------------------------------------------------------------
def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("varint too long")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value): an int for varints, a slice for lengths; fixed-width values do not occur."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire == 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("unexpected EOF")
            yield number, data[at : at + length]
            at += length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"illegal wireType {wire}")


class _Budget:
    """How many more fields a body may have, and how deep the present one lies."""

    __slots__ = ("depth", "left")

    def __init__(self) -> None:
        self.depth, self.left = 0, jsontext.MAX_NODES

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"more than {jsontext.MAX_NODES} values")


def _nested(name: str, data: memoryview, budget: _Budget) -> Json:
    budget.depth += 1
    if budget.depth > MAX_DEPTH:
        raise ValueError("exceeded max depth")
    tree = _message(name, data, budget)
    budget.depth -= 1
    return tree


def _message(name: str, data: memoryview, budget: _Budget) -> Json:
    known = _messages()[name]
    tree: Json = {}
    for number, raw in _fields(data):
        budget.spend()
        spec = known.get(str(number))
        if spec is None:
            continue
        field, kind, repeated = spec[0], spec[1], len(spec) > 2
        if kind.startswith("map<"):
            key, value = _entry(kind[len("map<string, ") : -1], raw, budget)
            tree.setdefault(field, {})[key] = value
        elif repeated and not isinstance(raw, int) and kind in ("int32", "int64"):
            tree.setdefault(field, []).extend(_packed(raw, kind))
        else:
            value = _value(kind, raw, budget)
            if repeated:
                tree.setdefault(field, []).append(value)
            elif field in INLINE and isinstance(value, dict):
                tree.update(value)
            else:
                tree[field] = value
    return tree


def _packed(raw: memoryview, kind: str) -> list[int]:
    at, found = 0, []
    while at < len(raw):
        number, at = _varint(raw, at)
        found.append(_signed(number, kind))
    return found


def _entry(kind: str, raw: int | memoryview, budget: _Budget) -> tuple[str, Any]:
    if isinstance(raw, int):
        raise ValueError("map entry expected")
    key, value = "", _value(kind, memoryview(b""), budget) if kind not in ("bool", "int32", "int64") else 0
    for number, part in _fields(raw):
        if number == 1 and not isinstance(part, int):
            key = bytes(part).decode()
        elif number == 2:
            value = _value(kind, part, budget)
    return key, value


def _signed(number: int, kind: str) -> int:
    number &= (1 << 64) - 1
    number = number - (1 << 64) if number >= 1 << 63 else number
    return ((number + 2**31) % 2**32) - 2**31 if kind == "int32" else number


def _value(kind: str, raw: int | memoryview, budget: _Budget) -> Any:
    if isinstance(raw, int):
        if kind not in ("bool", "int32", "int64"):
            raise ValueError(f"{kind} sent as a number")
        return bool(raw) if kind == "bool" else _signed(raw, kind)
    if kind == "string":
        return bytes(raw).decode()
    if kind == "bytes":
        return base64.b64encode(raw).decode()
    if kind in SCALARS:
        raise ValueError(f"{kind} sent as bytes")
    return _special(kind, _nested(kind, raw, budget))


def _special(kind: str, tree: Json) -> Any:
    """Messages that JSON writes as one value."""
    if kind == "api.resource.Quantity":
        return tree.get("string", "0") or "0"
    if kind == "util.intstr.IntOrString":
        return tree.get("strVal", "") if tree.get("type") else tree.get("intVal", 0)
    if kind in ("apis.meta.v1.Time", "apis.meta.v1.MicroTime"):
        return _time(tree, micro=kind.endswith("MicroTime"))
    if kind.endswith(".v1.ExtraValue"):
        return tree.get("items", [])
    if kind in ("apis.meta.v1.FieldsV1", "runtime.RawExtension"):
        return json.loads(base64.b64decode(tree.get("Raw") or tree.get("raw", "")) or b"{}")
    return tree


def _time(tree: Json, *, micro: bool) -> str | None:
    if not tree:
        return None  # Go's zero time
    when = EPOCH + timedelta(seconds=tree.get("seconds", 0), microseconds=tree.get("nanos", 0) // 1000)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


# -- what Go's omitempty leaves out -----------------------------------------------------------------------------------
POINTERS = frozenset(
    ["replicas", "parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished",
     "runAsUser", "runAsGroup", "fsGroup", "revisionHistoryLimit", "progressDeadlineSeconds",
     "terminationGracePeriodSeconds", "optional", "defaultMode", "mode", "tolerationSeconds",
     "automountServiceAccountToken", "enableServiceLinks", "runAsNonRoot", "privileged", "readOnlyRootFilesystem",
     "shareProcessNamespace", "allowPrivilegeEscalation", "controller", "blockOwnerDeletion", "suspend",
     "immutable", "ready", "serving", "terminating", "partition", "priority", "allocateLoadBalancerNodePorts",
     "gracePeriodSeconds", "minReplicas", "startingDeadlineSeconds", "successfulJobsHistoryLimit",
     "failedJobsHistoryLimit", "expirationSeconds", "deletionGracePeriodSeconds", "timeoutSeconds", "port",
     "endPort", "hostUsers", "setHostnameAsFQDN", "manualSelector", "backoffLimitPerIndex", "maxFailedIndexes",
     "leaseDurationSeconds", "leaseTransitions"]
)  # fmt: skip


def _omit_empty(model: type[Any], tree: Json) -> Json:
    """Zeros that Go would not have written: its clients send every field of a proto2 message."""
    known = schema.fields(model)
    clean: Json = {}
    for name, value in tree.items():
        field = known.get(name)
        if field is None or value is None:
            continue
        kind = field.type
        if kind.kind == "struct" and kind.model and isinstance(value, dict):
            clean[name] = _omit_empty(kind.model, value)
        elif kind.kind == "list" and kind.item and kind.item.kind == "struct" and kind.item.model:
            model_of = kind.item.model
            clean[name] = [_omit_empty(model_of, v) if isinstance(v, dict) else v for v in value]
        elif (kind.kind in ("intstr", "quantity", "map", "list") or field.required or value not in ("", 0, False)) or (
            name in POINTERS and not isinstance(value, str)
        ):
            clean[name] = value
    if model.__name__.endswith("Status") and clean.get("replicas") == 0 and not field_required(model, "replicas"):
        del clean["replicas"]
    if clean.get("targetPort") == 0 and model.__name__ == "ServicePort":
        del clean["targetPort"]
    return clean


def field_required(model: type[Any], name: str) -> bool:
    """Whether a model's field has no default."""
    return schema.fields(model)[name].required

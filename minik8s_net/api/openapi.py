"""/openapi/v3 and /openapi/v2 from the typed models: for `kubectl explain`, `apply` and client-side validation.

kubectl reads v3 by hash and asks its `patch` operations whether the server validates fields itself (it does). For kinds
without one (reviews) it reads all of v2, as protobuf (`openapi_protobuf`).
https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Hashable
from functools import cache
from typing import Any, cast

from minik8s_net.api import discovery, kinds, schema
from minik8s_net.api.kinds import Kind
from minik8s_net.api.patch import merge_keys

Json = dict[str, Any]
GVK = "x-kubernetes-group-version-kind"
PACKAGES = {
    "meta": "io.k8s.apimachinery.pkg.apis.meta",
    "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
    "apiregistration": "io.k8s.kube-aggregator.pkg.apis.apiregistration",
}
SCALARS: dict[str, Json] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "float64": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "quantity": {"type": "string"},
    "intstr": {"x-kubernetes-int-or-string": True},
    "any": {"x-kubernetes-preserve-unknown-fields": True},
    "object": {"type": "object"},
}
_PARAMETER = re.compile(r"^\s*\* \*\*(\w+)\*\* ``[^`]*``(?: - )?", re.MULTILINE)


@cache
def v3_index() -> Json:
    """/openapi/v3: the documents and their hashes (of what they are made from: they are built when asked for)."""
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest(path)}"} for path in _paths()}}


def _paths() -> dict[str, tuple[str, str]]:
    return {f"apis/{g}/{v}" if g else f"api/{v}": (g, v) for g, v in kinds.MODULES}


def digest(path: str) -> str:
    """A document's hash: changes with our version and the models'."""
    return hashlib.sha512(f"{path}{discovery.version()['gitVersion']}".encode()).hexdigest().upper()


@cache
def v3(path: str) -> bytes | None:
    """One group version's document (`apis/apps/v1`), or None."""
    key = _paths().get(path.strip("/"))
    return json.dumps(_document([key], version=3)).encode() if key else None


@cache
def v2() -> bytes:
    """All group versions in one Swagger document."""
    return json.dumps(_document(list(kinds.MODULES), version=2)).encode()


def _document(groups: list[tuple[str, str]], *, version: int) -> Json:
    prefix = "#/components/schemas/" if version == 3 else "#/definitions/"
    found: dict[str, Json] = {}
    paths: Json = {}
    for group, name in groups:
        for kind in kinds.in_group(group, name):
            _collect(kind.model, prefix, found)
            found[model_name(kind.model)][GVK] = [_gvk(kind)]
            paths |= _operations(kind, prefix, version)
    info = {"title": "Kubernetes", "version": discovery.version()["gitVersion"]}
    if version == 3:
        return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": found}}
    return {"swagger": "2.0", "info": info, "paths": paths, "definitions": found}


def _gvk(kind: Kind) -> Json:
    return {"group": kind.group, "kind": kind.kind, "version": kind.version}


def model_name(model: type[Any]) -> str:
    """`io.k8s.api.core.v1.Pod`"""
    group, _, version = model.__module__.rpartition(".")[2].rpartition("_")
    return f"{PACKAGES.get(group, f'io.k8s.api.{group}')}.{version}.{model.__name__}"


# -- schemas -------------------------------------------------------------------------------------------------------
def _collect(model: type[Any], prefix: str, found: dict[str, Json]) -> None:
    name = model_name(model)
    if name in found:
        return
    about, descriptions = _descriptions(cast(Hashable, model))
    made: Json = {"description": about, "type": "object"}
    found[name] = made
    if "" in merge_keys().get(model.__name__, {}):
        made["x-kubernetes-map-type"] = "atomic"
    hints = merge_keys().get(model.__name__, {})
    known = schema.fields(model)
    made["properties"] = {
        f.name: _property(f.type, descriptions.get(f.name, ""), hints.get(f.name), prefix, found)
        for f in known.values()
    }
    if needed := [f.name for f in known.values() if f.required]:
        made["required"] = needed


def _property(kind: schema.Type, text: str, hint: list[str] | None, prefix: str, found: dict[str, Json]) -> Json:
    made = _type(kind, prefix, found)
    if "$ref" in made:
        made = {"allOf": [made], "default": {}} if prefix.startswith("#/components") else made
    if text:
        made["description"] = text
    if hint:
        strategy, key, list_type, *keys = hint
        flavour = "map" if list_type in ("granular",) or kind.kind != "list" else "list"
        extra = {
            "patch-strategy": strategy,
            "patch-merge-key": key,
            f"{flavour}-type": list_type,
            "list-map-keys": keys,
        }
        made |= {f"x-kubernetes-{k}": v for k, v in extra.items() if v}
    return made


def _type(kind: schema.Type, prefix: str, found: dict[str, Json]) -> Json:
    if kind.kind == "list" and kind.item:
        return {"type": "array", "items": _type(kind.item, prefix, found)}
    if kind.kind == "map" and kind.item:
        return {"type": "object", "additionalProperties": _type(kind.item, prefix, found)}
    if kind.kind == "struct" and kind.model:
        _collect(kind.model, prefix, found)
        return {"$ref": prefix + model_name(kind.model)}
    return dict(SCALARS[kind.kind])


@cache
def _descriptions(model: Any) -> tuple[str, dict[str, str]]:
    """(the type's description, each field's) from the model's docstring."""
    text = inspect.getdoc(model) or ""
    about, _, parameters = text.partition("**parameters**")
    parts = _PARAMETER.split(parameters)
    fields = {name.rstrip("_"): _flow(words) for name, words in zip(parts[1::2], parts[2::2], strict=True)}
    return _flow(about), fields


def _flow(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


# -- operations ----------------------------------------------------------------------------------------------------
def _operations(kind: Kind, prefix: str, version: int) -> Json:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    base = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    found: Json = {base: {}, f"{base}/{{name}}": {}}
    verbs = {"list": (base, "get"), "create": (base, "post"), "get": (f"{base}/{{name}}", "get"),
             "update": (f"{base}/{{name}}", "put"), "patch": (f"{base}/{{name}}", "patch"),
             "delete": (f"{base}/{{name}}", "delete")}  # fmt: skip
    for verb, (path, method) in verbs.items():
        if verb in kind.verbs:
            found[path][method] = _operation(kind, verb, prefix, version)
    return {path: methods for path, methods in found.items() if methods}


def _operation(kind: Kind, verb: str, prefix: str, version: int) -> Json:
    writes = verb in ("create", "update", "patch")
    asked = ["dryRun", "fieldManager", "fieldValidation"] if writes else []
    parameters = [_parameter(name, version) for name in [*asked, *(["force"] if verb == "patch" else [])]]
    content: Json = {"description": "OK"}
    ref = {"$ref": prefix + model_name(kind.model)}
    if version == 3:
        content["content"] = {"application/json": {"schema": ref}}
    else:
        content["schema"] = ref
    action = {"create": "post", "update": "put"}.get(verb, verb)
    return {
        "operationId": f"{verb}{kind.group.title().replace('.', '')}{kind.version.title()}{kind.kind}",
        "parameters": parameters,
        "responses": {"200": content},
        "x-kubernetes-action": action,
        GVK: _gvk(kind),
    }


def _parameter(name: str, version: int) -> Json:
    kind = {"type": "boolean" if name == "force" else "string", "uniqueItems": True}
    return {"name": name, "in": "query", **({"schema": kind} if version == 3 else kind)}

"""Answers: objects, lists, Tables and Statuses in the form the client asked for (its Accept header).

https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from ..api.errors import StatusError
from ..api.kinds import Kind
from ..store.version import Version

Json = dict[str, Any]
encode = msgspec.json.encode
YAML = "application/yaml"


@dataclass(frozen=True, slots=True)
class Form:
    """How objects are shown: "" as they are, "Table" or "PartialObjectMetadata"; `include_object` is a Table's."""

    shape: str = ""
    include_object: str = "Metadata"


def wanted(accept: str, include_object: str = "") -> Form:
    """The first form in Accept that we have; unknown media types are passed over. Raises StatusError 406."""
    for entry in accept.split(",") if accept.strip() else ["*/*"]:
        media, *parameters = (part.strip() for part in entry.split(";"))
        if media not in ("application/json", "application/*", "*/*", YAML):
            continue
        values = dict(p.split("=", 1) for p in parameters if "=" in p)
        shape = values.get("as", "").removesuffix("List")
        if shape in ("", "Table", "PartialObjectMetadata"):
            return Form(shape, include_object or "Metadata")
    raise not_acceptable()


def not_acceptable() -> StatusError:
    """406: none of the forms asked for is ours."""
    return StatusError(
        406, "NotAcceptable", "only the following media types are accepted: application/json, application/yaml"
    )


def wants_yaml(accept: str) -> bool:
    """Whether YAML is the first form in Accept that we have."""
    known = ("application/json", "application/*", "*/*", YAML)
    return next((m for e in accept.split(",") if (m := e.partition(";")[0].strip()) in known), "") == YAML


def json(content: Any, code: int = 200, warnings: Sequence[str] = ()) -> Response:
    """`content` is a tree, or bytes that already are JSON."""
    body = content if isinstance(content, bytes) else encode(content)
    response = Response(body, code, media_type="application/json")
    response.headers["cache-control"] = "no-cache, private"
    for warning in warnings:
        text = warning.replace("\\", "\\\\").replace('"', '\\"').encode("ascii", "replace").decode()
        response.headers.append("warning", f'299 - "{text}"')
    return response


def as_yaml(response: Response) -> Response:
    """The same answer in YAML."""
    import yaml

    tree = msgspec.json.decode(response.body)
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    said = Response(yaml.dump(tree, Dumper=dumper, sort_keys=False, allow_unicode=True), response.status_code)
    kept = [(name, value) for name, value in response.raw_headers if name not in (b"content-type", b"content-length")]
    said.raw_headers = [*kept, (b"content-type", b"application/yaml"), *said.raw_headers]
    return said


def status(error: StatusError) -> Response:
    """The failure as metav1.Status, with the headers that belong to it."""
    response = json(error.to_status(), error.code)
    if seconds := (error.details or {}).get("retryAfterSeconds"):
        response.headers["retry-after"] = str(seconds)
    if error.code == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


def success(kind: Kind, name: str, uid: str) -> Json:
    """The Status of a finished deletion."""
    details = {"name": name, **({"group": kind.group} if kind.group else {}), "kind": kind.plural, "uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def one(kind: Kind, version: Version, form: Form) -> bytes:
    """A single object's bytes in the wanted form."""
    if form.shape == "Table":
        return encode(table(kind, [version], form, {"resourceVersion": version.revision}))
    if form.shape:
        return encode(_partial(version.tree))
    return version.body


def many(kind: Kind, versions: Sequence[Version], form: Form, meta: Json) -> bytes:
    """A list's bytes. Items come without apiVersion and kind, as a real server sends them."""
    if form.shape == "Table":
        return encode(table(kind, versions, form, meta))
    if form.shape:
        items = [_partial(version.tree) for version in versions]
        head: Json = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        return encode({**head, "items": items})
    # a stored body begins with kind and apiVersion (registry.metadata.ordered): cut, don't encode again
    cut = len(encode({"kind": kind.kind, "apiVersion": kind.api_version}))
    head = {"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": meta}
    items_bytes = b",".join([b"{" + version.body[cut:] for version in versions])
    return encode(head)[:-1] + b',"items":[' + items_bytes + b"]}"


def table(kind: Kind, versions: Sequence[Version], form: Form, meta: Json) -> Json:
    """A metav1.Table of `versions`; `meta` is its ListMeta."""
    from ..api import tables

    made: Json = tables.table(kind, [version.tree for version in versions], include_object=form.include_object)
    made["metadata"] = meta
    return made


def _partial(tree: Json) -> Json:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": tree["metadata"]}

"""Request bodies: read with a limit, and turned into JSON trees whatever their format.

JSON, YAML and Kubernetes' protobuf (which kubectl ≥ 1.32 sends for every `create …`).
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import yaml
from starlette.requests import ClientDisconnect, Request

from ..api import jsontext
from ..api import strategy as rules
from ..api.errors import StatusError, bad_request, unsupported_media_type
from ..api.kinds import Kind
from .registry import WriteOptions

Json = dict[str, Any]
LIMIT = 3 * 1024 * 1024  # bytes, as etcd's
PATIENCE = 60.0  # seconds for a whole body
PROTOBUF, YAML, APPLY = "application/vnd.kubernetes.protobuf", "application/yaml", "application/apply-patch+yaml"
UNKNOWN_FORMAT = (
    "the body of the request was in an unknown format - accepted media types include: "
    f"application/json, application/yaml, {PROTOBUF}"
)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def too_large() -> StatusError:
    """413 for a body over LIMIT bytes."""
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {LIMIT}")


async def read(request: Request) -> bytes:
    """Raises StatusError 413, 408 (a client too slow), 400 (one that went away)."""
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > LIMIT:
        raise too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LIMIT:
                    raise too_large()
    except TimeoutError:
        raise StatusError(408, "Timeout", "the request body did not arrive in time") from None
    except ClientDisconnect:
        raise bad_request("the client went away") from None
    return bytes(body)


def media_type(request: Request) -> str:
    """The Content-Type without parameters, lower case; JSON where there is none."""
    return request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()


def decode(kind: Kind, body: bytes, media: str, options: WriteOptions) -> Json:
    """An object of `kind`, type-checked; complaints go to `options.warnings`. Raises StatusError 400, 415."""
    if media in ("application/json", ""):
        tree, warnings = rules.decode(kind, body, options.strictness)
    else:
        tree, warnings = rules.prepare(kind, loose(body, media), options.strictness)
    options.warnings += warnings
    return tree


def loose(body: bytes, media: str) -> Any:
    """Any tree, unchecked. Raises StatusError 400, 415."""
    if media == PROTOBUF:
        from ..api import protobuf

        return protobuf.decode(body)
    json_after_all = media == APPLY and body[:1] == b"{"  # kubectl's
    if media in (YAML, APPLY) and not json_after_all:
        return from_yaml(body)
    if media in ("application/json", "") or media.endswith("+json") or json_after_all:
        try:
            return jsontext.load(body)[0]
        except jsontext.JsonError as error:
            raise bad_request(f"json parse error: {error}") from None
    raise unsupported_media_type(UNKNOWN_FORMAT)


def _check_size(body: bytes) -> None:
    """Before libyaml builds it: nesting that would overrun its stack (it recurses in C, and the process would die),
    and aliases of aliases that would fill the memory. Raises ValueError."""
    sizes: dict[str | None, int] = {}  # of what an anchor names, in nodes
    open_nodes: list[tuple[str | None, int]] = []  # (anchor, nodes before it)
    nodes = 0
    for event in yaml.parse(body, _Loader):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = nodes - before
            continue
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, nodes))
        nodes += sizes.get(event.anchor, 1) if isinstance(event, yaml.AliasEvent) else 1
        if len(open_nodes) > jsontext.MAX_DEPTH:
            raise ValueError("exceeded max depth")
        if nodes > 2 * jsontext.MAX_NODES:  # keys are nodes too
            raise ValueError("document contains excessive aliasing, or too many values")


def from_yaml(body: bytes) -> Any:
    """A tree of plain JSON values. Raises StatusError 400."""
    try:
        _check_size(body)
        tree = yaml.load(body, _Loader)
        return msgspec.json.decode(msgspec.json.encode(tree))  # plain JSON values, or an error
    except (yaml.YAMLError, msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise bad_request(f"error converting YAML to JSON: yaml: {str(error)[:300]}") from None

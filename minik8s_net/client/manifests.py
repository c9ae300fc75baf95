"""Manifests: reading them (YAML or JSON, several documents, a folder, stdin, or a Python object) and applying them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..api.errors import StatusError, is_not_found
from .http import Api, Json
from .threeway import annotated, strategic_patch


class ManifestError(Exception):
    """A manifest that cannot be read: says the file, the line and what is wrong with it."""


@dataclass(frozen=True)
class Applied:
    """What applying (or deleting) one object did, as kubectl words it: `service/web created`."""

    what: str
    verb: Literal["created", "configured", "unchanged", "deleted"]
    obj: Json
    path: str

    def __str__(self) -> str:
        return f"{self.what} {self.verb}"


def read(source: str | Path) -> list[Json]:
    """Objects of a file, a folder of .yaml/.yml/.json files, or `-` (stdin). Lists are taken apart.

    Raises ManifestError at the first document that is none.
    """
    found = list(read_each(source))
    for item in found:
        if isinstance(item, ManifestError):
            raise item
    return [item for item in found if not isinstance(item, ManifestError)]


def read_each(source: str | Path) -> Iterator[Json | ManifestError]:
    """The same, but a bad document is one more item, and the good ones after it still come.

    Raises ManifestError for a source that is not there.
    """
    for text, name in _texts(source):
        yield from parse_each(text, name)


def _texts(source: str | Path) -> Iterator[tuple[str, str]]:
    """(text, name) of each file."""
    if str(source) == "-":
        yield sys.stdin.read(), "standard input"
        return
    if str(source).startswith(("http://", "https://")):
        name = str(source).rsplit("/", 1)[-1] or "manifest.yaml"
        raise ManifestError(f"{source}: minik8s fetches nothing from the network. Look at it first, then apply the "
                            f"file:\n  curl -fLO {source}\n  minik8s apply -f {name}")  # fmt: skip
    path = Path(source)
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix in {".yaml", ".yml", ".json"})
        if not files:
            raise ManifestError(f"{path}: no .yaml, .yml or .json file in this folder")
    for file in files:
        try:
            yield file.read_text(), str(file)
        except FileNotFoundError:
            raise ManifestError(f'the path "{file}" does not exist') from None
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestError(f"{file}: {error}") from None


def parse(text: str, name: str = "manifest") -> list[Json]:
    """Objects of a YAML (or JSON) text. Raises ManifestError naming the line."""
    found: list[Json] = []
    for item in parse_each(text, name):
        if isinstance(item, ManifestError):
            raise item
        found.append(item)
    return found


def parse_each(text: str, name: str) -> Iterator[Json | ManifestError]:
    """Objects, and what is wrong with the documents that hold none. What follows broken YAML can't be read."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = yaml.load_all(text, Loader=_strings_for_dates(loader))
    while True:
        try:
            document = next(documents, _END)
        except yaml.YAMLError as error:
            told = str(error).replace('"<unicode string>"', name)
            yield ManifestError(f"{name}: error parsing YAML: {told}")
            return
        if document is _END:
            return
        if document is not None:
            try:
                yield from list(_objects(document, name))
            except ManifestError as error:
                yield error


_END = object()


def _objects(document: Any, name: str) -> Iterator[Json]:
    if not isinstance(document, dict):
        raise ManifestError(f"{name}: expected an object with apiVersion and kind, found {type(document).__name__}")
    if str(document.get("kind", "")).endswith("List") and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _objects(item, name)
        return
    for field in ("apiVersion", "kind"):
        if not document.get(field):
            raise ManifestError(f"{name}: {field} not set")
    yield document


def _strings_for_dates(base: Any) -> Any:
    """YAML reads `2026-01-01` as a date; Kubernetes (JSON) knows only strings."""
    loader: Any = type("Loader", (base,), {})
    loader.yaml_implicit_resolvers = {
        first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in base.yaml_implicit_resolvers.items()
    }
    return loader


def apply(api: Api, objects: list[Json], namespace: str | None = None) -> Iterator[Applied]:
    """Create or update each object. All kinds are looked up before anything is written.

    Raises StatusError at the first refusal; what came before it stands.
    """
    for obj in objects:
        api.resource_of(obj["apiVersion"], obj["kind"])
    for obj in objects:
        yield apply_one(api, obj, namespace)


def apply_one(api: Api, obj: Json, namespace: str | None = None) -> Applied:
    """Create or update one object, as kubectl does. Raises StatusError."""
    resource = api.resource_of(obj["apiVersion"], obj["kind"])
    metadata = obj.get("metadata") or {}
    if not metadata.get("name"):
        raise StatusError(422, "Invalid", f"{obj['kind']}: metadata.name: Required value: name is required")
    inside = metadata.get("namespace") or namespace or api.namespace
    path = resource.path(inside, metadata["name"])
    live = _find(api, path)
    query = {"fieldManager": "minik8s", "fieldValidation": "Strict"}
    verb: Literal["created", "configured", "unchanged"]
    if live is None:
        after = api.request("POST", resource.path(inside), annotated(obj), query=query)
        verb = "created"
    else:
        patch, kind = strategic_patch(obj, live), "application/strategic-merge-patch+json"
        after = api.request("PATCH", path, patch, query=query, content_type=kind)
        same = after["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]
        verb = "unchanged" if same else "configured"
    return Applied(f"{resource.qualified}/{metadata['name']}", verb, after, path)


def delete(api: Api, objects: list[Json], namespace: str | None = None, missing_ok: bool = False) -> Iterator[Applied]:
    """Delete each object named, in order. A missing one raises unless `missing_ok`."""
    for obj in objects:
        resource = api.resource_of(obj["apiVersion"], obj["kind"])
        metadata = obj.get("metadata") or {}
        path = resource.path(metadata.get("namespace") or namespace or api.namespace, metadata.get("name", ""))
        try:
            gone = api.request("DELETE", path)
        except StatusError as error:
            if missing_ok and is_not_found(error):
                continue
            raise
        yield Applied(f"{resource.qualified}/{metadata.get('name')}", "deleted", gone, path)


def _find(api: Api, path: str) -> Json | None:
    try:
        found: Json = api.request("GET", path)
    except StatusError as error:
        if is_not_found(error):
            return None
        raise
    return found

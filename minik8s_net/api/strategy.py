"""What happens to an object between the wire and the store: decode, default, validate. Pure and synchronous.

In Kubernetes: the codec with its strict mode, `SetDefaults_*`, and the registries' Validate and ValidateUpdate.
"""

from __future__ import annotations

from typing import Any

from minik8s_net.api import defaults, jsontext, schema, validation
from minik8s_net.api.errors import FieldError, StatusError, bad_request, required
from minik8s_net.api.kinds import Kind

Json = dict[str, Any]


def decode(kind: Kind, body: bytes, strictness: str = "Strict") -> tuple[Json, list[str]]:
    """A JSON request body to (clean tree, warnings). Raises StatusError 400 in the real server's words."""
    try:
        tree, duplicates = jsontext.load(body)
    except jsontext.JsonError as error:
        shown = body.decode(errors="replace")
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind.kind}): couldn't get version/kind; "
            f"json parse error: {error} ({shown[:400]})"
        ) from None
    return prepare(kind, tree, strictness, duplicates)


def prepare(
    kind: Kind, tree: Any, strictness: str = "Strict", duplicates: list[str] | None = None
) -> tuple[Json, list[str]]:
    """(clean tree, warnings): types checked, nulls dropped, unknown fields refused (Strict), warned of, or dropped.

    `strictness` is the request's fieldValidation. The given tree is not changed. Raises StatusError 400.
    """
    _check_type(kind, tree)
    walked = schema.walk(kind.model, tree)
    where = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
    if walked.errors:
        raise bad_request(f"{where}: {walked.errors[0]}")
    complaints = [f'duplicate field "{p}"' for p in duplicates or []] + [f'unknown field "{p}"' for p in walked.unknown]
    if complaints and strictness == "Strict":
        raise bad_request(f"{where}: strict decoding error: {', '.join(complaints)}")
    clean = walked.tree
    clean["apiVersion"], clean["kind"] = kind.api_version, kind.kind
    clean.setdefault("metadata", {})
    return clean, complaints if strictness == "Warn" else []


def _check_type(kind: Kind, tree: Any) -> None:
    if not isinstance(tree, dict):
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind.kind}): couldn't get version/kind; "
            "json parse error: json: cannot unmarshal into Go value of type struct { APIVersion string; Kind string }"
        )
    sent_kind, sent_version = tree.get("kind"), tree.get("apiVersion")
    if (sent_kind in (None, kind.kind)) and sent_version in (None, kind.api_version):
        return
    version = str(sent_version or kind.api_version).rpartition("/")[2]
    if sent_version not in (None, kind.api_version):
        raise bad_request(
            f"the API version in the data ({sent_version}) does not match the expected API version ({kind.api_version})"
        )
    raise bad_request(
        f'{sent_kind} in version "{version}" cannot be handled as a {kind.kind}: '
        f"converting ({version}.{sent_kind}) to ({kind.group or 'core'}.{kind.kind}): unknown conversion"
    )


def default(kind: Kind, tree: Json) -> Json:
    """Fill in what the manifest left open, in place; returns the same tree. Idempotent."""
    return defaults.apply(kind, tree)


def validate_create(kind: Kind, tree: Json) -> list[FieldError]:
    """Everything wrong with a new (prepared, defaulted) object, all causes at once."""
    errors = validation.validate_metadata(kind, tree) + validation.validate(kind, tree)
    return errors + _missing(kind, tree, errors)


def validate_update(kind: Kind, new: Json, old: Json, subresource: str | None = None) -> list[FieldError]:
    """Everything wrong with replacing `old` by `new`: the object's own rules, and fields that may not change."""
    errors = validation.validate_metadata_update(kind, new, old)
    if subresource == "status":
        same = new["metadata"] == old["metadata"]
        return errors if same else errors + validation.validate_decorations(new["metadata"], "metadata")
    errors += validation.validate_metadata(kind, new) + validation.validate(kind, new)
    errors += validation.validate_change(kind, new, old, subresource)
    unique = list(dict.fromkeys(errors))
    return unique + _missing(kind, new, unique)


def _missing(kind: Kind, tree: Json, errors: list[FieldError]) -> list[FieldError]:
    """Required fields nobody complained about yet (a rule of the kind words it better)."""
    said = {e.path for e in errors}
    return [required(p) for p in schema.missing(kind.model, tree) if not any(part in said for part in _holders(p))]


def _holders(path: str) -> list[str]:
    """A path and all that it lies in: `a.b.c`, `a.b`, `a`."""
    parts = path.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


def name_of(tree: Json) -> str:
    """metadata.name, "" without one."""
    return str(tree.get("metadata", {}).get("name", ""))


__all__ = ["StatusError", "decode", "default", "name_of", "prepare", "validate_create", "validate_update"]

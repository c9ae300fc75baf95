"""What the API answers when it says no: metav1.Status, with Kubernetes' codes, reasons and wording.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#response-status-kind
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minik8s_net.api.kinds import Kind

Json = dict[str, Any]


class StatusError(Exception):
    """A failed request. `code` is the HTTP status; `details` may hold name, group, kind, causes, retryAfterSeconds."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details

    def to_status(self) -> Json:
        """metav1.Status as JSON."""
        status: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        status["message"] = self.message
        if self.reason:
            status["reason"] = self.reason
        if self.details:
            status["details"] = self.details
        return {**status, "code": self.code}


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def _details(plural: str, group: str, name: str) -> Json:
    details: Json = {"name": name} if name else {}
    if group:
        details["group"] = group
    return {**details, "kind": plural}


def not_found(plural: str, name: str, group: str = "") -> StatusError:
    """404 for a named object."""
    message = f'{_qualified(plural, group)} "{name}" not found'
    return StatusError(404, "NotFound", message, _details(plural, group, name))


def already_exists(plural: str, name: str, group: str = "") -> StatusError:
    """409 for a name that is taken."""
    message = f'{_qualified(plural, group)} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(plural, group, name))


def conflict(plural: str, name: str, why: str, group: str = "") -> StatusError:
    """409 for a change that comes too late, with its reason in words."""
    message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(plural, group, name))


def bad_request(message: str) -> StatusError:
    """400 for what cannot be read."""
    return StatusError(400, "BadRequest", message)


def is_not_found(error: BaseException) -> bool:
    """Whether an error is a NotFound Status."""
    return isinstance(error, StatusError) and error.reason == "NotFound"


def forbidden(plural: str, name: str, why: str, group: str = "") -> StatusError:
    """403 from admission, with its reason in words."""
    message = f'{_qualified(plural, group)} "{name}" is forbidden: {why}'
    return StatusError(403, "Forbidden", message, _details(plural, group, name))


def unsupported_media_type(message: str = "415: Unsupported Media Type") -> StatusError:
    """415."""
    return StatusError(415, "UnsupportedMediaType", message)


def rejected_patch() -> StatusError:
    """A JSON patch that does not apply, or whose test fails."""
    return StatusError(422, "Invalid", "the server rejected our request due to an error in our request")


class Go(str):
    """A value already written as Go prints it, e.g. `[]string{"10.96.0.0"}`."""

    @classmethod
    def strings(cls, values: list[str], go_type: str = "string") -> Go:
        """A slice: `[]string{"a", "b"}`."""
        return cls(f"[]{go_type}{{{', '.join(json.dumps(v, ensure_ascii=False) for v in values)}}}")

    @classmethod
    def map(cls, values: dict[str, str]) -> Go:
        """A map in order of its keys: `map[string]string{"a":"b"}`."""
        return cls(
            "map[string]string{"
            + ", ".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in sorted(values.items()))
            + "}"
        )


MAX_CAUSES = 1000  # of one refusal: nobody reads more
_WORDS = {
    "Required": "Required value",
    "Invalid": "Invalid value",
    "NotSupported": "Unsupported value",
    "Forbidden": "Forbidden",
    "Duplicate": "Duplicate value",
    "NotFound": "Not found",
    "TooLong": "Too long",
    "TooMany": "Too many",
    "InternalError": "Internal error",
}


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one field. `type` is a key of `_WORDS`; `value` is what was found (str, int, bool or Go)."""

    path: str
    type: str
    value: Any = None
    detail: str = ""

    @property
    def body(self) -> str:
        """The message without its path: `Invalid value: 0: must be between 1 and 65535, inclusive`."""
        parts = [_WORDS[self.type]]
        if self.type in ("Invalid", "NotSupported", "Duplicate", "NotFound", "TooMany"):
            parts.append(self.value if isinstance(self.value, Go) else json.dumps(self.value, ensure_ascii=False))
        if self.detail:
            parts.append(self.detail)
        return ": ".join(parts)

    def __str__(self) -> str:
        return f"{self.path}: {self.body}"

    def to_cause(self) -> Json:
        """One of a Status' details.causes."""
        return {"reason": f"FieldValue{self.type}", "message": self.body, "field": self.path}


def required(path: str, detail: str = "") -> FieldError:
    """A field that is missing or empty."""
    return FieldError(path, "Required", None, detail)


def bad_value(path: str, value: Any, detail: str) -> FieldError:
    """A field whose value makes no sense."""
    return FieldError(path, "Invalid", value, detail)


def unsupported(path: str, value: Any, supported: list[str] | tuple[str, ...]) -> FieldError:
    """A field whose value is none of those supported."""
    names = ", ".join(json.dumps(s) for s in supported)
    return FieldError(path, "NotSupported", value, f"supported values: {names}" if supported else "")


def prohibited(path: str, detail: str) -> FieldError:
    """A field that may not be set, or not be changed."""
    return FieldError(path, "Forbidden", None, detail)


def duplicate(path: str, value: Any) -> FieldError:
    """A value that stands there already."""
    return FieldError(path, "Duplicate", value)


def too_long(path: str, limit: int) -> FieldError:
    """A field over its limit in bytes."""
    return FieldError(path, "TooLong", None, f"may not be more than {limit} bytes")


def _aggregate(errors: list[FieldError]) -> str:
    texts = list(dict.fromkeys(str(e) for e in errors))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def invalid(kind: Kind, name: str, errors: list[FieldError]) -> StatusError:
    """422 with every cause."""
    return invalid_named(kind.kind, kind.group, name, errors)


def invalid_named(kind: str, group: str, name: str, errors: list[FieldError]) -> StatusError:
    """422 for what is no stored kind, e.g. `CreateOptions.meta.k8s.io`."""
    errors = errors[:MAX_CAUSES]
    message = f'{_qualified(kind, group)} "{name}" is invalid: {_aggregate(errors)}'
    details = _details(kind, group, name)
    return StatusError(422, "Invalid", message, {**details, "causes": [e.to_cause() for e in errors]})

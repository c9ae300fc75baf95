"""What the API answers when it says no: metav1.Status, with Kubernetes' codes, reasons and wording.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#response-status-kind
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class StatusError(Exception):
    """A failed request. `code` is the HTTP status; `details` may hold name, group, kind, causes, retryAfterSeconds."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details

    def to_status(self) -> Json:
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
    message = f'{_qualified(plural, group)} "{name}" not found'
    return StatusError(404, "NotFound", message, _details(plural, group, name))


def already_exists(plural: str, name: str, group: str = "") -> StatusError:
    message = f'{_qualified(plural, group)} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(plural, group, name))


def conflict(plural: str, name: str, why: str, group: str = "") -> StatusError:
    message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(plural, group, name))


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def is_not_found(error: BaseException) -> bool:
    return isinstance(error, StatusError) and error.reason == "NotFound"

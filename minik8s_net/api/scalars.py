"""Leaves of a JSON tree: each scalar type's check, its canonical form, and the decoder's words for what is wrong."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from minik8s_net.api import quantity, times

RANGES = {"int32": 2**31, "int64": 2**63}


class WrongTypeError(Exception):
    """`str(error)` is what was found, in Go's words: `string`, `number 3000000000`. `go` overrides the wanted type."""

    def __init__(self, found: str, go: str = "") -> None:
        super().__init__(found)
        self.go = go


def json_name(value: Any) -> str:
    """Go's name for a JSON value's type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def check(kind: str, value: Any) -> Any:
    """The value in canonical form. Raises WrongTypeError, or ValueError with a whole message."""
    checker = _CHECKS.get(kind)
    if checker is None:
        raise WrongTypeError(json_name(value))
    return checker(kind, value)


def _string(_: str, value: Any) -> str:
    if not isinstance(value, str):
        raise WrongTypeError(json_name(value))
    return value


def _bool(_: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise WrongTypeError(json_name(value))
    return value


def _int(kind: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongTypeError(json_name(value))
    if isinstance(value, float):
        if not value.is_integer():
            raise WrongTypeError(f"number {value}")
        value = int(value)
    assert isinstance(value, int)
    if not -RANGES[kind] <= value < RANGES[kind]:
        raise WrongTypeError(f"number {value}")
    return value


def _float(_: str, value: Any) -> float | int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongTypeError(json_name(value))
    return value


def _intstr(_: str, value: Any) -> int | str:
    if isinstance(value, str):
        return value
    try:
        return _int("int32", value)
    except WrongTypeError as wrong:
        wanted = "int32" if str(wrong).startswith("number") else "string"
        raise ValueError(f"json: cannot unmarshal {wrong} into Go value of type {wanted}") from None


def _quantity(_: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        quantity.parse("")  # Kubernetes parses the raw text, which is no quantity: raises its wording
    text = str(value).strip()
    return quantity.canonical(text)


def _time(_: str, value: Any) -> str:
    return times.canonical(_go_string(value))


def _micro(_: str, value: Any) -> str:
    return times.canonical_micro(_go_string(value))


def _go_string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"json: cannot unmarshal {json_name(value)} into Go value of type string")
    return value


def _bytes(_: str, value: Any) -> str:
    if not isinstance(value, str):
        raise WrongTypeError(json_name(value))
    text = value.replace("\r", "").replace("\n", "")
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        bad = next(
            (i for i, c in enumerate(text) if not (c.isascii() and (c.isalnum() or c in "+/="))),
            len(text) // 4 * 4,
        )
        raise ValueError(f"illegal base64 data at input byte {bad}") from None
    return text


_CHECKS = {
    "string": _string, "bool": _bool, "int32": _int, "int64": _int, "float64": _float, "intstr": _intstr,
    "quantity": _quantity, "time": _time, "microtime": _micro, "bytes": _bytes,
}  # fmt: skip

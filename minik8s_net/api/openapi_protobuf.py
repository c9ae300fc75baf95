"""/openapi/v2 as kubectl asks for it: protobuf. It reads it where v3 has no `patch` operation for a kind (reviews).

Message and field numbers are gnostic's (openapiv2/OpenAPIv2.proto), as far as `openapi` makes use of them. Every field
is length-delimited but for the booleans; what has no message of its own travels as YAML text, of which JSON is a part.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from minik8s_net.api import openapi

Json = dict[str, Any]
ASKED = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
MEDIA = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"  # the @ is not allowed in a Content-Type
TEXTS = {"$ref": 1, "format": 2, "description": 4}  # fields of a Schema
METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


@cache
def v2() -> bytes:
    """`openapi.v2` as an openapi.v2.Document."""
    document = json.loads(openapi.v2())
    info = _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])
    paths = b"".join(_named(2, path, _path(item)) for path, item in document["paths"].items())
    definitions = b"".join(_named(1, name, _schema(made)) for name, made in document["definitions"].items())
    return _text(1, document["swagger"]) + _field(2, info) + _field(8, paths) + _field(9, definitions)


# -- the document's parts -------------------------------------------------------------------------------------------
def _schema(schema: Json) -> bytes:
    out = _extensions(31, schema)
    for key, value in schema.items():
        if key in TEXTS:
            out += _text(TEXTS[key], value)
        elif key == "default":
            out += _field(5, _text(2, json.dumps(value)))
        elif key == "required":
            out += b"".join(_text(19, name) for name in value)
        elif key == "additionalProperties":
            out += _field(21, _field(1, _schema(value)))
        elif key == "type":
            out += _field(22, _text(1, value))
        elif key == "items":
            out += _field(23, _field(1, _schema(value)))
        elif key == "properties":
            out += _field(25, b"".join(_named(1, name, _schema(made)) for name, made in value.items()))
    return out


def _path(item: Json) -> bytes:
    return b"".join(_field(METHODS[method], _operation(operation)) for method, operation in item.items())


def _operation(operation: Json) -> bytes:
    out = _text(5, operation["operationId"])
    out += b"".join(_field(8, _parameter(parameter)) for parameter in operation["parameters"])
    codes = (_named(1, code, _field(1, _response(answer))) for code, answer in operation["responses"].items())
    return out + _field(9, b"".join(codes)) + _extensions(13, operation)


def _parameter(parameter: Json) -> bytes:
    """A ParametersItem: parameter, nonBodyParameter, queryParameterSubSchema."""
    made = _text(2, parameter["in"]) + _text(4, parameter["name"]) + _text(6, parameter["type"])
    return _field(1, _field(2, _field(3, made + _varint(20 << 3) + b"\1")))  # uniqueItems


def _response(answer: Json) -> bytes:
    return _text(1, answer["description"]) + _field(2, _field(1, _schema(answer["schema"])))


def _extensions(number: int, tree: Json) -> bytes:
    return b"".join(_named(number, k, _text(2, json.dumps(v))) for k, v in tree.items() if k.startswith("x-"))


# -- the wire -------------------------------------------------------------------------------------------------------
def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _named(number: int, name: str, payload: bytes) -> bytes:
    """An entry of a map: Named…(name, value)."""
    return _field(number, _text(1, name) + _field(2, payload))

"""Bodies made to be expensive: each is answered soon, and the next request as fast as ever."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from minik8s_net.api.jsontext import MAX_NODES

from .serving import Api

MANY = 300_000
STRATEGIC, JSON_PATCH = "application/strategic-merge-patch+json", "application/json-patch+json"
APPLY, PROTOBUF = "application/apply-patch+yaml", "application/vnd.kubernetes.protobuf"
COPIES = [{"op": "copy", "from": "", "path": f"/metadata/labels/c{n}"} for n in range(40)]
CREATES: dict[str, tuple[str, Any, str]] = {
    "empty containers": ("pods", {"spec": {"containers": [{}] * MANY}}, "application/json"),
    "as many as may be": ("pods", {"spec": {"containers": [{}] * (MAX_NODES - 10)}}, "application/json"),
    "keys": ("configmaps", {"data": {f"k{n}": "" for n in range(MANY // 2)}}, "application/json"),
    "yaml": ("configmaps", "data:\n" + "".join(f"  k{n}: v\n" for n in range(MANY // 2)), "application/yaml"),
    "flow": ("configmaps", "[" + "a," * MANY + "]", "application/yaml"),
    "apply": ("configmaps", "data: {" + "".join(f"k{n}: v, " for n in range(MANY // 2)) + "}", APPLY),
    "protobuf": ("pods", b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x80\x80\x80\x01" + b"\x12\x00" * (1 << 20), PROTOBUF),
}


def soon(api: Api, method: str, path: str, body: Any, media: str) -> int:
    begin = time.monotonic()
    answer = api(method, path, body, media)
    assert time.monotonic() - begin < 10  # a second or so where nobody else works
    assert answer.json["kind"] == "Status" and len(answer.body) < 1_000_000
    return answer.code


@pytest.mark.parametrize("name", CREATES)
def test_creates(api: Api, namespace: str, name: str) -> None:
    plural, body, media = CREATES[name]
    path = f"/api/v1/namespaces/{namespace}/{plural}"
    method, query = ("PATCH", "/a?fieldManager=x") if media == APPLY else ("POST", "")
    assert soon(api, method, path + query, body, media) in (400, 422)


def test_patches(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    finalizers = [f"example.com/f{n}" for n in range(5000)]
    api.create(path, {"metadata": {"name": "a", "finalizers": finalizers, "labels": {}}})
    assert soon(api, "PATCH", f"{path}/a", json.dumps(COPIES), JSON_PATCH) in (413, 422)
    more = {"metadata": {"finalizers": [f"example.com/g{n}" for n in range(20_000)]}}
    begin = time.monotonic()
    assert api("PATCH", f"{path}/a", more, STRATEGIC).code == 200
    assert api("PATCH", f"{path}/a?fieldManager=x", json.dumps(more), APPLY).code == 200
    assert time.monotonic() - begin < 20
    assert api("PATCH", f"{path}/a", {"metadata": {"finalizers": None}}, "application/merge-patch+json").code == 200

# ruff: noqa: E501
"""Tables, discovery and protobuf bodies beside what a real server answered and a real kubectl sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from minik8s_net.api import discovery, kinds, openapi, protobuf, schema, strategy, tables
from minik8s_net.api.errors import StatusError

HERE = Path(__file__).parent
BODIES = json.loads((HERE / "kubectl-protobuf-bodies.json").read_text())
RECORDED = sorted((HERE / "recorded").glob("table_*.json"))
GROUPS = {"deployments": "apps", "replicasets": "apps", "endpointslices": "discovery.k8s.io",
          "networkpolicies": "networking.k8s.io"}  # fmt: skip


def _listed(path: Path) -> tuple[kinds.Kind, list[dict[str, Any]]]:
    plural = path.stem.removeprefix("table_")
    kind = kinds.by_path(GROUPS.get(plural, ""), "v1", plural)
    assert kind
    return kind, json.loads(path.with_name(f"list_{plural}.json").read_text())["items"]


@pytest.mark.parametrize("path", RECORDED, ids=lambda p: p.stem)
def test_table_as_recorded(path: Path) -> None:
    want = json.loads(path.read_text())
    kind, objects = _listed(path)
    got = tables.table(kind, objects)

    def shape(table: dict[str, Any]) -> list[Any]:
        return [(c["name"], c["type"], c["format"], c["priority"]) for c in table["columnDefinitions"]]

    assert shape(got) == shape(want)
    timed = {i for i, c in enumerate(want["columnDefinitions"]) if c["name"] in ("Age", "Last Seen", "First Seen")}
    for mine, theirs in zip(got["rows"], want["rows"], strict=True):
        assert [c for i, c in enumerate(mine["cells"]) if i not in timed] == [
            c for i, c in enumerate(theirs["cells"]) if i not in timed
        ]
        assert mine["object"]["metadata"]["name"] == theirs["object"]["metadata"]["name"]


@pytest.mark.parametrize("path", RECORDED, ids=lambda p: p.stem)
def test_recorded_objects_pass_the_walk_and_decode(path: Path) -> None:
    kind, objects = _listed(path)
    for tree in objects:
        walked = schema.walk(kind.model, tree)
        assert (walked.errors, walked.unknown) == ([], [])
        kind.resource.from_dict(walked.tree)  # type: ignore[attr-defined]
        before = json.dumps(walked.tree, sort_keys=True)
        assert json.dumps(strategy.default(kind, walked.tree), sort_keys=True) == before, "defaulting adds nothing"


def _pod(**status: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "c"}], "initContainers": status.pop("init", [])}
    metadata = {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z", **status.pop("metadata", {})}
    return {"metadata": metadata, "spec": spec, "status": status}


def _state(restarts: int = 0, ready: bool = False, finished: str = "", **state: Any) -> dict[str, Any]:
    last = {"terminated": {"finishedAt": finished}} if finished else {}
    return {"name": "c", "ready": ready, "restartCount": restarts, "state": state, "lastState": last}


@pytest.mark.parametrize(
    ("pod", "cells"),
    [
        (_pod(phase="Pending"), ["0/1", "Pending", "0"]),
        (_pod(phase="Running", containerStatuses=[_state(ready=True, running={})]), ["1/1", "Running", "0"]),
        (
            _pod(phase="Running", containerStatuses=[_state(2, False, "2026-01-01T00:00:55Z", waiting={"reason": "CrashLoopBackOff"})]),
            ["0/1", "CrashLoopBackOff", "2 (5s ago)"],
        ),
        (_pod(phase="Succeeded", containerStatuses=[_state(terminated={"reason": "Completed", "exitCode": 0})]), ["0/1", "Completed", "0"]),
        (_pod(phase="Failed", containerStatuses=[_state(terminated={"exitCode": 3})]), ["0/1", "ExitCode:3", "0"]),
        (_pod(phase="Pending", containerStatuses=[_state(waiting={"reason": "ErrImagePull"})]), ["0/1", "ErrImagePull", "0"]),
        (
            _pod(phase="Running", metadata={"deletionTimestamp": "2026-01-01T00:00:30Z"}, containerStatuses=[_state(ready=True, running={})]),
            ["1/1", "Terminating", "0"],
        ),
        (_pod(phase="Pending", init=[{"name": "i"}], initContainerStatuses=[_state(running={})]), ["0/1", "Init:0/1", "0"]),
    ],
    ids=lambda v: v[1] if isinstance(v, list) else "",
)  # fmt: skip
def test_pod_status_column(pod: dict[str, Any], cells: list[str]) -> None:
    kind = kinds.by_kind("v1", "Pod")
    assert kind
    row = tables.table(kind, [pod], now=datetime(2026, 1, 1, 0, 1, tzinfo=UTC))["rows"][0]["cells"]
    assert row[1:4] == cells
    assert row[4] == "60s"


def test_aggregated_discovery_as_recorded() -> None:
    """Ours has what 1.33 adds: ServiceCIDR, IPAddress, pods/resize."""
    for path in ("api", "apis"):
        want = json.loads((HERE / "recorded" / f"{path}.agg.json").read_text())
        mine, theirs = _resources(discovery.aggregated(path)), _resources(want)
        for key, resource in theirs.items():
            if key[1] == "pods":
                mine[key]["subresources"] = [s for s in mine[key]["subresources"] if s["subresource"] != "resize"]
            assert mine[key] == resource
    assert discovery.apis() == json.loads((HERE / "recorded" / "apis.json").read_text())


def _resources(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    copied = json.loads(json.dumps(document))
    return {
        (f"{g['metadata'].get('name', '')}/{v['version']}", r["resource"]): r
        for g in copied["items"] for v in g["versions"] for r in v["resources"]
    }  # fmt: skip


def test_plain_discovery_as_recorded() -> None:
    for group in ("apps", "discovery.k8s.io", "policy", "coordination.k8s.io"):
        want = json.loads((HERE / "recorded" / f"apis_{group}_v1.json").read_text())
        mine = discovery.resources(group, "v1")
        assert mine
        for document in (mine, want):  # the hash is the server's own
            for resource in document["resources"]:
                resource.pop("storageVersionHash", None)
        assert mine == want


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("body", BODIES, ids=lambda b: str(b["cmd"]))
def test_protobuf_body_is_its_json_twin(body: dict[str, Any]) -> None:
    def bare(tree: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in _without_nulls(tree).items() if k != "status"}

    assert bare(protobuf.decode(bytes.fromhex(body["body_hex"]))) == bare(body["client_json"])


@pytest.mark.parametrize("body", [b"", b"k8s\0", b"k8s\0\x0a\xff", b"{}", b"k8s\0\x0a\x0a\x0a\x02v1\x12\x04Nope"])
def test_broken_protobuf_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(StatusError) as error:
        protobuf.decode(body)
    assert error.value.code == 400


def test_truncated_protobuf_never_breaks() -> None:
    refused = 0
    for body in BODIES:
        raw = bytes.fromhex(body["body_hex"])
        for cut in range(0, len(raw), 7):
            try:
                protobuf.decode(raw[:cut])
            except StatusError as error:
                assert error.code == 400
                refused += 1
    assert refused > len(BODIES), "most pieces of an object are none"


def test_openapi_says_what_kubectl_asks() -> None:
    index = openapi.v3_index()["paths"]
    assert "api/v1" in index and index["api/v1"]["serverRelativeURL"].startswith("/openapi/v3/api/v1?hash=")
    document = json.loads(openapi.v3("api/v1") or b"")
    pods = document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]
    assert "fieldValidation" in [p["name"] for p in pods["patch"]["parameters"]]
    assert pods["get"]["x-kubernetes-group-version-kind"] == {"group": "", "kind": "Pod", "version": "v1"}
    schemas = document["components"]["schemas"]
    ports = schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"]
    assert ports["x-kubernetes-patch-merge-key"] == "containerPort"
    assert ports["description"].startswith("List of ports to expose")
    for name in openapi.v3_index()["paths"]:
        text = (openapi.v3(name) or b"").decode()
        known = json.loads(text)["components"]["schemas"]
        missing = {r.split('"')[0] for r in text.split("#/components/schemas/")[1:]} - set(known)
        assert not missing
    assert openapi.v3("apis/nope/v1") is None
    assert "io.k8s.api.apps.v1.Deployment" in json.loads(openapi.v2())["definitions"]

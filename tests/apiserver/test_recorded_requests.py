"""Every recorded request, over HTTPS: the real server's code, reason, message, details and warnings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .serving import Answer, Api, Json, serving

CASES: list[Json] = yaml.safe_load((Path(__file__).parents[1] / "api" / "api-validation.yaml").read_text())
MEDIA = {
    "jsonpatch-test-fail": "application/json-patch+json",
    "apply-patch-no-manager": "application/apply-patch+yaml",
    "apply-conflict": "application/apply-patch+yaml",
}
# docs/api-exceptions.md says why these differ.
FIRST_LINE_ONLY = {"upd-pod-ports", "upd-pod-nodename"}
OTHER_CODE: dict[str, int] = {}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("recorded")) as running, running.api() as api:
        api.create("/api/v1/namespaces", {"metadata": {"name": "val"}})
        pod = {"metadata": {"name": "exists"}, "spec": {"containers": [{"name": "c", "image": "agnhost"}]}}
        made = api("POST", "/api/v1/namespaces/val/pods", pod, user_agent="Python-urllib/3.11")
        assert made.code == 201
        service = {"metadata": {"name": "u9"}, "spec": {"ports": [{"port": 80}]}}
        api.create("/api/v1/namespaces/val/services", service)
        yield api


def _send(api: Api, case: Json) -> Answer:
    manifest = case["manifest"]
    if case["method"] == "PUT" and "created" in manifest:
        return api("PUT", case["path"], _changed(api, case))
    if case["name"] == "apply-conflict":  # recorded in words
        container = {"name": "c", "image": "conflict"}
        manifest = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]}}
    return api(case["method"], case["path"], manifest, MEDIA.get(case["name"], "application/json"))


def _changed(api: Api, case: Json) -> Json:
    """The object as created, with the recorded change: what the recorded server had chosen becomes what ours chose."""
    present = api.create(case["path"].rpartition("/")[0], case["manifest"]["created"])
    spec = case["manifest"]["sent"]
    for container, ours in zip(spec.get("containers", []), present["spec"].get("containers", []), strict=True):
        container["volumeMounts"] = ours["volumeMounts"]
    if "volumes" in spec:
        spec["volumes"] = present["spec"]["volumes"]
    if "clusterIP" in spec and "may not change" not in (case["message"] or ""):
        spec |= {key: present["spec"][key] for key in ("clusterIP", "clusterIPs")}
    changed = {**present, "spec": spec}
    if case["name"] == "upd-svc-name-change":
        changed["metadata"]["name"] = "u6x"
    elif case["name"] == "upd-svc-stale-rv":
        changed["metadata"]["resourceVersion"] = "1"
    return changed


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_as_recorded(recorded: Api, case: Json) -> None:
    answer = _send(recorded, case)
    code = OTHER_CODE.get(case["name"], case["code"])
    assert answer.code == code, answer.body
    assert answer.warnings == case.get("warnings", [])
    if code < 400:
        return
    keys = ("reason", "message", "details")
    got, wanted = ({key: found.get(key) or None for key in keys} for found in (answer.json, case))
    if case["name"] in FIRST_LINE_ONLY:
        for status in (got, wanted):
            _first_lines(status)
    assert got == wanted


def _first_lines(status: Json) -> None:
    for part in (status, status["details"]["causes"][0]):
        part["message"] = part["message"].partition("\n")[0]


def test_none_is_missing() -> None:
    assert len(CASES) == 102
    names: set[Any] = {case["name"] for case in CASES}
    assert names >= FIRST_LINE_ONLY | OTHER_CODE.keys() | MEDIA.keys()

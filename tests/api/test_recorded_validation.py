"""Every recorded request that pure functions decide: the real server's code, reason, message, causes and warnings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from minik8s_net.api import kinds, strategy
from minik8s_net.api.errors import StatusError, invalid

CASES = yaml.safe_load((Path(__file__).parent / "api-validation.yaml").read_text())
# Decided by the registry or the HTTP layer: allocation, existence, versions, routes, query parameters.
SERVER = {
    "svc-clusterip-network-addr", "pod-serviceaccount-missing", "pod-namespace-mismatch",
    "upd-svc-name-change", "upd-svc-stale-rv", "upd-svc-clusterip-taken-nodeport-dup",
    "post-pod-missing-ns", "post-to-named", "method-not-allowed-put-collection", "bad-dryrun",
}  # fmt: skip
# The dump of Go structs is not imitated (docs/api-exceptions.md): the first line must be equal.
FIRST_LINE_ONLY = {"upd-pod-ports", "upd-pod-nodename"}


def _pure(case: dict[str, Any]) -> bool:
    return case["method"] in ("POST", "PUT") and case["name"] not in SERVER and "/exec" not in case["path"]


def _kind(path: str) -> kinds.Kind:
    parts = path.partition("?")[0].strip("/").split("/")
    group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
    kind = kinds.by_path(group, version, rest[2] if rest[0] == "namespaces" and len(rest) > 2 else rest[0])
    assert kind
    return kind


def _create(kind: kinds.Kind, body: Any, strictness: str) -> tuple[dict[str, Any], list[str]]:
    tree, warnings = strategy.decode(
        kind, body.encode() if isinstance(body, str) else json.dumps(body).encode(), strictness
    )
    if kind.namespaced:
        tree["metadata"].setdefault("namespace", "val")
    strategy.default(kind, tree)
    if errors := strategy.validate_create(kind, tree):
        raise invalid(kind, tree["metadata"]["name"], errors)
    return tree, warnings


def _update(kind: kinds.Kind, manifest: dict[str, Any], path: str) -> None:
    old, _ = _create(kind, manifest["created"], "Strict")
    sent = manifest["sent"]
    if kind.kind == "Service":
        same = (
            sent["clusterIP"] if "10.96.9.9" not in sent["clusterIP"] and sent["clusterIP"] != "None" else "10.96.1.1"
        )
        old["spec"] |= {"clusterIP": same, "clusterIPs": [same]}
    if kind.kind == "Pod":
        volume, account = sent.get("volumes", []), "default"
        old["spec"] |= {"volumes": volume, "serviceAccountName": account, "serviceAccount": account}
        for mine, theirs in zip(old["spec"]["containers"], sent["containers"], strict=True):
            mine["volumeMounts"] = theirs.get("volumeMounts", [])
        old["spec"]["tolerations"] = sent.get("tolerations", [])
    new, _ = strategy.prepare(kind, {**old, "spec": sent})
    strategy.default(kind, old)
    strategy.default(kind, new)
    if errors := strategy.validate_update(kind, new, old):
        raise invalid(kind, new["metadata"]["name"], errors)


@pytest.mark.parametrize("case", [c for c in CASES if _pure(c)], ids=lambda c: str(c["name"]))
def test_as_recorded(case: dict[str, Any]) -> None:
    kind = _kind(case["path"])
    strictness = (re.search(r"fieldValidation=(\w+)", case["path"]) or ["", "Strict"])[1]
    manifest = case["manifest"]
    warnings: list[str] = []
    try:
        if case["method"] == "PUT":
            _update(kind, manifest, case["path"])
        else:
            _, warnings = _create(kind, manifest, strictness)
    except StatusError as error:
        status = error.to_status()
        got = {k: status.get(k) for k in ("code", "reason", "message", "details")}
        want = {k: case.get(k) for k in ("code", "reason", "message", "details")}
        if case["name"] in FIRST_LINE_ONLY:
            for side in (got, want):
                side["message"] = side["message"].partition("\n")[0]
                side["details"]["causes"][0]["message"] = side["details"]["causes"][0]["message"].partition("\n")[0]
        assert got == want
    else:
        assert case["code"] in (200, 201), case["message"]
        assert [f'299 - "{w}"'.replace('d "spec', 'd \\"spec').replace('o""', 'o\\""') for w in warnings] == case.get(
            "warnings", []
        )


def test_every_case_is_accounted_for() -> None:
    assert len(CASES) == 102
    assert {c["name"] for c in CASES} >= SERVER | FIRST_LINE_ONLY

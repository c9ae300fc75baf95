"""Deletion: finalizers, grace, preconditions, propagation, collections."""

from __future__ import annotations

import pytest

from .serving import Api, Json

MERGE = "application/merge-patch+json"


@pytest.fixture
def pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"


def pod(name: str, node: str = "", **labels: str) -> Json:
    spec: Json = {"containers": [{"name": "c", "image": "busybox"}], "terminationGracePeriodSeconds": 9}
    return {"metadata": {"name": name, "labels": labels}, "spec": {**spec, **({"nodeName": node} if node else {})}}


def test_a_pod_on_a_node_is_given_its_grace(api: Api, pods: str) -> None:
    api.create(pods, pod("a", "node-1"))
    first = api("DELETE", f"{pods}/a").json["metadata"]
    assert first["deletionGracePeriodSeconds"] == 9 and first["deletionTimestamp"] > first["creationTimestamp"]
    later = api("DELETE", f"{pods}/a?gracePeriodSeconds=60").json["metadata"]
    assert later["deletionGracePeriodSeconds"] == 9  # never delayed
    sooner = api("DELETE", f"{pods}/a", {"gracePeriodSeconds": 2}).json["metadata"]
    assert sooner["deletionGracePeriodSeconds"] == 2  # but hastened
    assert api("DELETE", f"{pods}/a?gracePeriodSeconds=0").code == 200
    assert api("GET", f"{pods}/a").code == 404


def test_a_pod_nobody_runs_goes_at_once(api: Api, pods: str) -> None:
    api.create(pods, pod("a"))
    assert api("DELETE", f"{pods}/a").json["metadata"]["name"] == "a"
    assert api("GET", f"{pods}/a").code == 404
    api.create(pods, pod("b", "node-1"))
    assert api("PATCH", f"{pods}/b/status", {"status": {"phase": "Succeeded"}}, MERGE).code == 200
    api("DELETE", f"{pods}/b")
    assert api("GET", f"{pods}/b").code == 404


def test_finalizers_hold_an_object_until_the_last_is_gone(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    api.create(path, {"metadata": {"name": "a", "finalizers": ["x.io/one", "x.io/two"]}})
    deleted = api("DELETE", f"{path}/a").json
    assert deleted["kind"] == "ConfigMap" and deleted["metadata"]["deletionTimestamp"]
    more = {"metadata": {"finalizers": ["x.io/one", "x.io/new"]}}
    refused = api("PATCH", f"{path}/a", more, MERGE)
    assert refused.code == 422 and refused.json["message"] == (
        'ConfigMap "a" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is '
        'being deleted, found new finalizers []string{"x.io/new"}'
    )
    assert api("PATCH", f"{path}/a", {"metadata": {"finalizers": ["x.io/one"]}}, MERGE).code == 200
    assert api("GET", f"{path}/a").code == 200
    assert api("PATCH", f"{path}/a", {"metadata": {"finalizers": None}}, MERGE).code == 200
    assert api("GET", f"{path}/a").code == 404


def test_preconditions(api: Api, pods: str) -> None:
    meta = api.create(pods, pod("a"))["metadata"]
    for precondition in ({"uid": "other"}, {"resourceVersion": "1"}):
        refused = api("DELETE", f"{pods}/a", {"preconditions": precondition})
        assert refused.code == 409 and "Precondition failed" in refused.json["message"]
    assert api("DELETE", f"{pods}/a", {"preconditions": {"uid": meta["uid"]}}).code == 200


def test_propagation_is_the_garbage_collectors_to_carry_out(api: Api, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/replicasets"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    for policy, finalizers in (("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"])):
        api.create(path, {"metadata": {"name": policy.lower()}, "spec": spec})
        kept = api("DELETE", f"{path}/{policy.lower()}", {"propagationPolicy": policy}).json["metadata"]
        assert kept["finalizers"] == finalizers and kept["deletionTimestamp"]
    api.create(path, {"metadata": {"name": "b"}, "spec": spec})
    done = api("DELETE", f"{path}/b?propagationPolicy=Background").json
    assert (done["kind"], done["status"], done["details"]["kind"]) == ("Status", "Success", "replicasets")
    assert api("DELETE", f"{path}/b?propagationPolicy=Sideways").code in (400, 404, 422)


def test_a_collection_by_selector(api: Api, pods: str) -> None:
    for name, team in (("a", "red"), ("b", "red"), ("c", "blue")):
        api.create(pods, pod(name, team=team))
    gone = api("DELETE", f"{pods}?labelSelector=team%3Dred").json
    assert [item["metadata"]["name"] for item in gone["items"]] == ["a", "b"]
    assert [item["metadata"]["name"] for item in api.get(pods)["items"]] == ["c"]


def test_eviction_respects_budgets(api: Api, namespace: str, pods: str) -> None:
    api.create(pods, pod("a", app="x"))
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}
    budgets = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
    api.create(budgets, budget)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}
    refused = api("POST", f"{pods}/a/eviction", eviction)
    assert refused.code == 429 and "disruption budget" in refused.json["message"]
    api("DELETE", f"{budgets}/b")
    assert api("POST", f"{pods}/a/eviction", eviction).code == 201
    assert api("GET", f"{pods}/a").code == 404


def test_a_binding_is_for_good(api: Api, pods: str) -> None:
    api.create(pods, pod("a"))
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"name": "node-1"}}
    assert api("POST", f"{pods}/a/binding", binding).code == 201
    bound = api.get(f"{pods}/a")
    assert bound["spec"]["nodeName"] == "node-1" and bound["status"]["conditions"][0]["type"] == "PodScheduled"
    again = api("POST", f"{pods}/a/binding", binding)
    assert again.code == 409 and "already assigned" in again.json["message"]

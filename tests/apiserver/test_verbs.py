"""Create, read, update, patch, list: what every client relies on."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from .serving import Api, Json, Serving

MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"


@pytest.fixture
def configmaps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def config(name: str, labels: Json | None = None, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels or {}}, "data": data}


def deployment(name: str, image: str = "nginx") -> Json:
    container = {"name": "web", "image": image, "ports": [{"containerPort": 80}]}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def names(listed: Json) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]


def test_create_sets_what_the_system_sets(api: Api, configmaps: str) -> None:
    sent = config("a", x="1")
    sent["metadata"] |= {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "generation": 9}
    meta = api.create(configmaps, sent)["metadata"]
    assert meta["uid"] != "mine" and not meta["creationTimestamp"].startswith("2001") and "generation" not in meta
    assert api("POST", configmaps, sent).json["reason"] == "AlreadyExists"
    sent["metadata"] |= {"name": "b", "resourceVersion": "1"}
    refused = api("POST", configmaps, sent)
    assert (refused.code, refused.json["message"]) == (
        400, "resourceVersion should not be set on objects to be created",
    )  # fmt: skip


def test_generate_name(api: Api, configmaps: str) -> None:
    sent = {**config(""), "metadata": {"generateName": "job-"}}
    made = {api.create(configmaps, sent)["metadata"]["name"] for _ in range(20)}
    assert len(made) == 20 and all(name.startswith("job-") and len(name) == 9 for name in made)


def test_namespaces_must_exist_and_agree(api: Api, namespace: str, configmaps: str) -> None:
    missing = api("POST", "/api/v1/namespaces/nowhere/configmaps", config("a"))
    assert (missing.code, missing.json["message"]) == (404, 'namespaces "nowhere" not found')
    assert api.get("/api/v1/namespaces/nowhere/configmaps")["items"] == []
    other = config("a")
    other["metadata"]["namespace"] = "default"
    assert api("POST", configmaps, other).code == 400
    assert api("GET", "/api/v1/namespaces/x/nodes").code == 404
    api.create(configmaps, config("kept"))
    ended = api("DELETE", f"/api/v1/namespaces/{namespace}")
    assert ended.json["status"]["phase"] == "Terminating"
    refused = api("POST", configmaps, config("late"))
    assert (refused.code, refused.json["reason"]) == (403, "Forbidden")
    assert "because it is being terminated" in refused.json["message"]
    assert api("DELETE", "/api/v1/namespaces/default").code == 403
    finalized = {"metadata": {"name": namespace}, "spec": {"finalizers": []}}
    assert api("PUT", f"/api/v1/namespaces/{namespace}/finalize", finalized).code == 200
    assert api("GET", f"/api/v1/namespaces/{namespace}").code == 404


def test_pages_are_complete_and_consistent(api: Api, configmaps: str) -> None:
    for number in range(7):
        api.create(configmaps, config(f"c{number}"))
    first = api.get(f"{configmaps}?limit=3")
    assert names(first) == ["c0", "c1", "c2"] and first["metadata"]["remainingItemCount"] == 4
    api.create(configmaps, config("c2b"))
    second = api.get(f"{configmaps}?limit=3&continue={first['metadata']['continue']}")
    third = api.get(f"{configmaps}?limit=3&continue={second['metadata']['continue']}")
    assert names(second) + names(third) == ["c2b", "c3", "c4", "c5", "c6"]
    assert third["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in third["metadata"]
    assert api("GET", f"{configmaps}?continue=nonsense").code == 400


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("labelSelector=tier=front", "a b"),
        ("labelSelector=tier!=front", "c d"),
        ("labelSelector=tier in (front,back),app", "a"),
        ("labelSelector=!tier", "d"),
        ("fieldSelector=metadata.name=c", "c"),
        ("fieldSelector=metadata.name!=c&labelSelector=tier", "a b"),
    ],
)
def test_selectors(api: Api, configmaps: str, query: str, found: str) -> None:
    for name, labels in {
        "a": {"tier": "front", "app": "x"},
        "b": {"tier": "front"},
        "c": {"tier": "back"},
        "d": {},
    }.items():
        api.create(configmaps, config(name, labels))
    assert names(api.get(f"{configmaps}?{quote(query, safe='=&')}")) == found.split()
    assert api("GET", f"{configmaps}?labelSelector=a%20b%20c").code == 400


def test_dry_run_changes_nothing(cluster: Serving, api: Api, namespace: str, configmaps: str) -> None:
    api.create(configmaps, config("a", x="1"))
    before = cluster.registry.store.revision
    dry = "?dryRun=All"
    assert api("POST", configmaps + dry, config("b")).code == 201
    assert api("PUT", f"{configmaps}/a{dry}", config("a", x="2")).json["data"] == {"x": "2"}
    assert api("PATCH", f"{configmaps}/a{dry}", {"data": {"x": "3"}}, MERGE).json["data"] == {"x": "3"}
    assert api("DELETE", f"{configmaps}/a{dry}").code == 200
    assert api("DELETE", f"{configmaps}/a", {"dryRun": ["All"]}).code == 200
    services = f"/api/v1/namespaces/{namespace}/services"
    port = {"port": 80, "nodePort": 31999}
    service = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "clusterIP": "10.96.0.77", "ports": [port]}}
    assert api("POST", services + dry, service).code == 201
    assert api.get(f"{configmaps}/a")["data"] == {"x": "1"} and cluster.registry.store.revision == before
    api.create(services, service)  # nothing was reserved
    moved = {**api.get(f"{services}/s"), "spec": {**service["spec"], "ports": [{"port": 80, "nodePort": 31998}]}}
    assert api("PUT", f"{services}/s{dry}", moved).code == 200
    other: Json = {"metadata": {"name": "t"}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 31999}]}}
    assert "already allocated" in api("POST", services, other).json["message"]
    other["spec"]["ports"][0]["nodePort"] = 31998
    api.create(services, other)


def test_field_validation(api: Api, configmaps: str) -> None:
    sent = json.dumps({**config("a"), "wrong": 1})[:-1] + ', "data": {}}'
    strict = api("POST", f"{configmaps}?fieldValidation=Strict", sent)
    assert (strict.code, strict.json["message"]) == (
        400,
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: '
        'duplicate field "data", unknown field "wrong"',
    )
    warned = api("POST", f"{configmaps}?fieldValidation=Warn&dryRun=All", sent)
    assert warned.warnings == ['299 - "duplicate field \\"data\\""', '299 - "unknown field \\"wrong\\""']
    quiet = api("POST", f"{configmaps}?fieldValidation=Ignore", sent)
    assert quiet.code == 201 and not quiet.warnings and "wrong" not in quiet.json
    patched = api("PATCH", f"{configmaps}/a?fieldValidation=Strict", {"wrong": 1}, MERGE)
    assert patched.code in (400, 422)


def test_a_poison_object_cannot_get_in(api: Api, configmaps: str) -> None:
    for poison in ({"data": {"a": 1}}, {"data": []}, {"metadata": {"name": "a", "labels": {"a": 1}}}):
        assert api("POST", configmaps, {**config("a"), **poison}).code == 400
        api("POST", configmaps, config("there"))
        assert api("PATCH", f"{configmaps}/there", poison, MERGE).code >= 400
    assert names(api.get(configmaps)) == ["there"]


def test_patches(api: Api, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    api.create(path, deployment("d"))
    template = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "busybox"}]}}}}
    both = api("PATCH", f"{path}/d", template, STRATEGIC).json["spec"]["template"]["spec"]["containers"]
    assert {c["name"]: c["image"] for c in both} == {"side": "busybox", "web": "nginx"}
    operations = [
        {"op": "replace", "path": "/spec/replicas", "value": 5},
        {"op": "test", "path": "/kind", "value": "?"},
    ]
    assert api("PATCH", f"{path}/d", operations, JSON_PATCH).code == 422
    patched = api("PATCH", f"{path}/d", operations[:1], JSON_PATCH).json
    assert patched["spec"]["replicas"] == 5 and patched["metadata"]["generation"] == 3
    merged = api("PATCH", f"{path}/d", {"spec": {"paused": True, "replicas": None}}, MERGE).json
    assert merged["spec"]["paused"] is True and merged["spec"]["replicas"] == 1
    stale = {"metadata": {"resourceVersion": "1"}}
    assert api("PATCH", f"{path}/d", stale, MERGE).json["reason"] == "Conflict"
    assert api("PATCH", f"{path}/d", {"metadata": {"name": "other"}}, MERGE).code == 400


def test_apply_creates_then_merges(api: Api, configmaps: str) -> None:
    path = f"{configmaps}/a?fieldManager=test"
    yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {when: '2024-01-01', %s: 'y'}\n"
    assert api("PATCH", path, yaml % "x", APPLY).code == 201
    assert api("PATCH", path, yaml % "z", APPLY).json["data"] == {"when": "2024-01-01", "z": "y"}


def test_what_changes_nothing_writes_nothing(api: Api, configmaps: str) -> None:
    made = api.create(configmaps, config("a", x="1"))
    assert api("PUT", f"{configmaps}/a", made).revision == made["metadata"]["resourceVersion"]
    assert api("PATCH", f"{configmaps}/a", {"data": {"x": "1"}}, MERGE).revision == made["metadata"]["resourceVersion"]


def test_status_and_spec_are_written_apart(api: Api, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    made = api.create(path, {**deployment("d"), "status": {"replicas": 7}})
    assert made["metadata"]["generation"] == 1 and "replicas" not in made.get("status", {})
    both = {**made, "status": {"replicas": 3}, "spec": {**made["spec"], "replicas": 9}}
    after = api("PUT", f"{path}/d/status", both).json
    assert (after["status"]["replicas"], after["spec"]["replicas"], after["metadata"]["generation"]) == (3, 1, 1)
    again = api("PUT", f"{path}/d", {**after, "status": {}, "spec": {**after["spec"], "replicas": 2}}).json
    assert (again["status"]["replicas"], again["spec"]["replicas"], again["metadata"]["generation"]) == (3, 2, 2)
    scale = api.get(f"{path}/d/scale")
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 2}, "app=d")
    assert api("PATCH", f"{path}/d/scale", {"spec": {"replicas": 4}}, MERGE).json["spec"]["replicas"] == 4
    assert api.get(f"{path}/d")["spec"]["replicas"] == 4


def test_tables_and_metadata_only(api: Api, configmaps: str) -> None:
    api.create(configmaps, config("a", x="1"))
    table = api.get(configmaps, accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    assert table["kind"] == "Table" and table["rows"][0]["cells"][:2] == ["a", 1]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    partial = api.get(f"{configmaps}/a", accept="application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
    assert partial["kind"] == "PartialObjectMetadata" and "data" not in partial
    assert api("GET", configmaps, accept="text/plain").code == 406


def test_kinds_nobody_acts_on_are_kept_with_a_warning(api: Api, namespace: str) -> None:
    ingress = {"metadata": {"name": "i"}, "spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 1}}}}}
    answer = api("POST", f"/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses", ingress)
    assert answer.code == 201 and answer.warnings

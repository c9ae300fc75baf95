"""Every GA built-in kind: created, read, listed as a Table, watched, patched, applied, deleted."""

from __future__ import annotations

import json

import pytest

from minik8s_net.api.kinds import LIVE, Kind

from .samples import KINDS, path_of, sample
from .samples import test_nothing_is_missing as test_there_is_a_sample_of_each_kind  # noqa: F401
from .serving import Api, Serving

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.kind}.{kind.group}/{kind.version}")
def test_each_kind_is_served(api: Api, namespace: str, kind: Kind) -> None:
    manifest, collection = sample(kind, f"one-{namespace}", namespace), path_of(kind, namespace)
    name = manifest["metadata"]["name"]
    made = api("POST", f"{collection}?fieldValidation=Strict", manifest)
    assert made.code == 201, made.body
    assert (kind.plural in LIVE) != any("nothing in this cluster acts on it" in w for w in made.warnings)
    assert made.json["kind"] == kind.kind and made.json["apiVersion"] == kind.api_version
    got = api.get(f"{collection}/{name}")
    assert got == made.json
    table = api.get(f"{collection}?fieldSelector=metadata.name%3D{name}", accept=TABLE)
    assert len(table["rows"]) == 1 and len(table["rows"][0]["cells"]) == len(table["columnDefinitions"])
    with api.open("GET", f"{collection}?watch=1&fieldSelector=metadata.name%3D{name}&timeoutSeconds=5") as watch:
        event = json.loads(watch.readline())
        assert event["type"] == "ADDED" and event["object"] == got
        api.close()
    merge = {"metadata": {"labels": {"patched": "yes"}}}
    assert api("PATCH", f"{collection}/{name}", merge, "application/merge-patch+json").code == 200
    again = api(
        "PATCH", f"{collection}/{name}?fieldManager=me&force=true", json.dumps(manifest), "application/apply-patch+yaml"
    )
    assert again.code == 200 and again.json["metadata"]["labels"]["patched"] == "yes", again.body
    assert name in [item["metadata"]["name"] for item in api.get(f"{collection}?labelSelector=patched")["items"]]
    assert api("DELETE", f"{collection}/{name}?gracePeriodSeconds=0").code == 200


def test_events_of_both_groups_are_the_same_objects(api: Api, namespace: str) -> None:
    core, events = f"/api/v1/namespaces/{namespace}/events", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
    about = {"kind": "Pod", "name": "p", "namespace": namespace}
    api.create(
        core, {"metadata": {"name": "a"}, "involvedObject": about, "message": "hello", "reason": "R", "count": 3}
    )
    seen = api.get(f"{events}/a")
    assert (seen["apiVersion"], seen["note"], seen["regarding"], seen["deprecatedCount"]) == (
        "events.k8s.io/v1", "hello", about, 3,
    )  # fmt: skip
    found = api.get(f"{events}?fieldSelector=regarding.name%3Dp")["items"]
    assert [item["metadata"]["name"] for item in found] == ["a"]
    assert api("DELETE", f"{events}/a").code == 200 and api("GET", f"{core}/a").code == 404


def test_autoscalers_of_both_versions_are_the_same_objects(api: Api, namespace: str) -> None:
    one, two = (f"/apis/autoscaling/{v}/namespaces/{namespace}/horizontalpodautoscalers" for v in ("v1", "v2"))
    spec = {
        "maxReplicas": 4,
        "scaleTargetRef": {"kind": "Deployment", "name": "d"},
        "targetCPUUtilizationPercentage": 70,
    }
    api.create(one, {"metadata": {"name": "h"}, "spec": spec})
    metric = api.get(f"{two}/h")["spec"]["metrics"][0]["resource"]
    assert metric == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    memory = {"type": "Resource", "resource": {"name": "memory", "target": {"type": "Value", "averageValue": "1Gi"}}}
    whole = api.get(f"{two}/h")
    whole["spec"]["metrics"].append(memory)
    assert api("PUT", f"{two}/h", whole).code == 200
    face = api.get(f"{one}/h")
    assert face["spec"]["targetCPUUtilizationPercentage"] == 70 and "metrics" not in face["spec"]
    face["spec"]["targetCPUUtilizationPercentage"] = 20
    assert api("PUT", f"{one}/h", face).code == 200
    metrics = api.get(f"{two}/h")["spec"]["metrics"]  # what v1 cannot say is kept
    assert [m["resource"]["name"] for m in metrics] == ["cpu", "memory"]
    assert metrics[0]["resource"]["target"]["averageUtilization"] == 20


def test_a_dry_run_of_anything_writes_nothing(cluster: Serving, api: Api, namespace: str) -> None:
    stored = [kind for kind in KINDS if kind.home is kind and kind.kind != "Namespace"]
    for kind in stored:
        api.create(path_of(kind, namespace), sample(kind, f"dry-{namespace}", namespace))
    before = cluster.registry.store.revision
    merge, apply = "application/merge-patch+json", "application/apply-patch+yaml"
    changed = {"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 9}, "status": {"replicas": 9}}
    for kind in KINDS:
        manifest, collection = sample(kind, f"dry-{namespace}", namespace), path_of(kind, namespace)
        one, labels = f"{collection}/{manifest['metadata']['name']}", {"metadata": changed["metadata"]}
        api("POST", f"{collection}?dryRun=All", sample(kind, f"new-{namespace}", namespace))
        api("PUT", f"{one}?dryRun=All", {**manifest, "metadata": {**manifest["metadata"], **labels["metadata"]}})
        api("PATCH", f"{one}?dryRun=All", labels, merge)
        api("PATCH", f"{one}?dryRun=All&fieldManager=x&force=true", json.dumps(manifest), apply)
        for subresource in ("status", "scale", "eviction", "finalize", "resize", "ephemeralcontainers"):
            if subresource in kind.subresources:
                api("PATCH", f"{one}/{subresource}?dryRun=All", changed, merge)
                api("POST", f"{one}/{subresource}?dryRun=All", {})
        assert api("DELETE", f"{one}?dryRun=All").code in (200, 403, 404)
        api("DELETE", f"{collection}?dryRun=All")
    assert cluster.registry.store.revision == before
    for kind in stored:
        api("DELETE", f"{path_of(kind, namespace)}/{sample(kind, f'dry-{namespace}')['metadata']['name']}")

"""Server-side apply: who owns which field, conflicts, take-overs, and what goes when nobody wants it any more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .serving import Answer, Api, Json, Serving

APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
KUBECTL = shutil.which("kubectl")


def deployment(containers: list[Json] | None = None, **spec: Any) -> Json:
    template: Json = {"metadata": {"labels": {"app": "d"}}}
    template["spec"] = {"containers": containers or [{"name": "web", "image": "nginx:1"}]}
    spec = {"selector": {"matchLabels": {"app": "d"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


@pytest.fixture
def path(namespace: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/deployments/d"


def apply(api: Api, path: str, manifest: Json, manager: str, query: str = "") -> Answer:
    return api("PATCH", f"{path}?fieldManager={manager}{query}", json.dumps(manifest), APPLY)


def containers(api: Api, path: str) -> list[Json]:
    found: list[Json] = api.get(path)["spec"]["template"]["spec"]["containers"]
    return found


def managers(obj: Json) -> dict[str, Json]:
    return {f"{e['manager']}/{e['operation']}": e["fieldsV1"] for e in obj["metadata"].get("managedFields", ())}


def test_what_its_manager_no_longer_applies_goes(api: Api, path: str) -> None:
    side = {"name": "side", "image": "busybox", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
    web: Json = {"name": "web", "image": "nginx:1", "ports": [{"containerPort": 80}]}
    assert apply(api, path, deployment([web, side], replicas=3), "ann").code == 201
    side["env"].pop()
    assert apply(api, path, deployment([side, web]), "ann").code == 200
    assert {c["name"]: [e["name"] for e in c.get("env", [])] for c in containers(api, path)} == {
        "web": [],
        "side": ["A"],
    }
    assert api.get(path)["spec"]["replicas"] == 1  # back to the default
    del web["ports"]
    assert apply(api, path, deployment([web]), "ann").code == 200
    (left,) = containers(api, path)
    assert left["name"] == "web" and "ports" not in left
    again = apply(api, path, deployment([web]), "ann")
    assert again.revision == api.get(path)["metadata"]["resourceVersion"] and again.json["metadata"]["generation"] == 3


def test_a_conflict_names_manager_and_field(api: Api, path: str) -> None:
    assert apply(api, path, deployment(replicas=2), "ann").code == 201
    refused = apply(api, path, {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 5}}, "bob")
    assert (refused.code, refused.json["reason"]) == (409, "Conflict")
    assert refused.json["message"] == 'Apply failed with 1 conflict: conflict with "ann": .spec.replicas'
    assert refused.json["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "ann"', "field": ".spec.replicas"}
    ]
    web = {"name": "web", "image": "nginx:2"}
    both = apply(api, path, deployment([web], replicas=5), "bob").json["message"]
    assert both == (
        'Apply failed with 2 conflicts: conflicts with "ann":\n- .spec.replicas\n'
        '- .spec.template.spec.containers[name="web"].image'
    )
    assert api.get(path)["spec"]["replicas"] == 2


def test_shared_and_forced_fields(api: Api, path: str) -> None:
    apply(api, path, deployment(replicas=2), "ann")
    assert apply(api, path, deployment(replicas=2), "bob").code == 200  # the same value: both own it
    assert apply(api, path, deployment(), "ann").json["spec"]["replicas"] == 2  # bob still wants it
    assert apply(api, path, deployment(replicas=7), "bob").json["spec"]["replicas"] == 7
    forced = apply(api, path, deployment(replicas=4), "ann", "&force=true")
    assert forced.json["spec"]["replicas"] == 4
    owned = managers(forced.json)
    assert "f:replicas" in owned["ann/Apply"]["f:spec"] and "f:replicas" not in owned["bob/Apply"]["f:spec"]
    wrong = api("PATCH", f"{path}?force=true", {}, MERGE)
    assert wrong.json["message"] == (
        'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch'
    )


def test_updates_take_fields_over(api: Api, path: str) -> None:
    apply(api, path, deployment(replicas=2), "ann")
    scaled = {"spec": {"replicas": 6}}
    assert api("PATCH", f"{path}/scale?fieldManager=kubectl", scaled, MERGE).code == 200
    refused = apply(api, path, deployment(replicas=2), "ann").json["message"]
    assert refused.endswith('conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas')
    assert api("PATCH", path, {"spec": {"paused": True}}, MERGE, user_agent="curl/8.1").code == 200
    owned = managers(api.get(path))
    assert owned["curl/Update"] == {"f:spec": {"f:paused": {}}}
    assert owned["kubectl/Update"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in owned["ann/Apply"]["f:spec"]


def test_what_was_there_before_the_first_apply(cluster: Serving, api: Api, namespace: str, path: str) -> None:
    from lightkube.resources.apps_v1 import Deployment

    made = deployment()
    made["metadata"]["namespace"] = namespace
    cluster.call(lambda: cluster.registry.create(Deployment, made))
    assert "managedFields" not in api.get(path)["metadata"]
    refused = apply(api, path, deployment([{"name": "web", "image": "nginx:9"}]), "ann").json["message"]
    assert 'conflict with "before-first-apply" using apps/v1' in refused


def test_lists_maps_and_sets_merge_by_their_kind(api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services/s"
    ports = [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    first = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": ports, "selector": {"a": "b"}}}
    assert apply(api, path, first, "ann").code == 201
    more = {"apiVersion": "v1", "kind": "Service", "metadata": {"finalizers": ["example.com/bob"]}}
    more["spec"] = {"ports": [{"name": "dns-tcp", "port": 53}]}  # the same number, another protocol
    assert apply(api, path, more, "bob").code == 200
    meta = {"metadata": {"finalizers": ["example.com/ann"]}}
    both = apply(api, path, {**first, **meta}, "ann").json
    assert [p["name"] for p in both["spec"]["ports"]] == ["http", "dns", "dns-tcp"]
    assert both["metadata"]["finalizers"] == ["example.com/bob", "example.com/ann"]
    selector = {"apiVersion": "v1", "kind": "Service", "spec": {"selector": {"c": "d"}}}  # atomic: all or nothing
    assert apply(api, path, selector, "bob").json["details"]["causes"][0]["field"] == ".spec.selector"
    twice = {**first, "spec": {"ports": [{"port": 80, "name": "x"}, {"port": 80, "name": "y"}]}}
    assert 'duplicate entries for key [port=80,protocol="TCP"]' in apply(api, path, twice, "ann").json["message"]
    unknown = apply(api, path, {**first, "spec": {"prots": []}}, "ann")
    assert (unknown.code, unknown.json["message"]) == (
        400,
        f"failed to create typed patch object ({namespace}/s; /v1, Kind=Service): .spec.prots: "
        "field not declared in schema",
    )


def test_what_was_created_with_repeats_keeps_them(api: Api, path: str) -> None:
    env = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    web = {"name": "web", "image": "nginx", "env": env}
    api.create(path.removesuffix("/d"), deployment([web]))
    more = deployment([{"name": "web", "image": "nginx", "env": [{"name": "B", "value": "3"}]}])
    assert apply(api, path, more, "ann").code == 200
    assert containers(api, path)[0]["env"] == [*env, {"name": "B", "value": "3"}]
    nameless = apply(api, path, deployment([{"image": "x"}]), "ann")
    assert nameless.code == 400 and nameless.json["message"].endswith(
        ".spec.template.spec.containers: element 0: associative list with keys has an element that omits key field "
        '"name" (and doesn\'t have default value)'
    )


def test_new_items_stand_where_the_manifest_puts_them(api: Api, path: str) -> None:
    def named(*names: str) -> Json:
        return deployment([{"name": name, "image": "x"} for name in names])

    apply(api, path, named("a", "b", "c"), "ann")
    apply(api, path, named("b", "new", "c"), "bob")
    assert [c["name"] for c in containers(api, path)] == ["a", "b", "new", "c"]
    apply(api, path, named("first", "a"), "eve")
    assert [c["name"] for c in containers(api, path)] == ["a", "b", "new", "c", "first"]


def test_managed_fields_can_be_read_and_reset(api: Api, path: str) -> None:
    apply(api, path, deployment(replicas=2), "ann")
    owned = managers(api.get(path))["ann/Apply"]["f:spec"]
    item = owned["f:template"]["f:spec"]["f:containers"]
    assert item == {'k:{"name":"web"}': {".": {}, "f:name": {}, "f:image": {}}}
    assert owned["f:selector"] == {} and owned["f:replicas"] == {}
    reset = api("PATCH", path, {"metadata": {"managedFields": [{}]}}, MERGE)
    assert "managedFields" not in reset.json["metadata"]
    nonsense = {"metadata": {"managedFields": [{"manager": "x", "operation": "Sing"}]}}
    assert api("PATCH", path, nonsense, MERGE).code == 200
    dry = apply(api, path, deployment(replicas=9), "new", "&force=true&dryRun=All")
    assert dry.json["spec"]["replicas"] == 9 and api.get(path)["spec"]["replicas"] == 2


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed: .ci/run installs it")
def test_kubectl_server_side_and_client_side(cluster: Serving, namespace: str, tmp_path: Path, api: Api) -> None:
    def kubectl(*words: str, fails: bool = False) -> str:
        env = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(tmp_path)}
        done = subprocess.run(
            [str(KUBECTL), "-n", namespace, *words], env=env, capture_output=True, text=True, timeout=60
        )
        assert bool(done.returncode) == fails, done.stderr
        return done.stdout + done.stderr

    manifest = tmp_path / "d.yaml"
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/d"

    def say(image: str, replicas: int = 2) -> str:
        manifest.write_text(json.dumps(deployment([{"name": "web", "image": image}], replicas=replicas)))
        return str(manifest)

    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", say("nginx:1"))
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", say("nginx:2"))
    kubectl("apply", "-f", say("nginx:3"))  # and client-side after it
    assert containers(api, path)[0]["image"] == "nginx:3"
    kubectl("apply", "--server-side", "-f", say("nginx:4"))  # its own: no conflict
    assert containers(api, path)[0]["image"] == "nginx:4"
    kubectl("scale", "deployment/d", "--replicas=5")
    said = kubectl("apply", "--server-side", "-f", say("nginx:4"), fails=True)
    assert ".spec.replicas" in said and "--force-conflicts" in said
    kubectl("apply", "--server-side", "--force-conflicts", "-f", say("nginx:4"))
    assert api.get(path)["spec"]["replicas"] == 2
    said = kubectl("apply", "--server-side", "--field-manager=other", "-f", say("nginx:5"), fails=True)
    assert "conflict with" in said
    assert "managedFields" not in kubectl("get", "deployment", "d", "-o", "yaml")
    assert "fieldsV1" in kubectl("get", "deployment", "d", "-o", "yaml", "--show-managed-fields")

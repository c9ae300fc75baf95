"""What is written beside the object: debugging containers, sizes, names made up, fields to select by."""

from __future__ import annotations

from typing import Any

import pytest

from minik8s_net.apiserver.registry import metadata

from .serving import Api, Serving

MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"


@pytest.fixture
def pod(api: Api, namespace: str) -> str:
    path = f"/api/v1/namespaces/{namespace}/pods"
    sized = {"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "100m"}}}
    api.create(path, {"metadata": {"name": "p"}, "spec": {"containers": [sized]}})
    return f"{path}/p"


def test_debugging_containers_are_added_but_never_taken_away(api: Api, pod: str) -> None:
    debugger = {"name": "debug", "image": "busybox"}
    patch = {"spec": {"ephemeralContainers": [debugger]}}
    assert api("PATCH", pod, patch, STRATEGIC).code == 422  # not through the pod itself
    added = api("PATCH", f"{pod}/ephemeralcontainers", patch, STRATEGIC)
    assert added.code == 200, added.body
    assert [c["name"] for c in added.json["spec"]["ephemeralContainers"]] == ["debug"]
    gone = api("PATCH", f"{pod}/ephemeralcontainers", {"spec": {"ephemeralContainers": []}}, MERGE)
    assert gone.code == 422 and 'ephemeral containers "debug" may not be removed' in gone.json["message"]
    changed = {"spec": {"ephemeralContainers": [{**debugger, "image": "alpine"}]}}
    assert "may not be changed" in api("PATCH", f"{pod}/ephemeralcontainers", changed, MERGE).json["message"]


def test_resize_changes_resources_only(api: Api, pod: str) -> None:
    bigger = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "300m"}}}]}}
    assert api("PATCH", pod, bigger, STRATEGIC).code == 422
    both = {"spec": {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "300m"}}}]}}
    resized = api("PATCH", f"{pod}/resize", both, STRATEGIC)
    (container,) = resized.json["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "300m"} and container["image"] == "nginx"
    stale = {"metadata": {"resourceVersion": "1"}}
    assert api("PATCH", f"{pod}/resize", stale, MERGE).code == 409


def test_a_made_up_name_that_is_taken_is_thrown_again(
    api: Api, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    thrown = iter(["aaaaa", "aaaaa", "aaaaa", "bbbbb"])
    monkeypatch.setattr(metadata, "random_suffix", lambda: next(thrown))
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    names = [api.create(path, {"metadata": {"generateName": "x-"}})["metadata"]["name"] for _ in range(2)]
    assert names == ["x-aaaaa", "x-bbbbb"]
    monkeypatch.setattr(metadata, "random_suffix", lambda: "aaaaa")
    assert api("POST", path, {"metadata": {"generateName": "x-"}}).json["reason"] == "AlreadyExists"


@pytest.mark.parametrize(
    ("path", "field", "said"),
    [
        ("/api/v1/pods", "spec.x", "field label not supported: spec.x"),
        ("/api/v1/services", "spec.x", "field label not supported: spec.x"),
        ("/apis/batch/v1/jobs", "spec.x", 'field label "spec.x" not supported for Job'),
        ("/apis/apps/v1/deployments", "spec.x", '"spec.x" is not a known field selector: only "metadata.name", '
                                                '"metadata.namespace"'),
    ],
)  # fmt: skip
def test_fields_nobody_can_select_by(api: Api, path: str, field: str, said: str) -> None:
    refused = api("GET", f"{path}?fieldSelector={field}%3D1")
    assert (refused.code, refused.json["message"]) == (400, said)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"propagationPolicy": "Sideways"}, 422, 'propagationPolicy: Unsupported value: "Sideways"'),
        ({"propagationPolicy": "Orphan", "orphanDependents": True}, 422, "cannot be both set"),
        ({"dryRun": ["Some"]}, 422, 'supported values: "All"'),
        ({"dryRun": True}, 400, "cannot unmarshal bool into Go struct field DeleteOptions.dryRun of type []string"),
        ({"preconditions": {"uid": "wrong"}}, 409, "Precondition failed: UID in precondition: wrong"),
        ({"preconditions": {"resourceVersion": "1"}}, 409, "ResourceVersion in precondition: 1"),
    ],
)
def test_delete_options(api: Api, namespace: str, options: Any, code: int, said: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    api.create(path, {"metadata": {"name": "a"}})
    refused = api("DELETE", f"{path}/a", options)
    assert refused.code == code and said in refused.json["message"], refused.body
    assert api("GET", f"{path}/a").code == 200


def test_a_scale_is_checked_too(api: Api, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    api.create(
        path, {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    )
    negative = api("PATCH", f"{path}/d/scale", {"spec": {"replicas": -1}}, MERGE)
    assert (negative.code, negative.json["message"]) == (
        422,
        'Scale.autoscaling "d" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0',
    )
    text = api("PATCH", f"{path}/d/scale", {"spec": {"replicas": "3"}}, MERGE)
    assert text.code == 400 and "cannot unmarshal string into Go struct field" in text.json["message"]
    stale = {"metadata": {"name": "d", "resourceVersion": "1"}, "spec": {"replicas": 3}}
    assert api("PUT", f"{path}/d/scale", stale).code == 409


NONSENSE = ["[]", "3", '"x"', '{"metadata": 3}', '{"spec": []}', '{"spec": {"replicas": []}}', '{"target": 1}',
            '{"deleteOptions": 1}', '{"deleteOptions": {"dryRun": 1}}', '{"spec": {"audiences": 3}}',
            '{"spec": {"boundObjectRef": []}}', '{"spec": {"expirationSeconds": 1}}']  # fmt: skip


@pytest.mark.parametrize("body", NONSENSE)
def test_nonsense_for_each_subresource(api: Api, namespace: str, pod: str, body: str) -> None:
    core, apps = f"/api/v1/namespaces/{namespace}", f"/apis/apps/v1/namespaces/{namespace}"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    api.create(f"{apps}/deployments", {"metadata": {"name": "d"}, "spec": spec})
    api.create(f"{core}/serviceaccounts", {"metadata": {"name": "s"}})
    for path in (f"{pod}/eviction?dryRun=All", f"{pod}/binding", f"{core}/serviceaccounts/s/token", f"{core}/bindings"):
        assert api("POST", path, body).code < 500, path
    for path in (f"{apps}/deployments/d/scale", f"{apps}/deployments/d/status", f"{pod}/resize"):
        for method, media in (("PUT", "application/json"), ("PATCH", MERGE), ("PATCH", STRATEGIC)):
            assert api(method, path, body, media).code < 500, path


def test_a_watch_of_one_object_tells_of_no_other(api: Api, pod: str) -> None:
    folder = pod.removesuffix("/p")
    api.create(folder, {"metadata": {"name": "q"}, "spec": {"containers": [{"name": "c", "image": "x"}]}})
    seen = api("GET", f"{pod}?watch=true&timeoutSeconds=1").body.decode().splitlines()
    assert len(seen) == 1 and '"name":"p"' in seen[0]


def test_answers_in_yaml(cluster: Serving, api: Api, pod: str) -> None:
    answer = api("GET", pod, accept="application/yaml")
    assert answer.headers["content-type"] == "application/yaml"
    assert answer.body.startswith(b"kind: Pod\napiVersion: v1\nmetadata:\n  name: p\n")
    assert api("GET", f"{pod}x", accept="application/yaml").body.startswith(b"kind: Status\n")


def test_metadata_is_written_with_the_status_as_far_as_its_kind_lets_it(api: Api, namespace: str, pod: str) -> None:
    node = api.create("/api/v1/nodes", {"metadata": {"name": f"n-{namespace}"}})["metadata"]["name"]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}
    meta = {"labels": {"a": "b"}, "annotations": {"c": "d"}, "ownerReferences": [owner], "uid": None}
    patch = {"metadata": meta, "status": {"message": "hello"}}
    made = api("PATCH", f"{pod}/status", patch, MERGE).json
    assert (made["metadata"]["labels"], made["metadata"]["annotations"]) == ({"a": "b"}, {"c": "d"})
    assert "ownerReferences" not in made["metadata"] and made["metadata"]["uid"] and made["status"]["message"]
    for path in (f"/api/v1/nodes/{node}/status", f"{pod}/status"):
        assert api("PATCH", path, {"metadata": {"labels": {"-": "b"}}}, MERGE).code == 422
    patch = {"metadata": {"labels": {"zone": "a"}}, "spec": {"unschedulable": True}}
    changed = api("PATCH", f"/api/v1/nodes/{node}/status", patch, MERGE).json
    assert changed["metadata"]["labels"]["zone"] == "a" and "spec" not in changed


def test_a_deployments_labels_are_not_its_statuss(api: Api, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    api.create(path, {"metadata": {"name": "d", "labels": {"x": "y"}}, "spec": spec})
    meta = {"labels": {"x": "z"}, "annotations": {"c": "d"}}
    changed = api("PATCH", f"{path}/d/status", {"metadata": meta}, MERGE).json["metadata"]
    assert (changed["labels"], changed["annotations"]) == ({"x": "y"}, {"c": "d"})

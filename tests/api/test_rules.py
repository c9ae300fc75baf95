# ruff: noqa: E501
"""Walker, selectors, patches, quantities and times: small tables."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement

from minik8s_net.api import jsontext, kinds, patch, quantity, selectors, strategy, times
from minik8s_net.api.errors import StatusError

POD, SERVICE = kinds.by_kind("v1", "Pod"), kinds.by_kind("v1", "Service")
assert POD and SERVICE


def _kind(api_version: str, name: str) -> kinds.Kind:
    kind = kinds.by_kind(api_version, name)
    assert kind
    return kind


@pytest.mark.parametrize(
    ("api_version", "kind", "tree", "words"),
    [
        ("v1", "ConfigMap", {"data": {"a": 1}}, "cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        ("v1", "ConfigMap", {"data": []}, "cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string"),
        ("v1", "Secret", {"data": {"a": "%%"}}, "illegal base64 data at input byte 0"),
        ("v1", "Pod", {"spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]}}, "quantities must match"),
        ("v1", "Pod", {"spec": {"containers": [{"resources": {"limits": {"cpu": {}}}}]}}, "quantities must match"),
        ("v1", "Pod", {"spec": {"activeDeadlineSeconds": 1.5}}, "cannot unmarshal number 1.5"),
        ("v1", "Pod", {"spec": {"priority": 2**31}}, "cannot unmarshal number 2147483648 into Go struct field PodSpec.spec.priority of type int32"),
        ("v1", "Pod", {"metadata": {"creationTimestamp": "today"}}, 'parsing time "today"'),
        ("v1", "Pod", {"metadata": {"labels": {"a": True}}}, "cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string"),
        ("coordination.k8s.io/v1", "Lease", {"spec": {"renewTime": 3}}, "cannot unmarshal number"),
        ("v1", "Service", {"spec": {"ports": [{"port": 80, "targetPort": 1.5}]}}, "cannot unmarshal number 1.5"),
        ("v1", "Service", {"spec": {"ports": [{"port": True}]}}, "cannot unmarshal bool"),
        ("v1", "Service", {"spec": []}, "cannot unmarshal array into Go struct field Service.spec of type v1.ServiceSpec"),
    ],
)  # fmt: skip
def test_wrong_types_are_refused(api_version: str, kind: str, tree: dict[str, Any], words: str) -> None:
    with pytest.raises(StatusError, match="cannot be handled as a") as error:
        strategy.prepare(_kind(api_version, kind), tree)
    assert words in error.value.message and error.value.code == 400


def test_nulls_are_absent_and_empty_lists_stay() -> None:
    kind = _kind("networking.k8s.io/v1", "NetworkPolicy")
    for ingress in ([], [{}]):
        tree, _ = strategy.prepare(kind, {"spec": {"podSelector": {}, "ingress": ingress, "egress": None}})
        assert tree["spec"] == {"podSelector": {}, "ingress": ingress}
    tree, _ = strategy.prepare(kind, {"spec": {"podSelector": {}}})
    assert "ingress" not in strategy.default(kind, tree)["spec"]


def test_unknown_and_duplicate_fields_are_all_listed() -> None:
    body = b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","name":"b"},"spec":{"x":1},"y":2}'
    with pytest.raises(StatusError) as error:
        strategy.decode(POD, body)
    assert error.value.message.endswith(
        'strict decoding error: duplicate field "metadata.name", unknown field "spec.x", unknown field "y"'
    )
    tree, warnings = strategy.decode(POD, body, "Warn")
    assert tree["spec"] == {"containers": []} and len(warnings) == 3
    assert strategy.decode(POD, body, "Ignore")[1] == []


def test_nothing_gets_in_that_a_typed_client_cannot_decode() -> None:
    for kind in kinds.all_kinds():
        tree, _ = strategy.prepare(
            kind, {"metadata": {"name": "x", "namespace": "d"} if kind.namespaced else {"name": "x"}}
        )
        strategy.default(kind, tree)
        if kind.storable and not strategy.validate_create(kind, tree):
            assert kind.resource.from_dict(tree).metadata.name == "x"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "body", [b"", b"[", b'{"a"', b"\xff", b"[" * 5000, b'{"a":1}}', b"NaN", b'{"a":' + b"9" * 5000 + b"}"]
)
def test_broken_json_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(StatusError) as error:
        strategy.decode(POD, body)
    assert error.value.code == 400


def test_defaulting_is_idempotent_for_every_kind() -> None:
    for kind in kinds.all_kinds():
        once = strategy.default(kind, strategy.prepare(kind, {"metadata": {"name": "x"}})[0])
        before = json.dumps(once)
        assert json.dumps(strategy.default(kind, once)) == before, kind.kind


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("", {}, True), ("a=b", {"a": "b"}, True), ("a==b", {"a": "c"}, False), ("a!=b", {}, True), ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False), ("a in (b, c),d notin (e)", {"a": "c"}, True), ("a notin (b)", {"a": "b"}, False),
        ("a>1", {"a": "2"}, True), ("a<1", {"a": "2"}, False), ("x.io/a=b", {"x.io/a": "b"}, True), ("a=", {"a": ""}, True),
    ],
)  # fmt: skip
def test_label_selectors(text: str, labels: dict[str, str], expected: bool) -> None:
    assert selectors.parse_labels(text).matches(labels) is expected


@pytest.mark.parametrize("text", ["a in b", "a=b,", "=b", "a b", "a in (b", "!a=b", "a=-x-", "a/b/c=d", "a>x"])
def test_broken_label_selectors(text: str) -> None:
    with pytest.raises(StatusError) as error:
        selectors.parse_labels(text)
    assert error.value.code == 400


def test_selector_objects_json_and_typed() -> None:
    term = {"key": "tier", "operator": "NotIn", "values": ["db"]}
    plain = {"matchLabels": {"a": "b"}, "matchExpressions": [term]}
    typed = LabelSelector(matchLabels={"a": "b"}, matchExpressions=[LabelSelectorRequirement(**term)])
    for selector in (plain, typed):
        assert selectors.matches(selector, {"a": "b"})
        assert not selectors.matches(selector, {"a": "b", "tier": "db"})
    assert selectors.matches({}, {"any": "thing"}) and not selectors.matches(None, {})


def test_field_selectors() -> None:
    pod = {"metadata": {"name": "x"}, "spec": {"nodeName": "n"}, "status": {}}
    assert selectors.parse_fields(POD, "spec.nodeName=n,status.phase!=Running")(pod)
    assert not selectors.parse_fields(POD, "metadata.name=y")(pod)
    with pytest.raises(StatusError, match=r"field label not supported: spec\.foo"):
        selectors.parse_fields(POD, "spec.foo=bar")


def test_merge_patch_rfc7386() -> None:
    assert patch.merge({"a": "b", "c": {"d": "e", "f": "g"}}, {"a": "z", "c": {"f": None}}) == {
        "a": "z",
        "c": {"d": "e"},
    }
    assert patch.merge({"a": [1]}, {"a": {"b": None, "c": 1}}) == {"a": {"c": 1}}


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"op": "add", "path": "/a/-", "value": 3}], {"a": [1, 2, 3]}),
        ([{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ([{"op": "replace", "path": "/a", "value": {"x~/y": 1}}, {"op": "test", "path": "/a/x~0~1y", "value": 1}], {"a": {"x~/y": 1}}),
        ([{"op": "move", "from": "/a/0", "path": "/b"}], {"a": [2], "b": 1}),
        ([{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1, 2], "b": [1, 2]}),
        ([{"op": "test", "path": "/a/0", "value": True}], None),
        ([{"op": "remove", "path": "/nope"}], None),
        ([{"op": "add", "path": "/a/9", "value": 1}], None),
        ([{"op": "fly", "path": "/a"}], None),
    ],
)  # fmt: skip
def test_json_patch_rfc6902(operations: list[Any], expected: Any) -> None:
    original = {"a": [1, 2]}
    if expected is None:
        with pytest.raises(StatusError) as error:
            patch.json_patch(original, operations)
        assert error.value.code == 422
    else:
        assert patch.json_patch(original, operations) == expected
    assert original == {"a": [1, 2]}


def test_strategic_merge() -> None:
    pod = {
        "metadata": {"finalizers": ["a", "b"]},
        "spec": {
            "containers": [{"name": "a", "image": "1"}, {"name": "b"}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
    }

    def after(change: dict[str, Any]) -> Any:
        return patch.strategic(POD.model, pod, change)

    changed = after({"spec": {"containers": [{"name": "a", "image": "2"}, {"name": "c"}]}})["spec"]["containers"]
    assert changed == [{"name": "a", "image": "2"}, {"name": "c"}, {"name": "b"}]  # new ones before the others
    gone = after({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}})["spec"]["containers"]
    assert gone == [{"name": "b"}]
    order = [{"name": "b"}, {"name": "a"}]
    turned = after({"spec": {"$setElementOrder/containers": order, "containers": [{"name": "b", "image": "3"}]}})
    assert [c["name"] for c in turned["spec"]["containers"]] == ["b", "a"]
    replaced = after({"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}})["spec"]["containers"]
    assert replaced == [{"name": "z"}]
    assert after({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}})["metadata"]["finalizers"] == ["b"]
    source = [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]
    kept = after({"spec": {"volumes": source}})["spec"]["volumes"]
    assert kept == [{"name": "v", "hostPath": {"path": "/x"}}]
    with pytest.raises(StatusError, match="declared merge key"):
        after({"spec": {"containers": [{"image": "x"}]}})


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("1000m", "1"), ("0.5", "500m"), ("1024Ki", "1Mi"), ("1.5Gi", "1536Mi"), ("1e3", "1e3"), ("1000", "1k"), ("0", "0"),
     ("100m", "100m"), ("128974848", "128974848"), ("-1.50", "-1500m")],
)  # fmt: skip
def test_quantities(text: str, canonical: str) -> None:
    assert quantity.canonical(text) == canonical
    assert quantity.parse(canonical) == quantity.parse(text)


@pytest.mark.parametrize("text", ["", "1Kb", "x", "1 Gi", "--1", "1e", "1.2.3"])
def test_no_quantities(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        quantity.canonical(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5s"), (119, "119s"), (120, "2m"), (362, "6m2s"), (600, "10m"), (10799, "179m"), (10800, "3h"), (11000, "3h3m"),
     (30000, "8h"), (180000, "2d2h"), (86400 * 8, "8d"), (86400 * 800, "2y70d")],
)  # fmt: skip
def test_ages(seconds: int, text: str) -> None:
    assert times.duration(seconds) == text


def test_times() -> None:
    assert times.canonical("2026-01-01T02:00:00.5+02:00") == "2026-01-01T00:00:00Z"
    assert times.canonical_micro("2026-01-01T00:00:00.1Z") == "2026-01-01T00:00:00.100000Z"


def test_duplicates_are_found_by_path() -> None:
    assert jsontext.load(b'{"a":[{"b":1,"b":2}],"a":3}')[1] == ["a[0].b", "a"]

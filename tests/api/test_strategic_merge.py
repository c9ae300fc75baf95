"""Strategic merge patches, case by case as documented: keys, directives, order.

https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

from typing import Any

import pytest

from minik8s_net.api import kinds
from minik8s_net.api import patch as patches
from minik8s_net.api.errors import StatusError

Json = dict[str, Any]
DEPLOYMENT, POD = kinds.by_kind("apps/v1", "Deployment"), kinds.by_kind("v1", "Pod")
assert DEPLOYMENT and POD


def pod(**spec: Any) -> Json:
    return {"metadata": {"name": "p"}, "spec": spec}


def patched(tree: Json, patch: Json) -> Json:
    assert POD
    return patches.strategic(POD.model, tree, patch)


def names(tree: Json, field: str = "containers") -> list[str]:
    return [item["name"] for item in tree["spec"][field]]


BASE = pod(containers=[{"name": n, "image": f"{n}:1", "args": ["x", "y"]} for n in "abc"], tolerations=[{"key": "t"}])


def test_lists_merge_by_their_key_and_atomic_ones_are_replaced() -> None:
    new = patched(BASE, pod(containers=[{"name": "b", "image": "b:2", "args": ["z"]}, {"name": "d", "image": "d"}]))
    found = {c["name"]: c for c in new["spec"]["containers"]}
    assert found["b"] == {"name": "b", "image": "b:2", "args": ["z"]} and found["a"]["image"] == "a:1"
    assert names(new) == ["a", "b", "d", "c"]
    # the documentation's example: a container that is new comes first
    assert names(patched(pod(containers=[{"name": "one"}]), pod(containers=[{"name": "two"}]))) == ["two", "one"]
    assert patched(BASE, pod(tolerations=[{"key": "u"}]))["spec"]["tolerations"] == [{"key": "u"}]


def test_items_and_maps_are_deleted_and_replaced_by_directives() -> None:
    assert names(patched(BASE, pod(containers=[{"name": "b", "$patch": "delete"}]))) == ["a", "c"]
    assert names(patched(BASE, pod(containers=[{"name": "z"}, {"$patch": "replace"}]))) == ["z"]
    assert patched(BASE, {"spec": {"$patch": "replace", "hostname": "h"}})["spec"] == {"hostname": "h"}
    assert "tolerations" not in patched(BASE, pod(tolerations=None))["spec"]
    gone = patched(
        {**BASE, "metadata": {"name": "p", "labels": {"a": "b"}}}, {"metadata": {"labels": {"$patch": "delete"}}}
    )
    assert not gone["metadata"].get("labels")
    with pytest.raises(StatusError) as refused:
        patched(BASE, {"spec": {"$patch": "dance"}})
    assert refused.value.code == 400


def test_set_element_order() -> None:
    order = {"$setElementOrder/containers": [{"name": n} for n in "cab"]}
    assert names(patched(BASE, {"spec": {**order, "containers": [{"name": "a", "image": "a:2"}]}})) == ["c", "a", "b"]
    assert names(patched(BASE, {"spec": order})) == ["c", "a", "b"]
    with_new = {
        "$setElementOrder/containers": [{"name": n} for n in ("n", "a", "b", "c")],
        "containers": [{"name": "n"}],
    }
    assert names(patched(BASE, {"spec": with_new})) == ["n", "a", "b", "c"]
    # one that the patch's author did not know keeps its place relative to those it knew
    partly = {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}
    assert names(patched(BASE, {"spec": partly})).index("c") < names(patched(BASE, {"spec": partly})).index("a")
    primitive = {"metadata": {"finalizers": ["x/a", "x/b"]}}
    moved = {"metadata": {"finalizers": ["x/c"], "$setElementOrder/finalizers": ["x/c", "x/b", "x/a"]}}
    assert patched(primitive, moved)["metadata"]["finalizers"] == ["x/c", "x/b", "x/a"]


def test_primitive_lists_add_and_delete() -> None:
    tree = {"metadata": {"name": "p", "finalizers": ["x/a", "x/b"]}}
    add = patched(tree, {"metadata": {"finalizers": ["x/b", "x/c"]}})
    assert add["metadata"]["finalizers"] == ["x/a", "x/b", "x/c"]
    gone = patched(tree, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"]}})
    assert gone["metadata"]["finalizers"] == ["x/b"]
    both = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"], "finalizers": ["x/d"]}}
    assert patched(tree, both)["metadata"]["finalizers"] == ["x/d", "x/b"]


def test_retain_keys_clears_a_union() -> None:
    assert DEPLOYMENT
    tree = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert patches.strategic(DEPLOYMENT.model, tree, patch)["spec"]["strategy"] == {"type": "Recreate"}
    volume = pod(volumes=[{"name": "v", "emptyDir": {}}])
    other = pod(volumes=[{"name": "v", "configMap": {"name": "c"}, "$retainKeys": ["name", "configMap"]}])
    assert patched(volume, other)["spec"]["volumes"] == [{"name": "v", "configMap": {"name": "c"}}]


def test_an_item_without_its_key_is_refused() -> None:
    with pytest.raises(StatusError) as refused:
        patched(BASE, pod(containers=[{"image": "x"}]))
    assert "does not contain declared merge key: name" in refused.value.message


def test_the_tree_given_is_left_alone() -> None:
    before = repr(BASE)
    patched(BASE, pod(containers=[{"name": "a", "args": ["q"], "env": [{"name": "A", "value": "b"}]}]))
    assert repr(BASE) == before

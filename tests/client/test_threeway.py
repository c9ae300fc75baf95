"""What apply sends, as a table: last applied, now, patch."""

import pytest

from minik8s_net.client.threeway import ANNOTATION, annotated, strategic_patch


@pytest.mark.parametrize(
    ("last", "now", "patch"),
    [
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1, "b": 2}, {"a": 1}, {"a": 1, "b": None}),
        ({"selector": {"x": "1"}}, {"selector": {"y": "2"}}, {"selector": {"x": None, "y": "2"}}),
        ({"l": ["a"]}, {"l": ["b"]}, {"l": ["b"]}),
        (
            {"c": [{"name": "a", "image": "i", "tty": True}, {"name": "b"}]},
            {"c": [{"name": "a", "image": "j"}]},
            {"c": [{"name": "a", "image": "j", "tty": None}, {"$patch": "delete", "name": "b"}]},
        ),
    ],
)
def test_patch(last: dict, now: dict, patch: dict) -> None:
    made = strategic_patch({"spec": now}, annotated({"spec": last}))
    assert made["spec"] == patch
    assert ANNOTATION in made["metadata"]["annotations"]


def test_an_object_that_was_never_applied_loses_nothing() -> None:
    assert strategic_patch({"spec": {"a": 1}}, {"spec": {"b": 1}})["spec"] == {"a": 1}

"""Volumes that fail, alone and beside others; and how values are written into files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import ConfigMap, Event, Pod

from minik8s_net.kubelet.backoff import BackOff
from minik8s_net.kubelet.fields import go_quoted
from minik8s_net.kubelet.volumes import VolumeError, write_atomically

from .conftest import Node
from .test_pod_endings import OnNode, tool


def config_map(node: Node, name: str, value: str) -> None:
    tree = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}
    node.client.create(ConfigMap, {**tree, "data": {"k": value}})


@pytest.mark.netns
def test_one_volume_that_fails_does_not_keep_the_others_back(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        for name in "first", "second":
            config_map(node, name, "old")
        label = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
        volumes = [
            {"name": "a", "configMap": {"name": "first"}},
            {"name": "b", "configMap": {"name": "second"}},
            {"name": "d", "downwardAPI": {"items": [label]}},
        ]
        mounts = [{"name": name, "mountPath": f"/{name}"} for name in "abd"]
        node.create("reader", tool(volumeMounts=mounts), volumes=volumes)
        await node.until(lambda: node.ready("reader"))
        node.client.delete(ConfigMap, "first", "default")
        await node.until(lambda: "FailedMount" in node.reasons("reader"))
        node.client.patch(ConfigMap, "second", {"data": {"k": "new"}}, "default")
        node.client.patch(Pod, "reader", {"metadata": {"labels": {"tier": "front"}}}, "default")
        folder = node.state.pods / node.pod("reader").metadata.uid / "volumes"
        await node.until(lambda: (folder / "kubernetes.io~configmap/b/k").read_text() == "new", 3)
        await node.until(lambda: "front" in (folder / "kubernetes.io~downward-api/d/labels").read_text(), 3)
        assert await node.run("reader", "cat", "/a/k", "/b/k") == (0, "oldnew"), "what was there stays"

    on_node(script)


@pytest.mark.netns
def test_what_can_not_be_written_is_said(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        config_map(node, "cm", "v")

        def part(path: str) -> dict[str, Any]:
            return {"configMap": {"name": "cm", "items": [{"key": "k", "path": path}]}}

        cases = {"up": ("x", "x/y"), "down": ("x/y", "x"), "long": ("x" * 300,)}
        for name, paths in cases.items():
            volume = {"name": "v", "projected": {"sources": [part(path) for path in paths]}}
            node.create(name, tool(volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=[volume])
        file = [{"name": "f", "configMap": {"name": "cm"}}]
        under = tool(volumeMounts=[{"name": "f", "mountPath": "/f", "subPath": "k/below"}])
        node.create("under", under, volumes=file)
        await node.until(lambda: all("FailedMount" in node.reasons(name) for name in cases))
        await node.until(lambda: bool(s := node.status("under")) and s.state.waiting.reason != "ContainerCreating")
        assert node.status("under").state.waiting.reason == "CreateContainerConfigError"
        said = {e.involvedObject.name: e.message for e in node.client.list(Event, "default") if "Mount" in e.reason}
        clash = '"x" can\'t be a file and the folder of "x/y": give one of them another path'
        assert said["up"] == said["down"] == f'MountVolume.SetUp failed for volume "v" : {clash}'
        assert "File name too long" in said["long"]
        assert {node.pod(name).status.phase for name in cases} == {"Pending"}

    on_node(script)


def test_a_write_that_fails_leaves_all_as_it_was(tmp_path: Path) -> None:
    write_atomically(tmp_path, {"a": (b"1", 0o644)})
    before = sorted(tmp_path.rglob("*"))
    for files in ({"a": (b"2", 0o644), "a/b": (b"", 0o644)}, {"a": (b"2", 0o644), "x" * 300: (b"", 0o644)}):
        with pytest.raises((VolumeError, OSError)):
            write_atomically(tmp_path, files)
        assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "a").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("café 日本 ✓", '"café 日本 ✓"'),
        ('say "a\\b"', r'"say \"a\\b\""'),
        ("a\tb\nc\x07", r'"a\tb\nc\a"'),
        ("\x00\x1b\x7f", r'"\x00\x1b\x7f"'),
        ("\u200b\u00a0\U000e0001", r'"\u200b\u00a0\U000e0001"'),
    ],
)
def test_labels_are_quoted_as_go_does(text: str, written: str) -> None:
    """The right side is what strconv.Quote gives."""
    assert go_quoted(text) == written


def test_back_off_starts_afresh_after_a_run_of_more_than_ten_minutes() -> None:
    back_off = BackOff()
    back_off.next("c", 1000.0)
    ended = 1000.0 + 605
    assert back_off.remaining("c", ended, ended) == 0
    back_off.next("c", ended, ended)
    assert back_off.remaining("c", ended, ended) == 10


@pytest.mark.netns
def test_a_quantity_of_any_form_will_do(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        cpu = {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu", "divisor": "1m"}}
        few = {"limits": {"cpu": "2500u", "memory": "1E6"}}
        mounts = [{"name": "d", "mountPath": "/d"}]
        node.create("few", tool(resources=few, volumeMounts=mounts),
                    volumes=[{"name": "d", "downwardAPI": {"items": [cpu]}}])  # fmt: skip
        await node.until(lambda: node.ready("few"))
        assert node.pod("few").status.qosClass == "Guaranteed"
        assert await node.run("few", "cat", "/d/cpu") == (0, "3"), "rounded up"

    on_node(script)

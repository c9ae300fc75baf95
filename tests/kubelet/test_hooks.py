"""Lifecycle hooks by kind, and fields that have no effect."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from lightkube.resources.core_v1 import Event, Pod

from .conftest import Node
from .test_pod_endings import OnNode, gone, tool

pytestmark = pytest.mark.netns


def hooked(**lifecycle: Any) -> dict[str, Any]:
    return tool(lifecycle=lifecycle)


def test_a_hook_may_sleep(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        began = time.monotonic()
        node.create("sleeps", hooked(postStart={"sleep": {"seconds": 1}}, preStop={"sleep": {"seconds": 1}}))
        await node.until(lambda: node.ready("sleeps"))
        assert 1 <= time.monotonic() - began < 4 and node.status("sleeps").restartCount == 0
        node.client.delete(Pod, "sleeps", "default")
        assert 1 <= await gone(node, "sleeps") < 4

    on_node(script)


def test_any_answer_to_an_http_hook_will_do_and_tcp_is_never_run(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        get = {"httpGet": {"path": "/no/such", "port": 80}}
        node.create("http", {"name": "c", "image": "nginx", "lifecycle": {"preStop": get}})
        node.create("tcp", hooked(postStart={"tcpSocket": {"port": 80}}), terminationGracePeriodSeconds=0)
        await node.until(lambda: node.ready("http"))
        node.client.delete(Pod, "http", "default")
        await gone(node, "http")
        assert "FailedPreStopHook" not in node.reasons("http"), "404 is an answer"
        await node.until(lambda: "FailedPostStartHook" in node.reasons("tcp"))

    on_node(script)


def test_a_failed_hook_gives_the_pods_own_grace_period(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        deaf = tool(command=["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"],
                    lifecycle={"postStart": {"exec": {"command": ["false"]}}})  # fmt: skip
        node.create("deaf", deaf, terminationGracePeriodSeconds=1)
        await node.until(lambda: "FailedPostStartHook" in node.reasons("deaf"))
        await node.until(lambda: bool(s := node.status("deaf")) and s.restartCount == 1, 6)

    on_node(script)


def test_what_has_no_effect_is_said(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        small = [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]
        node.create("wants", tool(), shareProcessNamespace=True, hostIPC=True, volumes=small)
        node.create("plain", tool(), volumes=[{"name": "v", "emptyDir": {}}])
        await node.until(lambda: node.ready("wants") and node.ready("plain"))
        told = [e for e in node.client.list(Event, "default") if e.reason == "FieldIgnored"]
        assert {(e.involvedObject.name, e.type, e.message.split()[0]) for e in told} == {
            ("wants", "Warning", "spec.shareProcessNamespace"),
            ("wants", "Warning", "spec.hostIPC"),
            ("wants", "Warning", "spec.volumes[v].emptyDir.sizeLimit"),
        }

    on_node(script)


def test_a_hook_that_sleeps_is_not_waited_for_once_the_end_is_hastened(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        node.create("slow", hooked(preStop={"sleep": {"seconds": 25}}), terminationGracePeriodSeconds=30)
        await node.until(lambda: node.ready("slow"))
        node.client.delete(Pod, "slow", "default")
        await asyncio.sleep(0.5)
        node.client.delete(Pod, "slow", "default", grace_seconds=1)
        assert await node.until(lambda: node.client.find(Pod, "slow", "default") is None) < 4

    on_node(script)

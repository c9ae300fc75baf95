"""Why a container is started again, and what is told of the attempt before."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod

from .conftest import Node
from .test_pod_endings import OnNode, sh, tool

pytestmark = pytest.mark.netns


def set_image(node: Node, name: str, image: str) -> None:
    containers = [c.to_dict() for c in node.pod(name).spec.containers]
    containers[0]["image"] = image
    node.client.patch(Pod, name, {"spec": {"containers": containers}}, "default")


def test_another_image_is_another_container(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        node.create("runs", tool(), tool("d"))
        node.create("never", tool(), tool("d"), restartPolicy="Never")
        node.create("crash", sh("c", "test -e /etc/alpine-release || exit 1; sleep 600") | {"image": "no.such/image:1"})
        await node.until(lambda: node.ready("runs") and node.ready("never"))
        for name in "runs", "never":
            set_image(node, name, "alpine")
            await node.until(lambda: node.status(name).restartCount == 1 and node.ready(name))  # noqa: B023
            assert node.status(name).image == "alpine" and node.status(name, 1).restartCount == 0
            assert node.status(name).lastState.terminated.exitCode == 0
        await node.until(lambda: bool(s := node.status("crash")) and "ImagePull" in s.state.waiting.reason)
        set_image(node, "crash", "busybox")
        await node.until(lambda: (w := node.status("crash").state.waiting) and w.reason == "CrashLoopBackOff")
        set_image(node, "crash", "nginx")
        attempts = node.status("crash").restartCount
        await node.until(lambda: node.status("crash").restartCount > attempts, 4)

    on_node(script)


def test_the_end_of_the_log_is_the_message_where_it_is_asked_for(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        asked: dict[str, Any] = {"terminationMessagePolicy": "FallbackToLogsOnError"}
        node.create(
            "all",
            sh("short", "echo oh; echo no >&2; exit 2", **asked),
            sh("many", "for n in $(seq 2000); do echo line $n; done; exit 2", **asked),
            sh("long", "head -c 9000 /dev/zero | tr '\\0' x; exit 2", **asked),
            sh("returns", "printf '10%%\\r20%%\\n'; exit 1", **asked),
            sh("own", "echo log; printf said > /dev/termination-log; exit 2", **asked),
            sh("well", "echo log; exit 0", **asked),
            sh("plain", "echo log; exit 2"),
            restartPolicy="Never",
        )
        await node.until(lambda: node.pod("all").status.phase == "Failed")
        said = {s.name: s.state.terminated.message or "" for s in node.pod("all").status.containerStatuses}
        assert {name: said[name] for name in ("own", "well", "plain")} == {"own": "said", "well": "", "plain": ""}
        assert sorted(said["short"].splitlines()) == ["no", "oh"]
        assert said["returns"] == "10%\r20%\n"
        assert said["many"].splitlines() == [f"line {n}" for n in range(1921, 2001)]
        assert said["long"] == "x" * 2047 + "\n"

    on_node(script)

"""How containers and pods end: interrupted waits, kills that take long, deadlines, and what the status says of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod

from .conftest import BUSY, Node

pytestmark = pytest.mark.netns
OnNode = Callable[[Callable[[Node], Any]], None]
DEAF = "trap '' TERM; while :; do sleep 0.05; done"
V = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
VOLUMES = [{"name": "v", "emptyDir": {}}]


def tool(name: str = "c", command: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "command": command or BUSY, **more}


def sh(name: str, script: str, **more: Any) -> dict[str, Any]:
    return tool(name, ["sh", "-c", script], **more)


def unless(path: str, **more: Any) -> dict[str, Any]:
    return {"exec": {"command": ["test", "!", "-e", path]}, "periodSeconds": 1, "failureThreshold": 1, **more}


def file(node: Node, pod: str, name: str) -> Any:
    return node.state.pods / node.pod(pod).metadata.uid / "volumes/kubernetes.io~empty-dir/v" / name


def phases(node: Node) -> list[str]:
    """Every phase that is written from now on."""
    seen: list[str] = []
    node.client.watch(Pod, lambda change: seen.append((change.new.status and change.new.status.phase) or ""))
    return seen


async def gone(node: Node, name: str) -> float:
    return await node.until(lambda: node.client.find(Pod, name, "default") is None)


def test_a_command_that_is_not_there_terminates_where_nothing_starts_again(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        node.create("alone", tool(command=["no-such-program"]), restartPolicy="Never")
        node.create("beside", tool(command=["no-such-program"]), tool("runs"), restartPolicy="Never")
        node.create("init", tool(), initContainers=[tool("i", ["no-such-program"])], restartPolicy="Never")
        node.create("again", tool(command=["no-such-program"]))
        await node.until(lambda: node.pod("alone").status.phase == "Failed" == node.pod("init").status.phase)
        ended = node.status("alone").state.terminated
        assert (ended.exitCode, ended.reason, ended.startedAt.year) == (128, "StartError", 1970)
        assert 'exec: "no-such-program": executable file not found in $PATH' in ended.message
        await node.until(lambda: bool(s := node.status("beside")) and bool(s.state.terminated))
        assert node.pod("beside").status.phase == "Running" and node.status("beside", 1).state.running
        init = node.pod("init").status.initContainerStatuses[0]
        assert init.state.terminated.reason == "StartError"
        assert node.status("init").state.waiting.reason == "PodInitializing", "its turn never came"
        await node.until(lambda: bool(s := node.status("again")) and s.restartCount == 1)
        status = node.status("again")
        assert status.state.waiting and status.lastState.terminated.exitCode == 128

    on_node(script)


def test_readiness_is_written_while_another_container_is_killed(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo pre >> /v/hooks"]}}}
        a = sh("a", DEAF, livenessProbe=unless("/tmp/sick"), lifecycle=hook, **V)
        b = tool("b", readinessProbe=unless("/tmp/busy"))
        node.create("both", a, b, terminationGracePeriodSeconds=25, volumes=VOLUMES)
        await node.until(lambda: node.ready("both"))
        await node.run("both", "touch", "/tmp/sick")
        await node.until(lambda: "Killing" in node.reasons("both"))
        await node.run("both", "touch", "/tmp/busy", container=1)
        await node.until(lambda: not node.status("both", 1).ready and not node.ready("both"), 4)
        await node.run("both", "rm", "/tmp/busy", container=1)
        await node.until(lambda: node.ready("both"), 4)
        assert node.status("both").restartCount == 0, "it is still being killed"
        hooks = file(node, "both", "hooks")
        assert hooks.read_text() == "pre\n"
        node.client.delete(Pod, "both", "default", grace_seconds=3)
        await asyncio.sleep(0.5)
        assert hooks.read_text() == "pre\n", "a hook runs once, also where a deletion interrupts a kill"
        assert await gone(node, "both") < 6

    on_node(script)


def test_a_deletion_interrupts_a_post_start_hook(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        for name, hook in ("exec", {"exec": {"command": ["sleep", "40"]}}), ("sleep", {"sleep": {"seconds": 40}}):
            node.create(name, tool(lifecycle={"postStart": hook}))
        await node.until(lambda: "Started" in node.reasons("exec") and "Started" in node.reasons("sleep"))
        await asyncio.sleep(0.3)
        assert not node.ready("sleep") and "FailedPostStartHook" not in node.reasons("sleep")
        node.client.delete(Pod, "exec", "default", grace_seconds=2)
        node.client.delete(Pod, "sleep", "default", grace_seconds=0)
        assert await gone(node, "exec") < 4
        await node.until(lambda: not node.kubelet._workers, 4)

    on_node(script)


def test_a_status_tells_of_a_crash_before_the_next_attempts_hook(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        hook = {"postStart": {"exec": {"command": ["sh", "-c", "test ! -e /v/again || sleep 20; touch /v/again"]}}}
        node.create("crash", sh("c", "sleep 0.5; exit 3", lifecycle=hook, **V), volumes=VOLUMES)
        await node.until(lambda: bool(s := node.status("crash")) and bool(s.state.terminated))
        assert node.status("crash").state.terminated.exitCode == 3 and not node.ready("crash")
        node.client.delete(Pod, "crash", "default", grace_seconds=1)

    on_node(script)


def test_a_startup_probe_has_its_own_grace_period(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        startup = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
        live = {"exec": {"command": ["true"]}, "terminationGracePeriodSeconds": 60}
        deaf = sh("c", DEAF, startupProbe={**startup, "terminationGracePeriodSeconds": 1}, livenessProbe=live)
        node.create("slow", deaf)
        await node.until(lambda: "Killing" in node.reasons("slow"))
        await node.until(lambda: node.status("slow").restartCount == 1, 5)

    on_node(script)


def test_the_phase_does_not_count_how_sidecars_end(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        side = sh("side", "trap 'exit 143' TERM; while :; do sleep 0.05; done", restartPolicy="Always")
        node.create("good", tool(), initContainers=[side])
        await node.until(lambda: node.ready("good"))
        seen = phases(node)
        node.client.delete(Pod, "good", "default")
        await gone(node, "good")
        assert seen[-1] == "Succeeded"
        node.create("bad", sh("c", "trap 'exit 3' TERM; while :; do sleep 0.05; done"))
        await node.until(lambda: node.ready("bad"))
        node.client.delete(Pod, "bad", "default")
        await gone(node, "bad")
        assert seen[-1] == "Failed"
        volume = [{"name": "v", "configMap": {"name": "none"}}]
        node.create("pending", tool(**V), volumes=volume)
        await node.until(lambda: "FailedMount" in node.reasons("pending"))
        node.client.delete(Pod, "pending", "default")
        await gone(node, "pending")
        assert seen[-1] == "Failed", "one that never ran can't have succeeded"

    on_node(script)


def test_a_deadline_holds_for_what_never_came_to_run(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        late = {"activeDeadlineSeconds": 2}
        node.create("mount", tool(**V), volumes=[{"name": "v", "configMap": {"name": "none"}}], **late)
        node.create("image", tool() | {"image": "no.such/image:1"}, tool("d"), **late)
        node.create("init", tool(), initContainers=[tool("i"), tool("j")], **late)
        node.create("hook", tool(lifecycle={"postStart": {"sleep": {"seconds": 2}}}), **late)
        pods = ("mount", "image", "init", "hook")
        await node.until(lambda: all(node.pod(p).status.reason == "DeadlineExceeded" for p in pods), 8)
        assert {node.pod(p).status.phase for p in pods} == {"Failed"}
        for name in "mount", "image":
            ended = node.status(name).state.terminated
            assert (ended.reason, ended.exitCode) == ("ContainerStatusUnknown", 137), "nobody saw it run or end"
        assert node.status("image", 1).state.terminated.reason == "Completed", "it ran, and was told to end"
        first, second = node.pod("init").status.initContainerStatuses
        assert first.state.terminated.exitCode == 0 and second.state.waiting.reason == "PodInitializing"
        assert node.status("init").state.waiting.reason == "PodInitializing"

    on_node(script)


def test_sidecars_are_asked_to_end_also_where_no_time_is_left(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /v/order"]}}}
        ends = "trap 'echo {0} >> /v/order; {1}' TERM; while :; do sleep 0.05; done"
        side = sh("side", ends.format("side", "sleep 0.3; echo done >> /v/order; exit 0"),
                  restartPolicy="Always", lifecycle=hook, **V)  # fmt: skip
        main = sh("main", ends.format("main", ""), lifecycle={"preStop": {"sleep": {"seconds": 1}}}, **V)
        node.create("both", main, initContainers=[side], volumes=VOLUMES, terminationGracePeriodSeconds=2)
        await node.until(lambda: node.ready("both"))
        order = file(node, "both", "order")
        hold = {"metadata": {"finalizers": ["example.test/hold"]}}
        node.client.patch(Pod, "both", hold, "default")
        text = ""

        def told() -> bool:
            nonlocal text
            text = order.read_text() if order.exists() else text
            return text.endswith("done\n")

        began = time.monotonic()
        node.client.delete(Pod, "both", "default")
        await node.until(told)
        assert text.split() == ["hook", "main", "side", "done"] and time.monotonic() - began < 5
        node.client.patch(Pod, "both", {"metadata": {"finalizers": None}}, "default")

    on_node(script)


def test_a_readiness_gate_is_looked_at_when_it_opens(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        node.create("gated", tool(), readinessGates=[{"conditionType": "example.test/open"}])

        def ready() -> Any:
            return next((c for c in node.pod("gated").status.conditions or () if c.type == "Ready"), None)

        await node.until(lambda: bool(c := ready()) and c.reason == "ReadinessGatesNotReady")
        assert ready().message == ('corresponding condition of pod readiness gate "example.test/open" does not exist.')
        await node.kubelet.settle()
        for status in "True", "False":
            conditions = [c.to_dict() for c in node.pod("gated").status.conditions if c.type != "example.test/open"]
            conditions.append({"type": "example.test/open", "status": status})
            node.client.patch(Pod, "gated", {"status": {"conditions": conditions}}, "default", subresource="status")
            await node.until(lambda: ready().status == status)  # noqa: B023
        assert ready().message == 'the status of pod readiness gate "example.test/open" is not "True", but False'

    on_node(script)


def test_a_lost_pod_that_must_not_restart_has_failed(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        node.create("once", tool(), sh("done", "exit 0"), restartPolicy="Never")
        node.create("again", tool(command=[*BUSY]))
        await node.until(lambda: node.ready("again") and bool(s := node.status("once", 1)) and bool(s.state.terminated))
        for sandbox in await node.runtime.list_pod_sandboxes():
            await node.runtime.remove_pod_sandbox(sandbox.id)
        await node.until(lambda: node.pod("once").status.phase == "Failed")
        lost, ended = (node.status("once", n).state.terminated for n in (0, 1))
        assert (lost.reason, lost.exitCode) == ("ContainerStatusUnknown", 137)
        assert (ended.reason, ended.exitCode) == ("Completed", 0), "what was known stays"
        await node.until(lambda: node.ready("again") and node.status("again").restartCount == 1)
        assert node.status("once").restartCount == 0

    on_node(script)

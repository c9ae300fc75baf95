"""securityContext: as whom containers run, what they may write, and the refusal of those that would be root."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kubelet.conftest import Node
from tests.kubelet.test_kubelet import tool

pytestmark = pytest.mark.netns
OnNode = Callable[[Callable[[Node], Any]], None]
WRITES = "for f in /x /etc/x /tmp/x /usr/share/here/x /dev/shm/x /scratch/x /dev/termination-log; do " \
         "(echo x > $f) 2>/dev/null && echo $f; done; exit 0"  # fmt: skip


def has_users() -> bool:
    """Whether this user namespace has more ids than root's: an ordinary user's has not."""
    return sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines()) > 5000


def messages(node: Node, name: str, reason: str) -> list[str]:
    from lightkube.resources.core_v1 import Event

    events = node.client.list(Event, "default")
    return [e.message or "" for e in events if e.involvedObject.name == name and e.reason == reason]


def test_a_container_runs_as_the_user_it_is_given(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        context = {"runAsUser": 4321, "runAsGroup": 4322, "fsGroup": 4323, "supplementalGroups": [4324]}
        own = {"runAsUser": 4400, "runAsNonRoot": True}
        server = {"name": "server", "image": "agnhost", "args": ["netexec"]}
        volume = [{"name": "work", "mountPath": "/scratch"}]
        node.create(
            "user", tool("pods", volumeMounts=volume), tool("own", securityContext=own), server,
            securityContext=context, volumes=[{"name": "work", "emptyDir": {}}],
        )  # fmt: skip
        await node.until(lambda: node.ready("user"))
        if not has_users():
            said = messages(node, "user", "SecurityContextIgnored")
            assert len(said) == 3
            assert all("cannot be had" in text and "runs as root" in text for text in said)
            assert any("user 4400, group 4322" in text and "container own" in text for text in said)
            assert await node.run("user", "id", "-u") == (0, "0\n")
            return
        said = "id -u; id -g; id -G; grep CapEff /proc/self/status; echo $HOME"
        seen = "4321\n4322\n4322 4323 4324\nCapEff:\t0000000000000000\n/\n"
        code, out = await node.run("user", "sh", "-c", said)
        lines = out.splitlines()
        lines[2] = " ".join(sorted(lines[2].split()))
        assert (code, "\n".join(lines) + "\n") == (0, seen)
        assert (await node.run("user", "id", "-u", container=1))[1] == "4400\n"
        assert (await node.run("user", "sh", "-c", "grep Uid /proc/2/status", container=2))[1].split()[1] == "4321"
        # what such a user must be able to do, and what he must not
        assert (await node.run("user", "sh", "-c", "echo x > /scratch/x && echo y > /dev/stdout"))[0] == 0
        assert (await node.run("user", "sh", "-c", "cat /var/run/secrets/kubernetes.io/serviceaccount/token"))[0] == 0
        assert (await node.run("user", "sh", "-c", "echo x > /etc/passwd"))[0] != 0
        assert (await node.run("user", "chown", "0", "/scratch/x"))[0] != 0

    on_node(script)


def test_a_read_only_root_leaves_the_volumes_writable(on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        mounts = [{"name": "work", "mountPath": "/scratch"}, {"name": "work", "mountPath": "/usr/share/here"}]
        html = [{"name": "work", "mountPath": "/usr/share/nginx/html"}]
        locked = {"readOnlyRootFilesystem": True}
        nginx = {"name": "nginx", "image": "nginx", "securityContext": locked}
        node.create(
            "locked",
            tool("c", ["sh", "-c", WRITES], volumeMounts=mounts, securityContext=locked, workingDir="/made/for/it"),
            nginx,
            {**nginx, "name": "filled", "volumeMounts": html, "command": ["sh", "-c", "sleep 60"]},
            restartPolicy="Never",
            volumes=[{"name": "work", "emptyDir": {}}],
        )
        await node.until(lambda: bool(node.status("locked", 0) and node.status("locked", 0).state.terminated))
        uid = node.pod("locked").metadata.uid
        log = (node.state.pods / uid / "logs" / "c" / "0.log").read_text()
        wrote = [line.split()[-1] for line in log.splitlines()]
        assert wrote == ["/usr/share/here/x", "/dev/shm/x", "/scratch/x", "/dev/termination-log"]
        by_name = {s.name: s for s in node.pod("locked").status.containerStatuses}
        assert by_name["c"].state.terminated.message == "x\n"
        await node.until(lambda: all(node.status("locked", i).state.running for i in _not_c(node)))
        for i in _not_c(node):  # what the image itself may write is read-only too, unless a volume is there
            code, _ = await node.run("locked", "touch", "/usr/share/nginx/html/y", container=i)
            assert (code == 0) == (node.status("locked", i).name == "filled")

    on_node(script)


def _not_c(node: Node) -> list[int]:
    return [i for i, s in enumerate(node.pod("locked").status.containerStatuses) if s.name != "c"]


@pytest.mark.parametrize(
    ("user", "said"),
    [
        (None, "container has runAsNonRoot and image will run as root"),
        (0, "container's runAsUser breaks non-root policy"),
    ],
)
def test_who_must_not_be_root_is_not_started_as_root(user: int | None, said: str, on_node: OnNode) -> None:
    async def script(node: Node) -> None:
        own = {} if user is None else {"securityContext": {"runAsUser": user}}
        node.create("root", tool("c", **own), securityContext={"runAsNonRoot": True})

        def waits() -> bool:
            status = node.status("root")
            return bool(status and status.state.waiting and status.state.waiting.reason == "CreateContainerConfigError")

        await node.until(waits)
        uid = node.pod("root").metadata.uid
        text = f'{said} (pod: "root_default({uid})", container: c)'
        assert node.status("root").state.waiting.message == text
        assert f"Error: {text}" in messages(node, "root", "Failed")

    on_node(script)

"""Tokens in volumes: for the audience and the time that the volume says, and renewed before they expire."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from minik8s_net.api.errors import StatusError
from minik8s_net.kubelet import node as heartbeat
from minik8s_net.kubelet import tokens
from minik8s_net.kubelet.tokens import Held, PodTokens

from .conftest import BUSY, Node

OnNode = Callable[[Callable[[Node], Any]], None]


@pytest.mark.netns
def test_a_projected_token_is_as_asked_for_and_renewed(on_node: OnNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "RENEW_EVERY", 0.1)

    async def script(node: Node) -> None:
        vault = {"serviceAccountToken": {"path": "vault", "audience": "vault", "expirationSeconds": 600}}
        ours = {"serviceAccountToken": {"path": "ours"}}
        mount = {"volumeMounts": [{"name": "t", "mountPath": "/t"}]}
        container = {"name": "c", "image": "busybox", "command": BUSY, **mount}
        node.create("p", container, volumes=[{"name": "t", "projected": {"sources": [vault, ours]}}])
        await node.until(lambda: node.ready("p"))
        assert sorted(node.asked)[:2] == [("", 3600), ("", 3607)] and node.asked.count(("vault", 600)) == 1
        first = (await node.run("p", "cat", "/t/vault"))[1]
        file = node.state.pods / node.pod("p").metadata.uid / "volumes/kubernetes.io~projected/t/vault"
        assert first.startswith("vault-") and file.read_text() == first
        later = time.time() + 490  # more than 80 % of one's life are over, not of the others'
        monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: later))
        await node.until(lambda: file.read_text() != first)
        assert (await node.run("p", "cat", "/t/vault"))[1] == "vault-4"
        assert len(node.asked) == 4

    on_node(script)


def test_when_a_token_is_due() -> None:
    assert [Held("t", 1000, 600).is_due(1000 + after) for after in (0, 479, 481)] == [False, False, True]
    assert [Held("t", 1000, 10**6).is_due(1000 + after) for after in (86_399, 86_401)] == [False, True]
    assert Held("t", 1000, 600).is_due(999)  # the clock was set back


def test_a_token_that_is_not_renewed_is_kept_while_it_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [1000.0], list[int]()
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: now[0]))

    def ask(pod: Pod, audience: str, seconds: int) -> str:
        asked.append(seconds)
        if len(asked) > 1:
            raise StatusError(404, "NotFound", "no such account")
        return "first"

    held, pod = PodTokens(ask), Pod(metadata=ObjectMeta(uid="u"))
    assert held.get(pod, "", 600) == held.get(pod, "", 600) == "first" and len(asked) == 1 and not held.due()
    now[0] += 500
    assert held.due() == ["u"] and held.get(pod, "", 600) == "first" and len(asked) == 2
    now[0] += 101
    with pytest.raises(StatusError, match="no such account"):
        held.get(pod, "", 600)
    held.forget("u")
    assert not held.due()

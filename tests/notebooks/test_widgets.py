"""The kernel's side of the widgets on a real cluster: what is watched, what is sent, that nothing is left."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from IPython.lib.pretty import pretty

from minik8s_net import Cluster
from minik8s_net.client.exec import ExecResult
from minik8s_net.demo.stage import SERVER, TOOLS, pod
from minik8s_net.drawn import Objects
from minik8s_net.notebook import display, look
from minik8s_net.notebook.audience import SILENT_BEATS, Audience
from minik8s_net.notebook.background import NAME, close_all
from minik8s_net.notebook.magics import Refused, apply_text, run_kubectl
from minik8s_net.notebook.widgets.base import Face
from minik8s_net.notebook.widgets.faults import Faults
from minik8s_net.notebook.widgets.live import Live
from minik8s_net.notebook.widgets.matrix import Matrix
from minik8s_net.notebook.widgets.names import Names
from minik8s_net.notebook.widgets.policies import Policies
from minik8s_net.notebook.widgets.terminal import Terminal

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
Eventually = Callable[..., Any]
DENY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny-nb"},
    "spec": {"podSelector": {"matchLabels": {"app": "nb-web"}}, "policyTypes": ["Ingress"]},
}


@pytest.fixture(scope="module")
def c(shared: Cluster) -> Any:
    objects = [pod("nb-web", "nb-web", SERVER, "node-1"), pod("nb-client", "nb", TOOLS, "node-2")]
    shared.apply(objects)
    for name in ("nb-web", "nb-client"):
        shared.wait(f"pod/{name}")
    yield shared
    close_all()
    shared.delete(objects)


def told(widget: Face, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the browser would hear."""
    heard: list[dict[str, Any]] = []
    monkeypatch.setattr(type(widget), "tell", lambda _, **message: heard.append(message))
    return heard


def watching() -> bool:
    return any(thread.name == NAME for thread in threading.enumerate())


def test_nobody_looking_means_no_watch(c: Cluster, eventually: Eventually) -> None:
    live = Live(c)
    assert not watching()
    live.on_hello({"id": "1"})
    live.on_hello({"id": "2"})
    eventually(watching)
    live.on_bye({"id": "1"})
    assert live.following
    live.on_bye({"id": "2"})
    eventually(lambda: not watching())
    live.on_hello({"id": "3"})
    eventually(watching)
    live.close()
    live.close()
    eventually(lambda: not watching())


def test_changes_come_as_few_lines(c: Cluster, eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    live = Live(c)
    heard = told(live, monkeypatch)
    live.on_hello({"id": "1"})
    time.sleep(0.5)
    before = len(heard)
    c.apply(pod("nb-guest", "guest", TOOLS, "node-1"))
    c.wait("pod/nb-guest")
    eventually(lambda: any("nb-guest" in line for m in heard for _, _, put in m["hunks"] for line in put))
    c.delete("pod", "nb-guest")
    eventually(lambda: "nb-guest" not in repr(live))
    sizes = [sum(len(line) for _, _, put in m["hunks"] for line in put) for m in heard[before:]]
    assert [m["number"] for m in heard] == list(range(1, len(heard) + 1))
    assert len(sizes) < 12
    live.close()


def test_a_browser_that_fell_silent_counts_as_gone(c: Cluster, eventually: Eventually, monkeypatch: Any) -> None:
    monkeypatch.setattr("minik8s_net.notebook.audience.BEAT", 0.05)
    live = Live(c)
    live.on_hello({"id": "1"})
    assert live.following
    eventually(lambda: not live.following)
    eventually(lambda: not watching())
    live.on_here({"id": "1"})  # it was only asleep
    assert live.following
    live.close()


def test_a_busy_kernel_hears_nobody_and_so_gives_up_on_nobody() -> None:
    async def notebook() -> None:
        audience = Audience()
        audience.here("1")
        for _ in range(20):  # a long cell: the loop does not turn
            assert audience.beat()
        for _ in range(SILENT_BEATS + 1):
            await asyncio.sleep(0)
            audience.beat()
        assert not audience

    asyncio.run(notebook())


def test_a_question_is_answered_on_a_thread_and_errors_are_told(
    c: Cluster, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = Live(c)
    heard = told(live, monkeypatch)
    live._on_message(live, {"ask": "look", "at": "pod default/nb-web", "tab": "addresses"}, [])
    live._on_message(live, {"ask": "look", "at": "pod default/nobody", "tab": "logs"}, [])
    live._on_message(live, {"ask": "close"}, [])
    eventually(lambda: len(heard) == 3)
    answers = {str(m.get("text") or m.get("error")) for m in heard}
    assert any("eth0" in text for text in answers)
    assert any("not found" in text for text in answers)
    assert any("knows no 'close'" in text for text in answers)
    live.close()


@pytest.mark.parametrize(
    ("where", "tab", "text"),
    [
        ("pod default/nb-web", "routes", "default via"),
        ("pod default/nb-web", "logs", "8080"),
        ("pod default/nb-web", "object", "kind: Pod"),
        ("node node-1", "routes", "10.244.2.0/24"),
        ("node node-1", "rules", "KUBE-SERVICES"),
        ("node node-1", "neighbours", "eth0"),
        ("service default/kubernetes", "endpoints", "6443"),
        ("service default/kubernetes", "rules", "KUBE-SVC"),
    ],
)
def test_a_click_shows_the_kernels_words(c: Cluster, where: str, tab: str, text: str) -> None:
    assert text in look.look(c, where, tab)


def test_the_matrix_is_what_policies_say_and_what_is(c: Cluster, eventually: Eventually) -> None:
    playground_before = Policies(c, namespace="default")
    assert playground_before.state["policies"] == []
    c.apply(DENY)
    matrix = Matrix(c, 8080, namespace="default")
    cell = matrix.cells["nb-client|nb-web"]
    assert (cell["expected"], cell["measured"], cell["reached"]) == (False, "dropped", False)
    assert matrix.cells["nb-web|nb-client"]["measured"] == "refused"
    assert "deny-nb" in matrix.on_why({"source": "nb-client", "target": "nb-web"})["text"]
    assert repr(matrix).splitlines()[1].split() == ["nb-client", "✓", "·"]
    play = Policies(c, 8080, namespace="default")
    play.toggle("default/deny-nb", False)
    assert play.state["cells"]["nb-client|nb-web"] == {"expected": True}
    assert c.get("networkpolicies"), "a switch only predicts"
    play.measure()
    assert not c.get("networkpolicies")
    assert play.state["cells"]["nb-client|nb-web"]["measured"] == "open"
    play.restore()
    assert play.state["cells"]["nb-client|nb-web"]["measured"] == "dropped"
    c.delete("networkpolicy", "deny-nb")


def test_names_walk_the_search_path(c: Cluster) -> None:
    names = Names(c, "nb-client")
    found = names.resolve("nb-client", "kubernetes")["steps"]
    assert [step["name"] for step in found] == ["kubernetes.default.svc.cluster.local"]
    assert found[0]["said"] == "A 10.96.0.2"
    missing = names.resolve("nb-client", "nowhere.test")["steps"]
    assert [step["suffix"] for step in missing][-1] == ""
    assert len(missing) == 4
    assert not any(step["found"] for step in missing)
    assert "kube-dns" in names.resolve("nb-client", "10.96.0.10", "PTR")["steps"][0]["said"]
    assert names.resolve("nb-client", "_https._tcp.kubernetes", "SRV")["steps"][0]["found"]


def test_the_terminal_streams_and_stops(c: Cluster, eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Terminal(c)
    heard = told(box, monkeypatch)
    assert box.on_run({"place": "pod/nb-client", "line": "echo one; exit 3"})["exit"] == 3
    assert {"out": "one\n"} in heard
    assert "172.18.1.1" in box.on_run({"place": "node-1", "line": "ip -br addr show eth0"})["out"]
    box._on_message(box, {"ask": "run", "place": "pod/nb-client", "line": "echo begun; sleep 60"}, [])
    eventually(lambda: {"out": "begun\n"} in heard)
    box.on_stop({})
    eventually(lambda: any(m.get("answer") == "run" for m in heard))


def test_faults_are_listed_made_and_mended(c: Cluster) -> None:
    switches = Faults(c)
    on = lambda: {f["name"] for f in switches.state["faults"] if f["on"]}  # noqa: E731
    assert len(switches.state["faults"]) >= 8
    assert not on()
    switches.on_inject({"name": "delay"})
    assert on() == {"delay"}
    switches.on_mend({"name": "delay"})
    assert not on()


def test_yaml_that_is_wrong_is_shown_at_its_line(c: Cluster) -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: nb-x}\nspec:\n  ports:\n  - port: 99999\n"
    with pytest.raises(Refused, match=r"line 6: (.|\n)*▶   6 │   - port: 99999"):
        apply_text(c, service)
    with pytest.raises(Refused, match=r"line 5: (.|\n)*unknown field"):
        apply_text(c, service.replace("ports", "portz"))
    with pytest.raises(Refused, match="not YAML"):
        apply_text(c, "apiVersion: v1\nkind: [\n")
    with pytest.raises(Refused, match=r"line 2: (.|\n)*Nonsense"):
        apply_text(c, "\napiVersion: v1\nkind: Nonsense\nmetadata: {name: x}\n")
    done = apply_text(c, service.replace("99999", "80"))
    assert [str(one) for one in done] == ["service/nb-x created"]
    c.delete("service", "nb-x")


def test_kubectl_speaks_to_this_cluster(c: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    run_kubectl(c, ["get", "pods", "nb-web", "-o", "name"])
    assert "pod/nb-web" in capsys.readouterr().out
    monkeypatch.setattr("shutil.which", lambda _: None)
    run_kubectl(c, ["get", "pods", "nb-web", "-o", "name"])
    printed = capsys.readouterr().out
    assert "not installed" in printed
    assert "pod/nb-web" in printed
    with pytest.raises(Refused, match="not found"):
        run_kubectl(c, ["get", "pod", "nobody"])


def test_what_the_cluster_returns_draws_itself(c: Cluster) -> None:
    things = [
        c,
        c.get("pods"),
        c.get("services"),
        c.exec("nb-client", "hostname"),
        c.apply(pod("nb-web", "nb-web", SERVER, "node-1")),
    ]
    for thing in [*things, c.trace("nb-client", f"{c.get('pod', 'nb-web').status.podIP}:8080"), Objects()]:
        drawn = thing._repr_mimebundle_()
        assert drawn["text/html"].startswith("<style>")
        assert "http://" not in drawn["text/html"].replace("http://www.w3.org", ""), "nothing from the network"
        assert drawn["text/plain"]
    assert pretty(c.get("services")).startswith("default  kubernetes")
    assert "&lt;b&gt;" in display.bundle(ExecResult(1, "<b>", "no"))["text/html"]
    assert "exit status 1" in display.bundle(ExecResult(1, "<b>", "no"))["text/html"]


def test_a_watch_that_ends_while_it_connects_leaves_no_socket(
    c: Cluster, eventually: Eventually, monkeypatch: Any
) -> None:
    """At whatever moment: asyncio loses a connection whose opening is cancelled before TLS begins."""
    lost: list[str] = []
    monkeypatch.setattr("sys.unraisablehook", lambda found: lost.append(str(found.exc_value)))
    for step in range(40):
        live = Live(c)
        live.on_hello({"id": "1"})
        time.sleep(step * 0.0005)
        live.close()
        eventually(lambda: not watching())
        del live
        gc.collect()
    assert lost == []

"""A real Chromium on a real JupyterLab: the tour, cell by cell, and then what a student does with the widgets."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from minik8s_net.demo.stage import TOOLS, pod
from tests.conftest import Home
from tests.notebooks.conftest import Lab

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]
RUN = "() => jupyterapp.commands.execute('notebook:run-cell-and-select-next')"


@pytest.fixture(scope="module")
def page(lab: Lab, browser: Any) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1280, "height": 1000})
    opened.set_default_timeout(20_000)
    go(opened, lab)
    yield opened
    opened.close()


def go(page: Any, lab: Lab) -> None:
    """Open the tour and wait for its kernel."""
    page.goto(f"{lab.url}/lab/tree/00-tour.ipynb?token={lab.token}&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function("() => jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")


def cell(page: Any, text: str) -> Any:
    """The code cell that contains `text`."""
    return page.locator(".jp-CodeCell", has=page.locator(".jp-InputArea", has_text=text)).last


def shot(found: Any, path: Path) -> None:
    found.scroll_into_view_if_needed()
    found.screenshot(path=str(path))
    assert path.stat().st_size > 5_000


def test_the_tour_runs_cell_by_cell(page: Any, lab: Lab, artifacts: Path) -> None:
    cells = nbformat.read(str(lab.notebooks / "00-tour.ipynb"), as_version=4).cells
    for _ in cells[:-1]:  # the last one ends the cluster
        page.evaluate(RUN)
        wrong = page.locator("[data-mime-type='application/vnd.jupyter.error']")
        assert wrong.count() == 0, wrong.first.inner_text()
    for view in ("live", "replay", "matrix", "policies", "names", "terminal", "faults", "progress"):
        assert page.locator(f".mk-{view}").count() >= 1 or view == "progress", view
    assert "4 of 4 checks passed" in cell(page, "assert shop.passed").inner_text()
    for view in ("live", "replay", "matrix", "policies", "names", "terminal", "faults"):
        shot(page.locator(f".mk-{view}").first, artifacts / f"light-{view}.png")


def test_a_pod_made_elsewhere_appears_turns_ready_and_vanishes(
    page: Any, home: Home, eventually: Callable[..., Any]
) -> None:
    c = home.cluster("tour")
    page.locator(".mk-live").scroll_into_view_if_needed()
    began = time.monotonic()
    c.apply(pod("visitor", "visitor", TOOLS))
    page.wait_for_selector("[data-pod='default/visitor']", state="attached")
    seconds = time.monotonic() - began
    print(f"a pod made elsewhere is in the picture after {seconds:.2f} s")
    assert seconds < 5  # idle machines: about 0.2 s
    c.wait("pod/visitor")
    page.wait_for_selector("[data-pod='default/visitor'] :text('●')", state="attached")
    c.delete("pod", "visitor")
    page.wait_for_selector("[data-pod='default/visitor']", state="detached")
    drawn = (
        "() => [...document.querySelector('.mk-picture').shadowRoot.querySelectorAll('text')].map(t => t.textContent)"
    )
    eventually(lambda: page.evaluate(drawn) == texts(c.topology().svg()))  # patched together, it is the whole picture
    c.api.close()


def texts(svg: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)", svg)]


def test_a_click_looks_into_a_pod(page: Any, home: Home, artifacts: Path) -> None:
    c = home.cluster("tour")
    ip = c.get("pod", "web-1").status.podIP
    c.api.close()
    page.locator("[data-pod='default/web-1'] rect").first.click()
    panel = page.locator(".mk-live .mk-panel")
    panel.locator("pre", has_text=ip).wait_for()
    for tab, text in (("routes", "default via"), ("rules", "KUBE-SEP"), ("logs", "8080"), ("object", "kind: Pod")):
        panel.get_by_role("tab", name=tab).click()
        panel.locator("pre", has_text=text).wait_for()
    shot(page.locator(".mk-live").first, artifacts / "light-live-chosen.png")


def test_the_keyboard_reaches_a_node(page: Any) -> None:
    node = page.locator("[data-node='node-1']")
    node.focus()
    assert node.get_attribute("role") == "button"
    assert "node-1" in (node.get_attribute("aria-label") or "")
    page.keyboard.press("Enter")
    page.locator(".mk-live .mk-panel pre", has_text="cni0").wait_for()
    page.keyboard.press("Escape")
    page.locator(".mk-live .mk-panel").wait_for(state="hidden")


def test_a_trace_replays(page: Any) -> None:
    view = page.locator(".mk-replay").first
    told, count = view.locator(".mk-panel"), view.locator(".mk-bar .mk-dim").nth(1)
    packet = view.locator(".mk-packet")
    assert "my-service" in told.inner_text()
    where = packet.get_attribute("style")
    view.get_by_role("button", name="step", exact=True).click()
    assert packet.get_attribute("style") != where
    view.get_by_role("slider").fill("8")
    while "DNAT" not in told.inner_text():
        view.get_by_role("button", name="step", exact=True).click()
    assert "Service default/my-service" in told.inner_text()
    assert "becomes" in told.inner_text()
    view.get_by_role("button", name="first").click()
    view.get_by_role("button", name="play").click()
    page.wait_for_function("e => !e.textContent.startsWith('1 of')", arg=count.element_handle())
    view.get_by_role("button", name="last").click()
    view.get_by_role("button", name="back").click()


def test_matrix_playground_names_and_terminal_answer(page: Any) -> None:
    matrix = page.locator(".mk-matrix").first
    matrix.get_by_role("button", name="stranger to web-1").click()
    matrix.locator("pre", has_text="default/allow-app-pods").wait_for()
    policies = page.locator(".mk-policies").first
    assert policies.get_by_role("button", name="stranger to web-1: would be dropped").count() == 1
    policies.locator("label", has_text="default/allow-app-pods").locator("input").uncheck()
    policies.get_by_role("button", name="stranger to web-1: would pass").wait_for()
    policies.get_by_role("button", name="apply and measure").click()
    policies.get_by_role("button", name="stranger to web-1: open").wait_for()
    policies.get_by_role("button", name="put everything back").click()
    policies.get_by_role("button", name="stranger to web-1: dropped").wait_for()
    names = page.locator(".mk-names").first
    names.get_by_role("button", name="look up").click()
    names.locator("li", has_text="10.96.0.1").wait_for()
    box = page.locator(".mk-terminal").first
    box.get_by_label("command").fill("hostname -i")
    box.get_by_label("command").press("Enter")
    box.locator("pre", has_text="10.244.").wait_for()


def test_a_fault_is_made_and_mended(page: Any) -> None:
    faults = page.locator(".mk.mk-faults").first
    faults.get_by_role("switch", name="DNS is dead: whole").click()
    faults.get_by_role("switch", name="DNS is dead: broken").click()
    faults.get_by_role("switch", name="DNS is dead: whole").wait_for()


def test_reopened_in_the_dark_and_on_a_narrow_screen(page: Any, lab: Lab, artifacts: Path) -> None:
    """The page is loaded anew: the widgets come back from the kernel, and the picture follows again."""
    page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
    lab.theme("JupyterLab Dark")
    go(page, lab)
    page.wait_for_selector("body[data-jp-theme-light='false']", state="attached")
    page.wait_for_selector(".mk-live [data-node='node-1']", state="attached")
    for view in ("live", "replay", "matrix", "policies", "names", "terminal", "faults"):
        shot(page.locator(f".mk.mk-{view}").first, artifacts / f"dark-{view}.png")
    shot(cell(page, "assert shop.passed"), artifacts / "dark-checks.png")
    page.set_viewport_size({"width": 520, "height": 900})
    page.evaluate("() => jupyterapp.shell.collapseLeft()")
    for view in ("live", "replay", "matrix", "policies"):
        shot(page.locator(f".mk.mk-{view}").first, artifacts / f"narrow-{view}.png")
    page.set_viewport_size({"width": 1280, "height": 1000})


def test_closing_the_notebook_leaves_no_watch(page: Any, lab: Lab, eventually: Callable[..., Any]) -> None:
    """The kernel goes on; nobody looks, so nothing is watched. Opened again, the picture follows again."""
    threads = "import threading; print([t.name for t in threading.enumerate()])"
    eventually(lambda: "minik8s-notebook" in lab.ask_kernel(threads))
    page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
    page.evaluate("() => jupyterapp.commands.execute('application:close')")
    lab.ask_kernel("from minik8s_net.notebook import audience; audience.BEAT = 1")  # half a minute else
    eventually(lambda: "minik8s-notebook" not in lab.ask_kernel(threads), 20)
    go(page, lab)
    page.wait_for_selector(".mk-live [data-node='node-1']", state="attached")
    eventually(lambda: "minik8s-notebook" in lab.ask_kernel(threads), 20)


def test_the_last_cell_leaves_no_cluster(page: Any, home: Home) -> None:
    last = cell(page, "c.down()")
    last.click()
    page.evaluate(RUN)
    assert "tour" not in home.minik8s("list").stdout

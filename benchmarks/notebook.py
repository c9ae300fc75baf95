"""The live topology of 5 nodes and 150 pods: updates a second, what goes over the wire, the browser's time, idle CPU.

    python -m benchmarks.notebook

The kernel's side is measured without Jupyter in between; the browser's in a headless Chromium that draws the same
messages with the same ES module. Smooth means: at least 5 updates a second.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

NODES, PODS, SECONDS = 5, 150, 8.0
NAME = "bench-notebook"
WIDGET = Path(__file__).parents[1] / "minik8s_net" / "notebook" / "widget.js"
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "many"},
    "spec": {
        "replicas": PODS - 2,  # and two of DNS
        "selector": {"matchLabels": {"app": "many"}},
        "template": {
            "metadata": {"labels": {"app": "many"}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "pause", "image": "registry.k8s.io/pause:3.9"}],
            },
        },
    },
}
PLAY = """async ([code, state, messages]) => {
  const module = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  let heard, asked = 0;
  const model = { get: (name) => (name === "view" ? "live" : state), send: () => { asked += 1; }, off() {},
    on: (_, told) => { heard = told; } };
  const el = document.body.appendChild(document.createElement("div"));
  module.default.render({ model, el });
  const frame = () => new Promise(requestAnimationFrame);
  const times = [];
  for (const message of messages) {
    const began = performance.now();
    heard(message);
    await frame();
    el.getBoundingClientRect();
    times.push(performance.now() - began);
  }
  const pods = el.querySelector(".mk-picture").shadowRoot.querySelectorAll("[data-pod]").length;
  return { times, asked, pods };
}"""


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ["MINIK8S_HOME"] = home
        from minik8s_net import Cluster

        with Cluster.up(NAME, nodes=NODES) as cluster:
            cluster.apply(DEPLOYMENT)
            cluster.wait("deployment/many", f"jsonpath={{.status.readyReplicas}}={PODS - 2}", timeout=120)
            state, messages = _kernel_side(cluster)
    _browser_side(state, messages)


def _kernel_side(cluster: Any) -> tuple[Any, list[Any]]:
    from minik8s_net.notebook.widgets.live import Live

    live = Live(cluster)
    state = dict(live.state)
    messages: list[tuple[float, Any]] = []
    live.tell = lambda **message: messages.append((time.monotonic(), message))
    live.on_hello({"id": "bench"})
    time.sleep(1)
    began = time.process_time()
    time.sleep(SECONDS)
    idle = (time.process_time() - began) / SECONDS
    quiet = len(messages)
    stop = threading.Event()
    churn = threading.Thread(target=_churn, args=(cluster, stop))
    churn.start()
    start, began = time.monotonic(), time.process_time()
    time.sleep(SECONDS)
    busy, seconds = (time.process_time() - began) / SECONDS, time.monotonic() - start
    told = [m for at, m in messages[quiet:] if at < start + seconds]
    stop.set()
    churn.join()
    live.close()
    sizes = [len(json.dumps(m)) for m in told]
    whole = len(json.dumps(live._lines))
    print(f"{NODES} nodes, {PODS} pods; the whole picture is {whole / 1e3:.0f} kB")
    print(f"idle:    {100 * idle:.2f} % of a CPU, {quiet} messages before anything changed")
    print(f"changes: {len(told) / seconds:.1f} updates a second (at least 5 are smooth, at most 10 are sent)")
    print(f"         {statistics.median(sizes) / 1e3:.1f} kB a message (median), {max(sizes) / 1e3:.0f} kB at most,")
    print(f"{sum(sizes) / seconds / 1e3:9.0f} kB/s; the whole each time: {len(told) * whole / seconds / 1e3:.0f} kB/s")
    print(f"         {100 * busy:.0f} % of a CPU, the client that makes the changes included")
    return state, [m for _, m in messages]


def _churn(cluster: Any, stop: threading.Event) -> None:
    """Something changes all the time: a Service comes and goes, and pods that the Deployment replaces."""
    from minik8s_net.notebook.widgets.base import twin

    own = twin(cluster)
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "blink"}, "spec": {"ports": [{"port": 80}]}}
    while not stop.is_set():
        for pod in own.get("pods", labels="app=many")[:10]:
            own.delete("pod", pod.metadata.name, wait=0)
            for _ in range(5):
                own.apply(service)
                stop.wait(0.03)
                own.delete("service", "blink", wait=0)
                if stop.wait(0.03):
                    return


def _browser_side(state: Any, messages: list[Any]) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        print("browser: not measured, chromium is not installed")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"] if os.getuid() == 0 else []
        )
        page = browser.new_page()
        done = page.evaluate(PLAY, [WIDGET.read_text(), state, messages])
        browser.close()
    times = sorted(done["times"])
    print(
        f"browser: {statistics.median(times):.0f} ms from message to picture (median), {times[-1]:.0f} ms at most; "
        f"{done['pods']} pods drawn, the whole asked for again {done['asked'] - 1} times"
    )


if __name__ == "__main__":
    main()

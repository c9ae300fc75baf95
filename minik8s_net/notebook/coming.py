"""`up` for a notebook: `Cluster.up` with a progress bar."""

from __future__ import annotations

from typing import Any

from ..cluster import Cluster

STEPS = 4  # what `up` reports of a fresh cluster: objects, API server, nodes, DNS


def up(name: str = "minik8s", **settings: Any) -> Cluster:
    """Start (or resume, or just find) a cluster; settings as for `Cluster.up`. Returns when DNS answers from inside."""
    from IPython.display import display

    from .widgets.progress import Progress

    bar = Progress(f'cluster "{name}"', STEPS)
    display(bar)
    cluster = Cluster.up(name, progress=bar.step, **settings)
    if not bar.state["steps"]:
        bar.step("it was running already")
    bar.end()
    return cluster

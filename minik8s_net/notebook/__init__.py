"""The cluster in Jupyter: rich display, widgets, magics. Thin wrappers over `Cluster`; talks to the API only.

    %load_ext minik8s_net.notebook
    from minik8s_net import notebook as nb

    c = nb.up("class", nodes=2)     # Cluster.up with a progress bar
    nb.Live(c)                      # the picture that follows the cluster; click on what you want to look into
    nb.Replay(c.trace("client", "http://web"))

Reads: the API and the verbs of a cluster. Writes: messages to the browser. Needs the extra `notebook`
(`pip install 'minik8s-net[notebook]'`); nothing is fetched from the network, and nothing here needs root.
Inside a running kernel no call blocks its event loop: watches live on one thread (background.py), which ends with the
last widget; what a click asks for runs on a short-lived thread of its own.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "Live": "widgets.live",
    "Replay": "widgets.replay",
    "Matrix": "widgets.matrix",
    "Policies": "widgets.policies",
    "Names": "widgets.names",
    "Terminal": "widgets.terminal",
    "Faults": "widgets.faults",
    "Progress": "widgets.progress",
    "up": "coming",
    "lab": "course",
    "predict": "predict",
    "reveal": "predict",
}
__all__ = [*_PUBLIC, "load_ipython_extension", "unload_ipython_extension"]


def __getattr__(name: str) -> Any:
    """Each name is imported when it is first used: the magics work without ipywidgets."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext minik8s_net.notebook`: the magics, and drawings for Kubernetes objects."""
    from . import display, magics

    shell.register_magics(magics.ClusterMagics(shell))
    display.register(shell)


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext`: close all our widgets, so that no watch stays behind."""
    from .background import close_all

    close_all()

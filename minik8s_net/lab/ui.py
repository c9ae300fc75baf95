"""`minik8s lab ui`: JupyterLab on the course's notebooks, on loopback, behind Jupyter's own token."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from .labs import LabError, folder


def notebooks() -> Path:
    """The folder of notebooks: `$MINIK8S_NOTEBOOKS`, else beside the labs. Raises LabError."""
    found = Path(os.environ.get("MINIK8S_NOTEBOOKS") or folder().parent / "notebooks")
    if not found.is_dir():
        raise LabError(f"there is no folder {found}; set MINIK8S_NOTEBOOKS to where the notebooks are")
    return found


def command(*more: str) -> list[str]:
    """What is run. Raises LabError where JupyterLab is not installed."""
    missing = [name for name in ("jupyterlab", "ipywidgets", "anywidget") if importlib.util.find_spec(name) is None]
    if missing:
        raise LabError(
            f"the notebooks need {', '.join(missing)}, which this Python ({sys.executable}) does not have.\n"
            f"Install with: {sys.executable} -m pip install 'minik8s-net[notebook]'   (or: make notebook)"
        )
    root = ["--allow-root"] if os.getuid() == 0 else []
    return [
        sys.executable,
        "-m",
        "jupyterlab",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.root_dir={notebooks()}",
        *root,
        *more,
    ]


def environment() -> dict[str, str]:
    """So that `!minik8s` in a cell is this very installation, and tools in sbin are found."""
    from ..boot.lifecycle import SBIN

    path = [str(Path(sys.executable).parent), *os.environ.get("PATH", "").split(os.pathsep)]
    return {**os.environ, "PATH": os.pathsep.join([*path, *(d for d in SBIN if d not in path)])}


def ui(*more: str) -> int:
    """Become JupyterLab; it prints the address with the token. Ends by Ctrl-C; clusters go on running."""
    argv, env = command(*more), environment()
    os.execve(argv[0], argv, env)

"""What `minik8s list` tells of one cluster, whatever state its files are in: one damaged cluster hides no other."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from ..api.errors import StatusError
from ..client.http import Unreachable
from ..state import State
from . import folder, lifecycle
from .errors import DamagedError
from .record import Record


@dataclass(frozen=True)
class Listed:
    """`state`: running, stopped or damaged; then `detail` says what is, and what to type. None: not known."""

    name: str
    state: str
    nodes: int | None = None
    cni: str | None = None
    proxy_mode: str | None = None
    detail: str = ""


def listed(name: str) -> Listed | None:
    """None: it has gone meanwhile."""
    state = State.of(name)
    try:
        config = folder.read_config(state)
        Record(state).read()
    except FileNotFoundError:
        return None
    except (OSError, DamagedError) as error:
        return Listed(name, "damaged", detail=str(error))
    try:
        running = lifecycle.is_ready(name)
        nodes = lifecycle.node_count(name)
    except sqlite3.OperationalError:  # there is no store yet, or a controller that is just starting holds it
        nodes = config.nodes
    except sqlite3.DatabaseError as error:
        detail = str(DamagedError(state.database, str(error)))
        return Listed(name, "damaged", None, config.cni, config.proxy_mode, detail)
    except (OSError, StatusError, Unreachable):  # it ends at this moment
        running, nodes = False, config.nodes
    return Listed(name, "running" if running else "stopped", nodes, config.cni, config.proxy_mode)

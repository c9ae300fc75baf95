"""Switches that break the cluster on purpose, and mend it."""

from __future__ import annotations

from ...api.errors import is_not_found
from ...cluster import Cluster
from .base import Face, Json, twin

MISSING = "this cluster cannot be broken on purpose: only a cluster of ours of a version that has faults can"


class Faults(Face):
    """`Faults(cluster)`. Each switch injects a fault with its defaults; "mend everything" clears them all."""

    VIEW = "faults"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        super().__init__(**self._look())

    def on_inject(self, asked: Json) -> Json:
        """Break."""
        twin(self._cluster).api.verb("fault-inject", name=str(asked["name"]))
        self.state = self._look()
        return {"text": "broken: now find out what a pod sees of it"}

    def on_mend(self, asked: Json) -> Json:
        """Mend one, or all."""
        twin(self._cluster).api.verb("fault-clear", which=str(asked.get("name") or "all"))
        self.state = self._look()
        return {"text": "mended"}

    def _look(self) -> Json:
        try:
            told = twin(self._cluster).api.verb("fault-list")
        except Exception as error:
            if not is_not_found(error):
                raise
            return {"faults": [], "message": MISSING}
        injected = {one["name"]: one for one in told["injected"] if not one["hidden"]}
        rows = [{**f, "on": f["name"] in injected, "where": _where(injected.get(f["name"]))} for f in told["catalogue"]]
        hidden = len(told["injected"]) - len(injected)
        return {"faults": rows, "message": f"{hidden} hidden faults are at work: find them" if hidden else ""}


def _where(injected: Json | None) -> str:
    return ", ".join(f"{key} {value}" for key, value in ((injected or {}).get("parameters") or {}).items())

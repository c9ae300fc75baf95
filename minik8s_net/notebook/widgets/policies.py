"""The policy playground: switch NetworkPolicies on and off, see what would be, then apply and see what is."""

from __future__ import annotations

import copy

from ...cluster import Cluster
from ..reaching import World, as_text, measure
from .base import Face, Json, twin

_SERVER_FIELDS = ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields")


class Policies(Face):
    """`Policies(cluster, port=8080)`. A switch only predicts; "apply and measure" changes the cluster's own policies.

    `restore()` (and the button) puts back what was there when the widget was made.
    """

    VIEW = "policies"

    def __init__(self, cluster: Cluster, port: int = 8080, protocol: str = "TCP", namespace: str | None = None) -> None:
        self._cluster, self._namespace, self._port, self._protocol = cluster, namespace, port, protocol
        self._world = World.of(twin(cluster), namespace)
        self._all = {_key(policy): policy for policy in self._world.policies}
        self._on = set(self._all)
        super().__init__(**self._view(measured=False))

    def toggle(self, key: str, on: bool) -> None:
        """Switch one, "default/deny-all", and predict."""
        self.on_toggle({"key": key, "on": on})

    def measure(self) -> None:
        """Make the cluster's policies those that are on, and measure."""
        self.on_measure({})

    def restore(self) -> None:
        """All of them on again, in the cluster too."""
        self._on = set(self._all)
        self.on_measure({})

    def text(self) -> str:
        """A table of ✓ and ·."""
        return as_text(self.state)

    def on_toggle(self, asked: Json) -> Json:
        """A switch."""
        key = str(asked["key"])
        if key not in self._all:
            raise LookupError(f"there is no policy {key} here")
        (self._on.add if asked["on"] else self._on.discard)(key)
        self.state = self._view(measured=False)
        return {"text": "predicted; nothing in the cluster has changed yet"}

    def on_measure(self, _: Json) -> Json:
        """The button."""
        cluster = twin(self._cluster)
        live = {_key(policy) for policy in World.of(cluster, self._namespace).policies}
        for key, policy in self._all.items():
            if key in self._on and key not in live:
                cluster.apply(_bare(policy))
            elif key not in self._on and key in live:
                namespace, name = key.split("/")
                cluster.delete("networkpolicy", name, namespace)
        self.state = self._view(measured=True)
        return {"text": "applied and measured"}

    def on_restore(self, _: Json) -> Json:
        """The other button."""
        self._on = set(self._all)
        return self.on_measure({})

    def on_why(self, asked: Json) -> Json:
        """A cell."""
        return {"text": self._world.why(str(asked["source"]), str(asked["target"]), self._port, self._protocol)}

    def _view(self, measured: bool) -> Json:
        self._world = World.of(twin(self._cluster), self._namespace)
        self._world.policies = [self._all[key] for key in sorted(self._on)]
        cells = self._world.predicted(self._port, self._protocol)
        passing = sum(bool(cell["expected"]) for cell in cells.values())
        summary = f"{passing} of {len(cells)} pairs would pass"
        if measured:
            summary = measure(twin(self._cluster), self._world, cells, self._port, self._protocol)
        shown = [{"key": k, "on": k in self._on, "text": _words(p)} for k, p in sorted(self._all.items())]
        head: Json = {"pods": self._world.names, "port": self._port, "protocol": self._protocol, "policies": shown}
        return {**head, "cells": cells, "summary": summary, "measured": measured}


def _key(policy: Json) -> str:
    return f"{policy['metadata']['namespace']}/{policy['metadata']['name']}"


def _bare(policy: Json) -> Json:
    """As a user would write it, so that it can be created again."""
    bare = copy.deepcopy(policy)
    for field in _SERVER_FIELDS:
        bare["metadata"].pop(field, None)
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", **bare}


def _words(policy: Json) -> str:
    spec = policy["spec"]
    labels = (spec.get("podSelector") or {}).get("matchLabels") or {}
    whom = ", ".join(f"{k}={v}" for k, v in labels.items()) or "every pod"
    rules = [f"{kind.lower()}: {len(spec.get(kind.lower()) or [])} rules" for kind in spec.get("policyTypes") or []]
    return f"selects {whom}; {', '.join(rules)}"

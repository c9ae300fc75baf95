"""Saving, restoring, listing: one JSON file per snapshot in the cluster's folder. And the readable file."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lightkube.resources.core_v1 import Pod

from ..api import strategy as rules
from ..api.errors import StatusError, bad_request, invalid
from ..api.kinds import by_kind
from ..apiserver.registry import Registry
from ..config import ClusterConfig
from ..faults.record import Injected
from ..healing.drift import drift
from ..store.events import timestamp
from ..store.version import Version
from .document import SYSTEM, Json, Key, kept, plain, readable
from .rewind import Rewound, rewind

if TYPE_CHECKING:
    from ..boot.live import Live

FORM = "minik8s.net/v1"
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
PATIENCE, POLL = 15.0, 0.02  # seconds for pods to come back, and between looks


def save(live: Live, name: str) -> Json:
    """Keep the present objects, faults and pauses. A snapshot of that name is replaced."""
    path = _path(live, name)
    objects = [{"key": _key(v), "object": v.tree} for v in kept(_versions(live))]
    document = {"name": name, "at": timestamp(), "objects": objects, **_faults(live)}
    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document))
    new.replace(path)
    return _summary(document)


async def restore(live: Live, name: str) -> Json:
    """Rewind objects and faults; returns once all pods of the snapshot run and the kernel is as it should be."""
    began = time.monotonic()
    document = json.loads(_existing(live, name).read_text())
    await _let_go(live)
    faults = [Injected(**fault) for fault in document["faults"]]
    await live.faults.leave(live, faults)
    objects = {tuple(each["key"]): each["object"] for each in document["objects"]}
    done = rewind(live, objects)
    await _pods_are_back(done, live)
    rewind(live, objects)  # what controllers said of pods that were not there yet: EndpointSlices, statuses
    await _follow(live, faults, document["paused"])
    return {**vars(done), "seconds": round(time.monotonic() - began, 3), "faults": len(faults)}


def list_(live: Live) -> list[Json]:
    """Oldest first."""
    found = [json.loads(path.read_text()) for path in (live.state.root / "snapshots").glob("*.json")]
    return sorted(map(_summary, found), key=lambda one: (str(one["at"]), str(one["name"])))


def delete(live: Live, name: str) -> None:
    """Raises StatusError 404."""
    _existing(live, name).unlink()


def export(live: Live) -> Json:
    """The readable document: what it was made with, what people made, and what is broken on purpose."""
    config = live.config.to_dict() | {"nodes": len(live.nodes.names())}
    objects = [plain(v.tree) for v in sorted(readable(_versions(live)), key=_order)]
    return {"apiVersion": FORM, "kind": "Export", "config": config, **_faults(live), "objects": objects}


async def import_(live: Live, document: Json) -> Json:
    """Put an export's objects and faults into this (fresh) cluster. Raises StatusError where it is no good."""
    check_form(document)
    present = {_key(version): version for version in _versions(live)}
    objects: dict[Key, Json] = {}
    for tree in document["objects"]:
        key, checked = _checked(tree)
        if key[1] in SYSTEM and key in present:  # altered, but still this cluster's own: its pods know it by its uid
            checked["metadata"]["uid"] = present[key].tree["metadata"]["uid"]
        objects[key] = checked
    faults = [Injected(**fault) for fault in document.get("faults") or ()]
    done = rewind(live, objects, remove=False)
    await _pods_are_back(done, live)
    await _follow(live, faults, document.get("paused") or ())
    return {**vars(done), "faults": len(faults)}


def check_form(document: object) -> ClusterConfig:
    """The configuration an export was made with. Raises StatusError 400."""
    if not isinstance(document, dict) or (document.get("apiVersion"), document.get("kind")) != (FORM, "Export"):
        raise bad_request(f"this is no export of minik8s: it must begin with apiVersion: {FORM} and kind: Export")
    if not isinstance(document.get("objects"), list) or not isinstance(document.get("config"), dict):
        raise bad_request("an export of minik8s has a map `config` and a list `objects`")
    return ClusterConfig.from_dict(document["config"])


# -- inside ------------------------------------------------------------------------------------------------------------
async def _pods_are_back(done: Rewound, live: Live) -> None:
    """Until the pods that were started again are ready."""
    deadline = time.monotonic() + PATIENCE
    waiting = set(done.revived)
    while waiting and time.monotonic() < deadline:
        waiting = {name for name in waiting if not _settled(live, name)}
        await asyncio.sleep(POLL)


async def _follow(live: Live, faults: list[Injected], paused: Iterable[str]) -> None:
    """The faults in, and everything else as it should be."""
    deadline = time.monotonic() + PATIENCE
    live.faults.pauses.set(paused)
    await live.faults.take(live, faults)
    if live.faults.healer:
        await live.faults.healer.mend()
    while time.monotonic() < deadline and [d for d in await drift(live) if not live.faults.pauses.spared(d)]:
        await asyncio.sleep(POLL)


def _settled(live: Live, name: str) -> bool:
    """Ready, or ended, or gone; a pod that nothing can start is not waited for longer than the patience."""
    namespace, _, short = name.partition("/")
    pod = live.client.find(Pod, short, namespace)
    if pod is None or pod.status is None:
        return pod is None
    ready = any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or ())
    return ready or pod.status.phase in ("Succeeded", "Failed")


async def _let_go(live: Live) -> None:
    """Pods on their way out end now: one may be about to come back under its uid."""
    leaving = [p for p in live.client.list(Pod) if p.metadata and p.metadata.deletionTimestamp is not None]
    for pod in leaving:
        assert pod.metadata and pod.metadata.name
        live.client.delete(Pod, pod.metadata.name, pod.metadata.namespace, grace_seconds=0)
    uids = {pod.metadata.uid for pod in leaving if pod.metadata}
    deadline = time.monotonic() + PATIENCE
    nodes = [live.nodes.agents(name) for name in live.nodes.names()]
    while any(agents.kubelet.knows(uid or "") for agents in nodes for uid in uids) and time.monotonic() < deadline:
        await asyncio.sleep(POLL)


def _versions(live: Live) -> list[Version]:
    registry = live.client
    assert isinstance(registry, Registry)
    return [version for resource in registry.store.resources() for version in registry.store.list(resource)]


def _key(version: Version) -> Key:
    return version.resource, version.namespace, version.name


def _order(version: Version) -> tuple[int, str, str, str]:
    """As one would apply them: namespaces and nodes, then what others refer to, pods and their owners last."""
    first = ("nodes", "namespaces", "configmaps", "secrets", "serviceaccounts", "services")
    last = ("deployments.apps", "statefulsets.apps", "daemonsets.apps", "replicasets.apps", "jobs.batch", "pods")
    rank = first.index(version.resource) if version.resource in first else 50
    rank = 100 + last.index(version.resource) if version.resource in last else rank
    return rank, version.resource, version.namespace, version.name


def _faults(live: Live) -> Json:
    return {"faults": [f.to_dict() for f in live.faults.injected], "paused": sorted(live.faults.pauses.paused)}


def _checked(tree: Json) -> tuple[Key, Json]:
    meta = tree.get("metadata") or {}
    api_version, name = str(tree.get("apiVersion")), str(tree.get("kind"))
    kind = by_kind(api_version, name)
    if kind is None or not meta.get("name"):
        raise bad_request(f"an object of the export is of no kind that is served here: {api_version} {name}")
    status = tree.get("status")
    checked, _ = rules.prepare(kind, {k: v for k, v in tree.items() if k != "status"}, "Strict")
    if errors := rules.validate_create(kind, checked):
        raise invalid(kind, meta["name"], errors)
    if status:
        checked["status"] = status
    checked["metadata"].setdefault("creationTimestamp", timestamp())
    return (kind.home.qualified, meta.get("namespace", "") if kind.namespaced else "", meta["name"]), checked


def _path(live: Live, name: str) -> Path:
    if not NAME.fullmatch(name):
        raise bad_request(f"{name!r} is no name for a snapshot: lower case letters, digits, - and . as in before-lab-6")
    return live.state.root / "snapshots" / f"{name}.json"


def _existing(live: Live, name: str) -> Path:
    path = _path(live, name)
    if not path.exists():
        there = ", ".join(str(each["name"]) for each in list_(live)) or "none"
        raise StatusError(404, "NotFound", f"there is no snapshot {name!r}; there are: {there}")
    return path


def _summary(document: Json) -> Json:
    pods = sum(each["key"][0] == "pods" for each in document["objects"])
    return {
        "name": document["name"],
        "at": document["at"],
        "objects": len(document["objects"]),
        "pods": pods,
        "faults": len(document["faults"]),
    }

"""Making the store hold the objects of another moment, in one step that no controller sees the middle of.

Objects come back with their uids, so that owners and owned still know each other. A pod that has run on all the while
is left alone; one that has gone is started again under its uid, at its address. The kernel follows by itself.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from ..apiserver.registry import Registry
from ..cni.ipam import Ipam
from .document import Json, Key, kept, pending, same

if TYPE_CHECKING:
    from ..boot.live import Live

LIVING = ("pods", "nodes")  # whose status is the kubelet's to say


@dataclass
class Rewound:
    """What had to be done. `revived`: pods (namespace/name) that are started again."""

    removed: int = 0
    written: int = 0
    unchanged: int = 0
    revived: list[str] = field(default_factory=list)


def rewind(live: Live, objects: dict[Key, Json], *, remove: bool = True) -> Rewound:
    """Synchronous. `remove`: what is not among `objects` goes; else it stays (a fresh cluster's own things)."""
    registry = live.client
    assert isinstance(registry, Registry)
    store, done = registry.store, Rewound()
    present = {(v.resource, v.namespace, v.name): v for r in store.resources() for v in kept(store.list(r))}
    for key, version in present.items():
        wanted = objects.get(key)
        replaced = wanted is not None and wanted["metadata"].get("uid") != version.tree["metadata"].get("uid")
        if (wanted is None and remove) or (replaced and key[0] not in ("namespaces", "nodes")):
            store.remove(*key)
            done.removed += wanted is None
    for key, tree in sorted(objects.items(), key=lambda one: (one[0][0] != "namespaces", one[0])):
        found = store.get(*key)
        now = found.tree if found else None
        wanted = _merged(key, copy.deepcopy(tree), now)
        if now is not None and same(now, wanted):
            done.unchanged += 1
            continue
        if key[0] == "pods" and now is None and _is_alive(tree):
            _claim(live, tree)
            done.revived.append(f"{key[1]}/{key[2]}")
        store.put(*key, wanted)
        done.written += 1
    registry.forget_allocations()
    return done


def _merged(key: Key, tree: Json, now: Json | None) -> Json:
    if key[0] in LIVING and now is not None:
        tree["status"] = now.get("status", {})
        if key[0] == "nodes":
            tree["metadata"] |= {k: now["metadata"][k] for k in ("uid", "creationTimestamp") if k in now["metadata"]}
    elif key[0] == "pods" and _is_alive(tree):
        tree = pending(tree)
    elif now is not None and key[0] == "namespaces":
        tree["metadata"]["uid"] = now["metadata"]["uid"]
    return tree


def _is_alive(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _claim(live: Live, pod: Json) -> None:
    """The address it had is its own again, whoever has it now: that one is on its way out."""
    address, node = (pod.get("status") or {}).get("podIP"), pod["spec"].get("nodeName")
    if not address or not node or pod["spec"].get("hostNetwork"):
        return
    cidr = live.config.node_pod_cidr(live.config.node_index(node))
    if IPv4Address(address) in cidr:
        Ipam(live.state.ipam / node, cidr).claim(f"{pod['metadata']['uid']}-0", IPv4Address(address))

"""The reach matrix for the widgets: what policies say of every pair of pods (pure), and what a probe of each shows."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

from ..api.errors import is_not_found
from ..client.http import Api
from ..cluster import Cluster

Json = dict[str, Any]
MOST = 40  # pods in a matrix: more is no picture any more
SECONDS = 1  # of silence before a probe counts as dropped
_CURL = {"0": "open", "52": "open", "56": "open", "1": "open", "7": "refused", "28": "dropped"}

IN_FORCE = 2.0  # seconds in which a policy just written may still not be enforced: measured again until then


@dataclass
class World:
    """Pods by name ("web", or "shop/web" outside of the context's namespace), policies and namespaces, as JSON."""

    pods: dict[str, Json]
    policies: list[Json]
    namespaces: dict[str, dict[str, str]]

    @classmethod
    def of(cls, cluster: Cluster, namespace: str | None = None) -> World:
        """Look: pods with an address of their own, of one namespace or all but kube-system."""
        api = cluster.api
        pods = {}
        for pod in _items(api, "/api/v1/pods"):
            where = pod["metadata"]["namespace"]
            wanted = where == namespace if namespace else where != "kube-system"
            if wanted and (pod.get("status") or {}).get("podIP") and not pod["spec"].get("hostNetwork"):
                name = pod["metadata"]["name"]
                pods[name if where in (namespace, api.namespace) else f"{where}/{name}"] = pod
        labels = {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in _items(api, "/api/v1/namespaces")}
        return cls(dict(sorted(pods.items())[:MOST]), _items(api, "/apis/networking.k8s.io/v1/networkpolicies"), labels)

    @property
    def names(self) -> list[str]:
        """Of the pods, in order."""
        return list(self.pods)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """All ordered pairs of two pods, and each with itself."""
        return ((a, b) for a in self.pods for b in self.pods)

    def predicted(self, port: int, protocol: str) -> dict[str, Json]:
        """ "source|target" -> {"expected": bool}. The work is split: objects are read once, not once a pair."""
        ask = self._asker(port, protocol)
        return {f"{a}|{b}": {"expected": ask(a, b).allowed} for a, b in self.pairs()}

    def why(self, source: str, target: str, port: int, protocol: str) -> str:
        """Which policies were asked about a pair, and what each said."""
        return str(self._asker(port, protocol)(source, target))

    def _asker(self, port: int, protocol: str) -> Any:
        from lightkube.resources.core_v1 import Pod
        from lightkube.resources.networking_v1 import NetworkPolicy

        from ..policy.evaluate import Endpoint, evaluate
        from ..policy.model import pod_facts

        policies = [cast(NetworkPolicy, NetworkPolicy.from_dict(policy)) for policy in self.policies]
        ends = {n: Endpoint(p["status"]["podIP"], pod_facts(cast(Pod, Pod.from_dict(p)))) for n, p in self.pods.items()}
        return lambda a, b: evaluate(policies, self.namespaces, ends[a], ends[b], port, protocol)


def _items(api: Api, path: str) -> list[Json]:
    found: list[Json] = api.request("GET", path)["items"]
    return found


def measure(cluster: Cluster, world: World, cells: dict[str, Json], port: int, protocol: str) -> str:
    """Fill in `measured` and `reached` of the cells; a sentence about it. Asks the verb `reach`, or else every pod."""
    began = time.monotonic()
    while True:
        found, how = _found(cluster, world, port, protocol)
        for key, outcome in found.items():
            if key in cells:
                cells[key] |= {"measured": outcome, "reached": outcome in ("open", "refused")}
        known = [cell for cell in cells.values() if cell.get("measured")]
        wrong = sum(cell["expected"] != cell["reached"] for cell in known)
        if not wrong or time.monotonic() > began + IN_FORCE:
            return f"{len(known)} pairs measured {how} in {time.monotonic() - began:.1f} s, {wrong} against policy"


def _found(cluster: Cluster, world: World, port: int, protocol: str) -> tuple[dict[str, str], str]:
    try:
        return _by_verb(cluster, world, port, protocol), "by the cluster"
    except Exception as error:
        if not is_not_found(error):
            raise
        if protocol != "TCP":
            raise LookupError("this cluster has no verb `reach`, and curl in a pod measures TCP only") from None
        return _by_exec(cluster, world, port), "by curl in each pod"  # a cluster that has no such verb


def as_text(view: Json) -> str:
    """A matrix widget's state as a table: ✓ arrives, · does not."""
    names: list[str] = view["pods"]
    side = max([len(name) for name in names] + [4])
    lines = [" " * side + "  " + "  ".join(names)]
    for source in names:
        cells = (view["cells"][f"{source}|{target}"] for target in names)
        marks = ("✓" if cell.get("reached", cell["expected"]) else "·" for cell in cells)
        row = "  ".join(mark.center(len(name)) for mark, name in zip(marks, names, strict=True))
        lines.append(f"{source:<{side}}  {row}".rstrip())
    return "\n".join([*lines, view["summary"]])


def _by_verb(cluster: Cluster, world: World, port: int, protocol: str) -> dict[str, str]:
    full = {f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": name for name, pod in world.pods.items()}
    namespaces = {pod["metadata"]["namespace"] for pod in world.pods.values()}
    where = namespaces.pop() if len(namespaces) == 1 else None  # the others' pods would be measured for nothing
    answer = cluster.api.verb("reach", port=port, protocol=protocol.lower(), namespace=where)

    def named(text: str) -> str:
        return full.get(text) or full.get(f"{cluster.api.namespace}/{text}", text)

    return {f"{named(cell['source'])}|{named(cell['target'])}": cell["measured"] for cell in answer["cells"]}


def _by_exec(cluster: Cluster, world: World, port: int) -> dict[str, str]:
    from .widgets.base import twin

    def probe(source: str) -> dict[str, str]:
        pod = world.pods[source]["metadata"]
        loop = "; ".join(
            f"(curl -s -o /dev/null -m {SECONDS} http://{p['status']['podIP']}:{port}/; echo {shlex.quote(name)} $?) &"
            for name, p in world.pods.items()
        )
        script = loop.replace("&;", "&") + " wait"
        said = twin(cluster).exec(pod["name"], ["sh", "-c", script], namespace=pod["namespace"]).stdout
        outcomes = dict(line.rsplit(" ", 1) for line in said.splitlines() if " " in line)
        return {f"{source}|{target}": _CURL.get(code, "unreachable") for target, code in outcomes.items()}

    with ThreadPoolExecutor(8, thread_name_prefix="minik8s-notebook-probe") as pool:
        return {key: outcome for found in pool.map(probe, world.names) for key, outcome in found.items()}

"""`Cluster`: the one public class. A handle on a cluster, ours or any that a kubeconfig names.

    with Cluster.up(nodes=2) as c:
        c.apply("web.yaml")
        c.wait("pod/web")
        print(c.exec("client", "curl -s http://my-service"))

Everything goes over the Kubernetes API, so the same code runs against a real cluster (`Cluster.connect()`); only what
needs the kernel (`shell`, `topology`'s links) needs a cluster of ours.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .client import exec as exec_client
from .client import manifests
from .client.exec import ExecResult
from .client.http import Api
from .client.manifests import Applied
from .client.wait import wait_for
from .config import ClusterConfig
from .drawn import Drawn, Objects
from .state import State

if TYPE_CHECKING:
    import lightkube

    from .client.capture import Capture
    from .dns.walk import Walk
    from .healing.drift import Drift
    from .observe.changes.model import Changes
    from .observe.explain.model import Explanation
    from .observe.reach import Reach
    from .observe.rules.model import RuleOrigins
    from .observe.topology import Topology
    from .observe.trace.model import Trace

Json = dict[str, Any]
_ONE = re.compile(r"([a-z.]+)/([a-z0-9-]+)")  # KIND/NAME; a manifest's file has a dot in its name


class Cluster(Drawn):
    """A connection to one cluster. Raises StatusError when the API refuses, Unreachable when it does not answer."""

    def __init__(
        self, kubeconfig: str | Path | None = None, context: str | None = None, name: str | None = None
    ) -> None:
        """Prefer `Cluster.up` or `Cluster.connect`. `name` is set for clusters of ours."""
        self.name = name
        self._kubeconfig, self._context = Path(kubeconfig) if kubeconfig else None, context
        self.api = Api.load(self._kubeconfig, context)
        self._client: lightkube.Client | None = None
        self._ends = False  # whether leaving a `with` ends the cluster: only if entering it made it

    # -- coming and going ------------------------------------------------------------------------------------------
    @classmethod
    def up(cls, name: str = "minik8s", *, progress: bool | Callable[[str], None] = False, **settings: Any) -> Cluster:
        """Start (or resume) a cluster of ours; settings are ClusterConfig's fields, e.g. nodes=3, cni="vxlan".

        As a context manager it ends the cluster if it made it; one that was there before stays.
        progress: True prints each step, a function gets it. Raises ConfigError for a bad setting, StartError if the
        machine cannot.
        """
        from .boot import lifecycle

        stored = lifecycle.stored_config(name)
        config = ClusterConfig.from_dict({**(stored.to_dict() if stored else {"name": name}), **settings})
        tell = progress if callable(progress) else print if progress else lambda _: None
        started = lifecycle.up(config, tell, explicit=bool(settings))
        made = cls(State.of(name).kubeconfig, name=name)
        made._ends = not started.resumed
        return made

    @classmethod
    def connect(cls, kubeconfig: str | Path | None = None, context: str | None = None) -> Cluster:
        """A running cluster: of a kubeconfig (default: kubectl's own), real Kubernetes included.

        A context (or kubeconfig) of ours is recognised, so that what needs the kernel works too.
        """
        if kubeconfig is None and context is None and (own := _only_running()):
            return cls(State.of(own).kubeconfig, name=own)
        ours = context.removeprefix("minik8s-") if context and context.startswith("minik8s-") else None
        return cls(kubeconfig, context, ours)

    def down(self) -> None:
        """End it without a trace (a cluster of ours; a real one is not ours to end)."""
        from .boot import lifecycle

        if self.name is None:
            raise PermissionError("this cluster was not started by minik8s, so minik8s does not end it")
        self.api.close()
        lifecycle.down(self.name)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self._ends:
            self.down()
        else:
            self.api.close()

    # -- objects ---------------------------------------------------------------------------------------------------
    def apply(self, source: str | Path | Json | Iterable[Json], namespace: str | None = None) -> list[Applied]:
        """Create or update: a YAML text, a file or folder, an object, or several. Returns what was done to each."""
        return Objects(manifests.apply(self.api, _objects(source), namespace))

    def get(self, kind: str, name: str | None = None, namespace: str | None = None, **query: Any) -> Any:
        """`get("pods")` -> list of objects, `get("pod", "web")` or `get("pod/web")` -> one; typed, as lightkube's.

        namespace="*" lists all namespaces; labels="app=web" selects.
        """
        kind, _, named = kind.partition("/")
        name = name or named or None
        resource = self.api.resource(kind)
        where = None if namespace == "*" else namespace or self.api.namespace
        answer = self.api.request("GET", resource.path(where, name), query={"labelSelector": query.get("labels")})
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        if name:
            return _typed({**head, **answer})
        return Objects(_typed({**head, **item}) for item in answer["items"])

    def delete(
        self, source: str | Path | Json | Iterable[Json], name: str | None = None, namespace: str | None = None,
        *, wait: float = 60.0,
    ) -> list[str]:  # fmt: skip
        """`delete("pod", "web")`, `delete("pod/web")`, or everything a manifest names.

        Waits up to `wait` seconds until it is gone.
        """
        if isinstance(source, str) and not name and (target := _ONE.fullmatch(source)) and not Path(source).exists():
            source, name = target.groups()
        if isinstance(source, str) and name:
            path = self.api.resource(source).path(namespace or self.api.namespace, name)
            self.api.request("DELETE", path)
            paths = [path]
        else:
            paths = [d.path for d in manifests.delete(self.api, _objects(source), namespace, missing_ok=True)]
        if wait:
            for path in paths:
                wait_for(self.api, path, "delete", wait)
        return paths

    def wait(
        self, target: str, condition: str = "condition=Ready", namespace: str | None = None, timeout: float = 30.0
    ) -> Any:
        """`wait("pod/web")`; condition as in `minik8s wait --for`. Raises TimeoutError saying what was seen last."""
        kind, _, name = target.partition("/")
        path = self.api.resource(kind).path(namespace or self.api.namespace, name)
        found = wait_for(self.api, path, condition, timeout)
        return _typed(found) if found else None

    # -- inside pods -------------------------------------------------------------------------------------------------
    def exec(
        self, pod: str, command: str | list[str], *, container: str | None = None, namespace: str | None = None,
        stdin: bytes | None = None,
    ) -> ExecResult:  # fmt: skip
        """Run a command in a pod: a list as it is, a string split as a shell would (pipes: ["sh", "-c", "…"])."""
        argv = shlex.split(command) if isinstance(command, str) else command
        return exec_client.run(self.api, namespace or self.api.namespace, pod, argv, container, stdin)

    def logs(
        self, pod: str, *, container: str | None = None, namespace: str | None = None, tail: int | None = None
    ) -> str:
        """What the container printed so far."""
        path = self.api.resource("pods").path(namespace or self.api.namespace, pod, "log")
        query = {"container": container, "tailLines": tail}
        return b"".join(self.api.stream(path, query)).decode(errors="replace")

    # -- looking -------------------------------------------------------------------------------------------------------
    def shell(self, place: str, command: str | list[str]) -> ExecResult:
        """Run one of the machine's own tools inside a namespace: "node-1", "fabric", "outside", "web" or "shop/web"."""
        from .cli.shell import run_in

        argv = shlex.split(command) if isinstance(command, str) else command
        return run_in(self._own_name(), place, argv)

    def topology(self) -> Topology:
        """The live picture; draws itself in a notebook, `.svg()` elsewhere."""
        from .observe.topology import topology

        return topology(self.api, self.name)

    # -- breaking and coming back --------------------------------------------------------------------------------------
    def fault(self, name: str, **parameters: Any) -> Json:
        """Break something on purpose: `fault("link-down", at="node-2")`, `fault("random", seed=7, hidden=True)`.

        Returns what was injected, with its lesson. See docs/faults.md. Raises StatusError for what cannot be.
        """
        if name == "random":
            return dict(self.api.verb("fault-inject", name=name, **parameters))
        hidden = bool(parameters.pop("hidden", False))
        return dict(self.api.verb("fault-inject", name=name, parameters=parameters, hidden=hidden))

    def clear(self, which: str | int = "all") -> list[Json]:
        """Mend what `fault` broke: its number, its name, or all. Returns what was cleared."""
        return list(self.api.verb("fault-clear", which=str(which))["cleared"])

    def faults(self) -> list[Json]:
        """The faults that are in now; hidden ones without their names."""
        return list(self.api.verb("fault-list")["injected"])

    def heal(self, component: str = "all", *, paused: bool = False) -> list[str]:
        """Pause (or resume) healing of a component, e.g. "route". Returns what is paused now."""
        return list(self.api.verb("heal-pause" if paused else "heal-resume", component=component)["paused"])

    def diff(self, place: str | None = None) -> list[Drift]:
        """Where the kernel differs from what was written; [] if nowhere."""
        from .healing.drift import Drift

        return [Drift.from_dict(each) for each in self.api.verb("diff", place=place)["drift"]]

    def snapshot(self, name: str) -> Json:
        """Keep the present objects and faults under a name."""
        return dict(self.api.verb("snapshot-save", name=name))

    def restore(self, name: str) -> Json:
        """Come back to a snapshot; returns once its pods run. What was done, and in how many seconds."""
        return dict(self.api.verb("snapshot-restore", name=name))

    def export(self) -> Json:
        """Objects, faults and seed as one document: `minik8s up --from FILE` makes the same cluster of it."""
        return dict(self.api.verb("export"))

    def top(self) -> Json:
        """Packets and bytes per pod, Service and policy rule, from the kernel's counters."""
        return dict(self.api.verb("top"))

    def trace(
        self, source: str, target: str, namespace: str | None = None, *, seconds: float | None = None
    ) -> Trace:  # fmt: skip
        """Send one real packet and tell its way: `trace("client", "http://web")`. Forms: `minik8s trace --help`.

        `seconds` to wait for an answer. Raises StatusError for a source or target that does not exist.
        """
        from .observe.trace.model import Trace

        asked = {"source": source, "target": target, "namespace": namespace or self.api.namespace, "seconds": seconds}
        return Trace.from_dict(self.api.verb("trace", **asked))

    def explain(self, source: str, target: str, namespace: str | None = None) -> Explanation:
        """Why a pod reaches a target, or why not: steps, and one cause. Forms of target: as for `trace`."""
        from .observe.explain.model import Explanation

        asked = {"source": source, "target": target, "namespace": namespace or self.api.namespace}
        return Explanation.from_dict(self.api.verb("explain", **asked))

    def changes(self) -> AbstractContextManager[Changes]:
        """What a block changes in kernel and DNS: `with cluster.changes() as c: cluster.apply(…)`; then `print(c)`."""
        from .observe.changes.recording import recorded

        return recorded(self.api)

    def explain_rule(self, rule: str, node: str | None = None) -> RuleOrigins:
        """Whose rule that is: the object, its line of YAML, and our source line. A chain, a printed line, or a part."""
        from .observe.rules.lines import with_lines
        from .observe.rules.model import RuleOrigins

        return with_lines(self.api, RuleOrigins.from_dict(self.api.verb("explain-rule", rule=rule, node=node)))

    def reach(
        self, port: int = 80, protocol: str = "tcp", namespace: str | None = None, *, services: bool = False
    ) -> Reach:
        """Every pod to every pod (or Service), measured beside what policies say; namespace="*": of all namespaces."""
        from .observe.reach import Reach

        where = None if namespace == "*" else namespace or self.api.namespace
        asked = {"port": port, "protocol": protocol, "namespace": where, "services": services}
        return Reach.from_dict(self.api.verb("reach", **asked))

    def dns(self, pod: str, name: str, type: str = "A", namespace: str | None = None) -> Walk:
        """One lookup as the pod's resolver does it: each try along the search path, with its answer.

        Raises StatusError for a pod that does not exist or what is no domain name.
        """
        from .dns.walk import Walk

        asked = {"source": pod, "name": name, "type": type, "namespace": namespace or self.api.namespace}
        return Walk.from_dict(self.api.verb("resolve", **asked))

    def capture(
        self, place: str, filter: str = "", *, interface: str = "", count: int | None = None,
        seconds: float | None = None, namespace: str | None = None,
    ) -> Capture:  # fmt: skip
        """Record packets, from now on: `with c.capture("client", "tcp port 80") as seen: …; print(seen)`.

        Ends after `count` packets, `seconds`, or `.stop()`; `.save("x.pcap")` for Wireshark. Raises StatusError.
        """
        from .client.capture import Capture

        asked = {"place": place, "filter": filter, "interface": interface, "count": count, "seconds": seconds}
        return Capture(self.api, {**asked, "namespace": namespace or self.api.namespace})

    @property
    def client(self) -> lightkube.Client:
        """A lightkube client for anything beyond: https://lightkube.readthedocs.io"""
        if self._client is None:
            import lightkube

            config = lightkube.KubeConfig.from_file(self._kubeconfig or "~/.kube/config")
            self._client = lightkube.Client(config.get(self._context))
        return self._client

    def _own_name(self) -> str:
        if self.name is None:
            raise PermissionError("this needs the kernel of a cluster of ours; a real one shows only its API")
        return self.name

    def __repr__(self) -> str:
        return f"Cluster({self.name or self.api.connection.host!r})"


def _objects(source: str | Path | Json | Iterable[Json]) -> list[Json]:
    if isinstance(source, dict):
        return [source]
    if isinstance(source, str | Path):
        is_text = isinstance(source, str) and ("\n" in source or ":" in source)
        return manifests.parse(str(source)) if is_text else manifests.read(source)
    return list(source)


def _typed(obj: Json) -> Any:
    from lightkube.codecs import from_dict

    return from_dict(obj)


def _only_running() -> str | None:
    """The default cluster of ours if it runs, else the only one that does."""
    from .boot import lifecycle

    running = [name for name in lifecycle.clusters() if lifecycle.is_ready(name)]
    return "minik8s" if "minik8s" in running else running[0] if len(running) == 1 else None

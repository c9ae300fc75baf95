"""What needs the kernel's side of a running cluster from a test's process, as root: its network namespaces by name."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from minik8s_net.boot.record import Record
from minik8s_net.cli.shell import pod_of
from minik8s_net.kernel.netns import NETNS_DIR, Netns
from minik8s_net.runtime.sandbox import netns_name
from minik8s_net.state import State


class Inside:
    """`inside("node-1")`, `inside("shop/pod/web")`: a namespace, with a thread in it. Ends them all when it is left."""

    def __init__(self, cluster: str) -> None:
        runtime = Record(State.of(cluster)).alive("runtime")
        assert runtime is not None, f"{cluster} does not run"
        self._cluster, self._root = cluster, Path(f"/proc/{runtime.pid}/root")
        self._open: dict[str, Netns] = {}

    def __call__(self, place: str) -> Netns:
        if place not in self._open:
            pod = pod_of(place) if "/" in place else None
            name = netns_name(self._cluster, *pod) if pod else f"{self._cluster}.{place}"
            self._open[place] = Netns(name, self._root / NETNS_DIR.relative_to("/") / name)
        return self._open[place]

    def __enter__(self) -> Inside:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        for netns in self._open.values():
            netns.close()

"""Health of each part, for `minik8s status`: processes by the record, the rest by asking the API."""

from __future__ import annotations

from dataclasses import dataclass

from ..api.errors import StatusError
from ..client.http import Api, Unreachable
from ..state import State, typed
from .folder import read_config
from .record import Record

PROCESSES = ("supervisor", "runtime", "controller")


@dataclass(frozen=True)
class Part:
    """One part of a cluster; `pid` 0 where it is no single process."""

    name: str
    healthy: bool
    pid: int
    detail: str


def health(cluster: str) -> list[Part]:
    """All parts, in the order in which they need each other. Raises DamagedError."""
    state = State.of(cluster)
    if not state.config.exists():
        return [Part("cluster", False, 0, f'there is no cluster "{cluster}"; start it with: {typed("up", cluster)}')]
    record = Record(state).read()
    again = f"start it again with: {typed('up', cluster)}"
    if (supervisor := record.get("supervisor")) and supervisor.alive() and _heals(state):
        again = "its supervisor is starting it again"
    parts = []
    for name in PROCESSES:
        process = record.get(name)
        alive = process is not None and process.alive()
        detail = "running" if alive else f"not running; {again}"
        parts.append(Part(name, alive, process.pid if process else 0, detail))
    return parts + _by_api(state)


def _heals(state: State) -> bool:
    return read_config(state).heal


def _by_api(state: State) -> list[Part]:
    try:
        api = Api.load(state.kubeconfig)
        api.request("GET", "/readyz")
    except Unreachable as error:
        return [Part("apiserver", False, 0, str(error).partition(";")[0])]  # without "see: minik8s status"
    except (StatusError, OSError) as error:
        return [Part("apiserver", False, 0, str(error))]
    parts = [Part("apiserver", True, 0, f"https://{api.connection.host}:{api.connection.port}")]
    for node in api.request("GET", "/api/v1/nodes")["items"]:
        ready = _condition(node, "Ready")
        parts.append(Part(node["metadata"]["name"], ready, 0, "Ready" if ready else "NotReady"))
    selector = {"labelSelector": "k8s-app=kube-dns"}
    pods = api.request("GET", "/api/v1/namespaces/kube-system/pods", query=selector)["items"]
    ready_pods = sum(_condition(pod, "Ready") for pod in pods)
    parts.append(Part("dns", ready_pods > 0, 0, f"{ready_pods} of {len(pods)} pods ready"))
    return parts


def _condition(obj: dict[str, object], kind: str) -> bool:
    status = obj.get("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    return any(c["type"] == kind and c["status"] == "True" for c in conditions or [])

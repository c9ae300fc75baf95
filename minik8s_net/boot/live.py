"""The running cluster, as the controller holds it: what a verb beyond the Kubernetes API may look at and touch."""

from __future__ import annotations

from dataclasses import dataclass

from ..apiserver.app import App
from ..config import ClusterConfig
from ..faults.engine import Faults
from ..kernel.netns import Netns
from ..observe.top import Traffic
from ..policy.index import PolicyIndex
from ..runtime.client import RuntimeClient
from ..state import State
from ..store.client import Client
from .nodes import NodeManager


@dataclass(frozen=True)
class Live:
    """One per controller process. `nodes.agents(name)` leads to a node's namespace, kubelet, proxier and enforcer."""

    config: ClusterConfig
    state: State
    client: Client
    runtime: RuntimeClient
    nodes: NodeManager
    policies: PolicyIndex
    fabric: Netns
    outside: Netns
    app: App
    faults: Faults
    traffic: Traffic

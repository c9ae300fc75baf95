"""The loops that make wanted state happen in the store: scheduler, endpointslice, deployment, replicaset …

In Kubernetes: kube-controller-manager and kube-scheduler. Read and write the store only; never touch the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..config import ClusterConfig
    from ..store.client import Client


class Controller(Protocol):
    """A loop over the store: works until cancelled."""

    async def run(self) -> None: ...


def all_controllers(client: Client, config: ClusterConfig, ca_pem: str) -> list[Controller]:
    """Every controller of a cluster, the ones that pods wait for first."""
    from ..proxy.loadbalancer import LoadBalancerController
    from .cronjob import CronJobController
    from .daemonset import DaemonSetController
    from .deployment import DeploymentController
    from .disruption import DisruptionController
    from .endpointslice import EndpointSliceController
    from .expiry import EventExpiry
    from .garbage import GarbageCollector
    from .job import JobController
    from .namespace import NamespaceController
    from .nodelifecycle import NodeLifecycleController
    from .replicaset import ReplicaSetController, replication_controllers
    from .scheduler import Scheduler
    from .statefulset import StatefulSetController

    return [
        NamespaceController(client, ca_pem),
        Scheduler(client),
        DeploymentController(client),
        ReplicaSetController(client),
        EndpointSliceController(client),
        LoadBalancerController(client, config),
        replication_controllers(client),
        StatefulSetController(client),
        DaemonSetController(client),
        JobController(client),
        CronJobController(client),
        DisruptionController(client),
        NodeLifecycleController(client),
        GarbageCollector(client),
        EventExpiry(client),
    ]

"""Which strategy a kind has."""

from __future__ import annotations

from ...api.kinds import Kind
from .jobs import JobStrategy
from .namespaces import NamespaceStrategy
from .pods import PodStrategy
from .services import ServiceStrategy
from .strategy import Strategy


class ReturningStrategy(Strategy):
    """Kinds whose finished DELETE answers with the object, for no reason but history."""

    returns_object = True


class DeploymentStrategy(Strategy):
    """A Deployment's labels go with its spec."""

    status_keeps = ("labels",)


class ApartStrategy(Strategy):
    """Kinds younger than metav1.ResetObjectMetaForStatus: metadata is never written through their status."""

    status_keeps = ("labels", "annotations", "finalizers", "ownerReferences")


_BY_RESOURCE: dict[str, type[Strategy]] = {
    "pods": PodStrategy,
    "services": ServiceStrategy,
    "namespaces": NamespaceStrategy,
    "jobs.batch": JobStrategy,
    "deployments.apps": DeploymentStrategy,
    **dict.fromkeys(
        (
            "apiservices.apiregistration.k8s.io",
            "customresourcedefinitions.apiextensions.k8s.io",
            "flowschemas.flowcontrol.apiserver.k8s.io",
            "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
            "validatingadmissionpolicies.admissionregistration.k8s.io",
            "volumeattachments.storage.k8s.io",
        ),
        ApartStrategy,
    ),
    **dict.fromkeys(
        ("serviceaccounts", "podtemplates", "persistentvolumes", "persistentvolumeclaims", "resourcequotas"),
        ReturningStrategy,
    ),
}


def strategy_for(kind: Kind) -> type[Strategy]:
    """The class that knows what is special about a kind."""
    return _BY_RESOURCE.get(kind.qualified, Strategy)

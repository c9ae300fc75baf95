"""Every GA built-in kind, from lightkube's table of resources, plus what that lacks (short names, categories).

Groups are imported when first asked for: a cluster that never sees a CSIDriver never loads it.
Short names, categories and connect subresources are those a real API server's discovery answers.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from lightkube.core.resource import Resource

# (group, version) -> lightkube's module, in the order a real server's /apis lists the groups.
MODULES: dict[tuple[str, str], str] = {
    ("", "v1"): "core_v1",
    ("apiregistration.k8s.io", "v1"): "apiregistration_v1",
    ("apps", "v1"): "apps_v1",
    ("events.k8s.io", "v1"): "events_v1",
    ("authentication.k8s.io", "v1"): "authentication_v1",
    ("authorization.k8s.io", "v1"): "authorization_v1",
    ("autoscaling", "v2"): "autoscaling_v2",
    ("autoscaling", "v1"): "autoscaling_v1",
    ("batch", "v1"): "batch_v1",
    ("certificates.k8s.io", "v1"): "certificates_v1",
    ("networking.k8s.io", "v1"): "networking_v1",
    ("policy", "v1"): "policy_v1",
    ("rbac.authorization.k8s.io", "v1"): "rbac_authorization_v1",
    ("storage.k8s.io", "v1"): "storage_v1",
    ("admissionregistration.k8s.io", "v1"): "admissionregistration_v1",
    ("apiextensions.k8s.io", "v1"): "apiextensions_v1",
    ("scheduling.k8s.io", "v1"): "scheduling_v1",
    ("coordination.k8s.io", "v1"): "coordination_v1",
    ("node.k8s.io", "v1"): "node_v1",
    ("discovery.k8s.io", "v1"): "discovery_v1",
    ("flowcontrol.apiserver.k8s.io", "v1"): "flowcontrol_apiserver_v1",
}
SHORT_NAMES: dict[str, tuple[str, ...]] = {
    "componentstatuses": ("cs",), "configmaps": ("cm",), "endpoints": ("ep",), "events": ("ev",),
    "limitranges": ("limits",), "namespaces": ("ns",), "nodes": ("no",), "persistentvolumeclaims": ("pvc",),
    "persistentvolumes": ("pv",), "pods": ("po",), "replicationcontrollers": ("rc",), "resourcequotas": ("quota",),
    "serviceaccounts": ("sa",), "services": ("svc",), "daemonsets": ("ds",), "deployments": ("deploy",),
    "replicasets": ("rs",), "statefulsets": ("sts",), "horizontalpodautoscalers": ("hpa",), "cronjobs": ("cj",),
    "certificatesigningrequests": ("csr",), "ingresses": ("ing",), "networkpolicies": ("netpol",),
    "ipaddresses": ("ip",), "poddisruptionbudgets": ("pdb",), "storageclasses": ("sc",),
    "customresourcedefinitions": ("crd", "crds"), "priorityclasses": ("pc",),
}  # fmt: skip
CATEGORIES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("pods", "replicationcontrollers", "services", "daemonsets", "deployments", "replicasets", "statefulsets",
         "horizontalpodautoscalers", "cronjobs", "jobs"), ("all",)),
    **dict.fromkeys(
        ("apiservices", "mutatingwebhookconfigurations", "validatingadmissionpolicies", "customresourcedefinitions",
         "validatingadmissionpolicybindings", "validatingwebhookconfigurations"), ("api-extensions",)),
}  # fmt: skip
# Kinds that something in this cluster acts on, or that need nobody to act. All others are kept, with a warning.
LIVE = frozenset(
    ["bindings", "componentstatuses", "configmaps", "endpoints", "events", "namespaces", "pods",
     "replicationcontrollers", "secrets", "podtemplates", "serviceaccounts", "services", "nodes",
     "controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets", "jobs", "leases",
     "endpointslices", "networkpolicies", "selfsubjectreviews", "tokenreviews", "localsubjectaccessreviews",
     "selfsubjectaccessreviews", "selfsubjectrulesreviews", "subjectaccessreviews", "poddisruptionbudgets", "cronjobs"]
)  # fmt: skip
# Kinds that are another's second face: stored as that one (`faces.py` converts).
HOMES = {("autoscaling", "v1"): ("autoscaling", "v2"), ("events.k8s.io", "v1"): ("", "v1")}
_VERBS = {"post": "create", "put": "update", "global_list": "list", "global_watch": "watch"}
_PROXY_VERBS = ("create", "delete", "get", "patch", "update")


@dataclass(frozen=True)
class Subresource:
    """`pods/eviction`: its name, and the kind that is sent (group and version empty: the parent's own)."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True, eq=False)
class Kind:
    """One served kind. `resource` is lightkube's class (a type for `Client`), `model` the schema it inherits."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    verbs: tuple[str, ...]
    resource: type[Resource]
    model: type[Any]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: dict[str, Subresource] = field(default_factory=dict)

    @property
    def api_version(self) -> str:
        """`apps/v1`, `v1`: as manifests write it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`deployments.apps`: the way messages name a resource."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def home(self) -> Kind:
        """The kind as which it is stored: itself, but for HOMES."""
        home = HOMES.get((self.group, self.version))
        return (by_path(*home, self.plural) if home else None) or self

    @property
    def storable(self) -> bool:
        """False for what is only ever posted and answered (reviews, bindings)."""
        return "list" in self.verbs and "create" in self.verbs

    @property
    def list_kind(self) -> str:
        """`PodList`."""
        return f"{self.kind}List"

    @property
    def warning(self) -> str | None:
        """The API warning for a kind nothing here acts on."""
        if self.plural in LIVE:
            return None
        return f"{self.api_version} {self.kind} is stored, but nothing in this cluster acts on it"


def by_path(group: str, version: str, plural: str) -> Kind | None:
    """The kind behind `/apis/GROUP/VERSION/…/PLURAL` (group "" is /api)."""
    return _group(group, version).get(plural)


def by_kind(api_version: str, kind: str) -> Kind | None:
    """The kind a manifest's apiVersion and kind name."""
    group, _, version = api_version.rpartition("/")
    return next((k for k in _group(group, version).values() if k.kind == kind), None)


@cache
def by_class(resource: type[Resource]) -> Kind:
    """The kind of a lightkube resource class. Raises KeyError for a class that is no stored kind."""
    info = resource._api_info
    return _group(info.resource.group, info.resource.version)[info.plural]


def in_group(group: str, version: str) -> list[Kind]:
    """All kinds of one group version, by plural name; empty where there is no such group."""
    return [kind for _, kind in sorted(_group(group, version).items())]


def all_kinds() -> Iterator[Kind]:
    """Every served kind (imports every group)."""
    for group, version in MODULES:
        yield from in_group(group, version)


def versions(group: str) -> list[str]:
    """Served versions of a group, preferred first."""
    return [v for g, v in MODULES if g == group]


def groups() -> list[str]:
    """Named groups in the order /apis lists them."""
    return list(dict.fromkeys(g for g, _ in MODULES if g))


@cache
def _group(group: str, version: str) -> dict[str, Kind]:
    module = MODULES.get((group, version))
    if module is None:
        return {}
    found = vars(importlib.import_module(f"lightkube.resources.{module}")).values()
    classes = [c for c in found if isinstance(c, type) and issubclass(c, Resource) and hasattr(c, "_api_info")]
    return {c._api_info.plural: _kind(c, classes) for c in classes if c._api_info.action is None}


def _kind(resource: type[Resource], classes: list[type[Resource]]) -> Kind:
    from lightkube.core.resource import NamespacedResource

    info = resource._api_info
    plural, kind = info.plural, info.resource.kind
    verbs = set(_rename(info.verbs))
    if kind == "ComponentStatus":
        verbs.discard("watch")
    if "list" in verbs and "create" in verbs and kind != "Namespace":
        verbs.add("deletecollection")
    return Kind(
        group=info.resource.group,
        version=info.resource.version,
        kind=kind,
        plural=plural,
        singular=plural if kind == "Endpoints" else kind.lower(),
        namespaced=issubclass(resource, NamespacedResource),
        verbs=tuple(sorted(verbs)),
        resource=resource,
        model=next(c for c in resource.__mro__ if c.__module__.startswith("lightkube.models.")),
        short_names=SHORT_NAMES.get(plural, ()),
        categories=CATEGORIES.get(plural, ()),
        subresources=_subresources(resource, classes),
    )


def _rename(verbs: list[str]) -> list[str]:
    return [_VERBS.get(verb, verb) for verb in verbs]


def _subresources(resource: type[Resource], classes: list[type[Resource]]) -> dict[str, Subresource]:
    info = resource._api_info
    found = []
    for sub in (c._api_info for c in classes if c._api_info.action and c._api_info.parent == info.resource):
        foreign = sub.resource.group != info.resource.group
        group, version = (sub.resource.group, sub.resource.version) if foreign else ("", "")
        verbs = tuple(sorted(set(_rename(sub.verbs))))
        found.append(Subresource(str(sub.action), sub.resource.kind, verbs, group, version))
    if info.resource.group == "" and info.resource.kind in ("Pod", "Service", "Node"):
        found.append(Subresource("proxy", f"{info.resource.kind}ProxyOptions", _PROXY_VERBS))
    if info.resource == ("", "v1", "Pod"):
        for name, options in (("attach", "Attach"), ("exec", "Exec"), ("portforward", "PortForward")):
            found.append(Subresource(name, f"Pod{options}Options", ("create", "get")))
    return {sub.name: sub for sub in sorted(found, key=lambda s: s.name)}

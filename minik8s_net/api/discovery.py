"""What a client can find out about the API: /version, /api, /apis and below, plain and aggregated.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

import base64
import hashlib
import platform
from functools import cache
from typing import Any

from minik8s_net.api import kinds
from minik8s_net.api.kinds import Kind, Subresource
from minik8s_net.version import __version__

Json = dict[str, Any]
MINOR = "33"  # of Kubernetes 1: the release lightkube-models is pinned to


def version() -> Json:
    """/version: what we say we are."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "major": "1",
        "minor": MINOR,
        "gitVersion": f"v1.{MINOR}.0+minik8s-{__version__}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "cpython",
        "platform": f"linux/{machine}",
    }


def api(server: str = "127.0.0.1") -> Json:
    """/api"""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def apis() -> Json:
    """/apis"""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in kinds.groups()]}


def group(name: str) -> Json | None:
    """/apis/NAME, or None."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)} if name in kinds.groups() else None


def _group(name: str) -> Json:
    served = [{"groupVersion": f"{name}/{v}", "version": v} for v in kinds.versions(name)]
    return {"name": name, "versions": served, "preferredVersion": served[0]}


def resources(group: str, version: str) -> Json | None:
    """/api/v1 or /apis/GROUP/VERSION, or None where there is no such group version."""
    found = kinds.in_group(group, version)
    if not found:
        return None
    listed = [entry for kind in found for entry in _entries(kind)]
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": listed}


def _entries(kind: Kind) -> list[Json]:
    main: Json = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        main["shortNames"] = list(kind.short_names)
    if kind.categories:
        main["categories"] = list(kind.categories)
    if kind.storable:
        digest = hashlib.sha256(f"{kind.api_version}/{kind.kind}".encode()).digest()
        main["storageVersionHash"] = base64.b64encode(digest[:8]).decode()
    return [main, *(_sub_entry(kind, sub) for sub in kind.subresources.values())]


def _sub_entry(kind: Kind, sub: Subresource) -> Json:
    entry: Json = {"name": f"{kind.plural}/{sub.name}", "singularName": "", "namespaced": kind.namespaced}
    if sub.group:
        entry |= {"group": sub.group, "version": sub.version}
    return {**entry, "kind": sub.kind, "verbs": list(sub.verbs)}


@cache
def aggregated(path: str, version: str = "v2") -> Json:
    """/api or /apis as one APIGroupDiscoveryList, `version` v2 or v2beta1."""
    names = [""] if path.strip("/") == "api" else kinds.groups()
    items = [_discovered(name) for name in names]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _discovered(group: str) -> Json:
    metadata: Json = {"name": group} if group else {}
    versions = [
        {"version": v, "resources": [_resource(k) for k in kinds.in_group(group, v)], "freshness": "Current"}
        for v in kinds.versions(group)
    ]
    return {"metadata": {**metadata, "creationTimestamp": None}, "versions": versions}


def _resource(kind: Kind) -> Json:
    found: Json = {
        "resource": kind.plural,
        "responseKind": {"group": "", "version": "", "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        found["shortNames"] = list(kind.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    if kind.subresources:
        found["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
                "verbs": list(sub.verbs),
            }
            for sub in kind.subresources.values()
        ]
    return found

"""Field paths as lines of YAML: what `kubectl get KIND NAME -o yaml` prints, counted from 1."""

from __future__ import annotations

from dataclasses import replace

from ...api.errors import StatusError
from ...client.http import Api
from ...client.yamllines import documents, line_of
from ...client.yamltext import dump
from .model import Origin, RuleOrigins

_API = {"Service": "v1", "EndpointSlice": "discovery.k8s.io/v1", "NetworkPolicy": "networking.k8s.io/v1"}


def with_lines(api: Api, found: RuleOrigins) -> RuleOrigins:
    """The same, with the line of each field in the object as it is now."""
    texts: dict[str, str] = {}

    def located(origin: Origin) -> Origin:
        if str(origin) not in texts:
            texts[str(origin)] = _yaml(api, origin)
        text = texts[str(origin)]
        line = line_of(documents(text)[0], origin.field) if text else None
        return replace(origin, line=line, text=text.splitlines()[line - 1] if line else "")

    return RuleOrigins(found.asked, [replace(t, origins=[located(o) for o in t.origins]) for t in found.told])


def _yaml(api: Api, origin: Origin) -> str:
    version = _API[origin.kind]
    try:
        obj = api.request("GET", api.resource_of(version, origin.kind).path(origin.namespace, origin.name))
    except StatusError:
        return ""  # it has gone meanwhile
    obj["metadata"].pop("managedFields", None)
    return dump({**obj, "apiVersion": version, "kind": origin.kind})

"""The downward API: what a container may ask about its own pod. Pure.

https://kubernetes.io/docs/concepts/workloads/pods/downward-api/
"""

from __future__ import annotations

import math
import os
import re
from decimal import Decimal

from lightkube.models.core_v1 import Container, ResourceFieldSelector
from lightkube.resources.core_v1 import Pod

from ..api import quantity

_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
# what Go escapes by a letter
_LETTERS = {c: f"\\{letter}" for c, letter in zip('"\\\a\b\f\n\r\t\v', '"\\abfnrtv', strict=True)}


def go_quoted(text: str) -> str:
    """As Go's %q writes it, in which Kubernetes shows labels and annotations: printable characters of any script stay
    (`é`), a control character is `\\x1b`, another that can't be printed `\\u200b`."""

    def one(char: str) -> str:
        code = ord(char)
        if char in _LETTERS or char.isprintable():
            return _LETTERS.get(char, char)
        if code < 0x20 or code == 0x7F:
            return f"\\x{code:02x}"
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return '"' + "".join(map(one, text)) + '"'


def field_value(pod: Pod, path: str, addresses: tuple[str, str]) -> str:
    """The value of a fieldRef. `addresses` are the pod's and the node's, newer than what the object says."""
    meta, spec = pod.metadata, pod.spec
    assert meta and spec
    simple = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "spec.nodeName": spec.nodeName,
        "spec.serviceAccountName": spec.serviceAccountName or "default",
        "status.podIP": addresses[0],
        "status.podIPs": addresses[0],
        "status.hostIP": addresses[1],
        "status.hostIPs": addresses[1],
    }
    if path in simple:
        return simple[path] or ""
    if match := _KEYED.fullmatch(path):
        keyed: dict[str, str] = (meta.labels if match[1] == "labels" else meta.annotations) or {}
        return keyed.get(match[2], "")
    if path in ("metadata.labels", "metadata.annotations"):
        values = (meta.labels if path == "metadata.labels" else meta.annotations) or {}
        return "\n".join(f"{k}={go_quoted(v)}" for k, v in sorted(values.items()))
    raise ValueError(f"unsupported fieldPath: {path}")


def resource_value(pod: Pod, ref: ResourceFieldSelector, container: Container | None) -> str:
    """limits.cpu in whole cores rounded up, in units of `divisor`; the node's own size where there is no limit."""
    if ref.containerName:
        everyone = [
            *(pod.spec.containers if pod.spec else ()),
            *((pod.spec.initContainers if pod.spec else None) or ()),
        ]
        container = next((c for c in everyone if c.name == ref.containerName), None)
    section, _, name = ref.resource.partition(".")
    resources = container.resources if container else None
    text = ((getattr(resources, section, None) if resources else None) or {}).get(name)
    if text is None and section == "limits":
        text = str(os.cpu_count() or 1) if name == "cpu" else str(memory_bytes()) if name == "memory" else "0"
    divisor = quantity.parse(ref.divisor) if ref.divisor and ref.divisor != "0" else Decimal(1)
    return str(math.ceil(quantity.parse(text or "0") / divisor))


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

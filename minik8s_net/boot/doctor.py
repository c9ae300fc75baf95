"""`minik8s doctor`: what this machine lacks, whether a cluster needs it, and the command that mends it.

Looks and probes (in a child, inside namespaces of its own); changes nothing.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import sys

from ..kernel.capabilities import Finding, findings

__all__ = ["Finding", "examine"]
LIBRARIES = ("lightkube", "starlette", "uvicorn", "wsproto", "cryptography", "PyYAML")


def examine() -> list[Finding]:
    """Everything a cluster needs (`required`) or could use, in the order in which it would be missed."""
    return [_python(), *findings(), *map(_library, LIBRARIES), _kubectl()]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", sys.version_info >= (3, 11), True, version, "apt-get install -y python3")


def _library(name: str) -> Finding:
    try:
        return Finding(name, True, True, importlib.metadata.version(name), "")
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, True, "not installed", f"pip install {name}")


def _kubectl() -> Finding:
    path = shutil.which("kubectl")
    detail = path or "not installed; `minik8s get`, `apply`, `exec` … do without it"
    return Finding("kubectl", path is not None, False, detail, "see kubernetes.io/docs/tasks/tools")

"""Reading a kubeconfig: where the server is and how to prove who we are.

https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class KubeconfigError(Exception):
    """No usable kubeconfig: says which file and what is missing."""


@dataclass(frozen=True)
class Connection:
    """One context of a kubeconfig, resolved."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    token: str
    namespace: str
    prefix: str = ""


def default_path() -> Path:
    """The first file of $KUBECONFIG, else ~/.kube/config. Raises KubeconfigError if nobody says what ~ is."""
    if listed := os.environ.get("KUBECONFIG"):
        return Path(listed.split(os.pathsep)[0])
    try:
        return Path.home() / ".kube" / "config"
    except RuntimeError as error:
        raise KubeconfigError(f"no kubeconfig: {error}; set HOME or KUBECONFIG") from None


def load(path: Path | None = None, context: str | None = None) -> Connection:
    """Read one context (default: the current one). Raises KubeconfigError."""
    import yaml

    path = path or default_path()
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        config: dict[str, Any] = yaml.load(path.read_text(), Loader=loader) or {}
    except FileNotFoundError:
        raise KubeconfigError(f"no kubeconfig at {path}; start a cluster with: minik8s up") from None
    except (OSError, yaml.YAMLError) as error:
        raise KubeconfigError(f"cannot read kubeconfig {path}: {error}") from None
    wanted = context or config.get("current-context") or ""
    chosen = _named(config, "contexts", wanted, path).get("context", {})
    cluster = _named(config, "clusters", chosen.get("cluster", ""), path).get("cluster", {})
    user = _named(config, "users", chosen.get("user", ""), path).get("user", {})
    url = urlsplit(cluster["server"])
    secure = url.scheme == "https"
    return Connection(
        host=url.hostname or "",
        port=url.port or (443 if secure else 80),
        tls=_tls(cluster, user, path) if secure else None,
        token=user.get("token", ""),
        namespace=chosen.get("namespace") or "default",
        prefix=url.path.rstrip("/"),
    )


def _named(config: dict[str, Any], section: str, name: str, path: Path) -> dict[str, Any]:
    for entry in config.get(section) or []:
        if entry.get("name") == name:
            return dict(entry)
    raise KubeconfigError(f'kubeconfig {path}: {section[:-1]} "{name}" does not exist')


def _tls(cluster: dict[str, Any], user: dict[str, Any], path: Path) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    elif data := cluster.get("certificate-authority-data"):
        tls.load_verify_locations(cadata=base64.b64decode(data).decode())
    elif file := cluster.get("certificate-authority"):
        tls.load_verify_locations(cafile=str(path.parent / file))
    else:
        tls.load_default_certs()
    if user.get("client-certificate-data"):
        with tempfile.NamedTemporaryFile("wb") as pem:  # ssl can load a chain from a file only
            pem.write(base64.b64decode(user["client-certificate-data"]) + b"\n")
            pem.write(base64.b64decode(user["client-key-data"]))
            pem.flush()
            tls.load_cert_chain(pem.name)
    elif user.get("client-certificate"):
        tls.load_cert_chain(str(path.parent / user["client-certificate"]), str(path.parent / user["client-key"]))
    return tls

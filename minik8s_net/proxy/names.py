"""Chain names as kube-proxy computes them: so a student finds the same names on a real cluster for the same objects.

iptables limits a chain's name to 28 characters, so the Service port is hashed into 16; nftables has room for both.
"""

from __future__ import annotations

import re
from base64 import b32encode
from hashlib import sha256

from .model import Endpoint, ServicePort

_OF_SERVICE = re.compile(r"[a-z]+-[A-Z2-7]{8}-([^/]+/[^/]+)/")
NFT_NAME_MAX = 256 - 16  # without the prefix ("endpoint-", "external-", …)


def _hash(text: str, length: int) -> str:
    return b32encode(sha256(text.encode()).digest()[: length * 5 // 8]).decode()  # 8 characters take 5 bytes


def service_chain(kind: str, port: ServicePort) -> str:
    """`kind` SVC (all endpoints), SVL (this node's), EXT (from outside), FW (source ranges)."""
    return f"KUBE-{kind}-{_hash(f'{port}{port.protocol}', 16)}"


def endpoint_chain(port: ServicePort, endpoint: Endpoint) -> str:
    """KUBE-SEP-…, hashed as kube-proxy does."""
    return f"KUBE-SEP-{_hash(f'{port}{port.protocol}{endpoint}', 16)}"


def nft_service_chain(kind: str, port: ServicePort) -> str:
    """`kind` service, local, external, firewall: `service-BL2LNB3L-kp/cip/tcp/http`."""
    return f"{kind}-{_hashed(_path(port))}"


def nft_endpoint(kind: str, port: ServicePort, endpoint: Endpoint) -> str:
    """`kind` endpoint (a chain) or affinity (a set)."""
    return f"{kind}-{_hashed(f'{_path(port)}__{endpoint.ip}/{endpoint.port}')}"


def nft_service_of(name: str) -> str:
    """`endpoint-BL2LNB3L-kp/cip/tcp/http__10.244.1.2/80` -> kp/cip; "" for a name of no Service's."""
    found = _OF_SERVICE.match(name)
    return found[1] if found else ""


def _path(port: ServicePort) -> str:
    return f"{port.namespace}/{port.service}/{port.protocol}/{port.port_name}"


def _hashed(text: str) -> str:
    name = f"{_hash(text, 8)}-{text}"
    return name if len(name) <= NFT_NAME_MAX else name[: NFT_NAME_MAX - 3] + "..."

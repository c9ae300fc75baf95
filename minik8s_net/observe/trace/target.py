"""What can be traced: the words of `minik8s trace POD TARGET`, read. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from ...api.errors import bad_request

Protocol = Literal["tcp", "udp"]
_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_HELP = "a target is one of http://NAME[:PORT][/PATH], tcp://HOST:PORT, udp://HOST:PORT, HOST[:PORT], svc/NAME[:PORT], \
pod/NAME:PORT, dns:NAME"


@dataclass(frozen=True)
class Target:
    """`host` is an address or a name; with `kind` the name of a Kubernetes object, looked up in the API instead."""

    text: str
    protocol: Protocol
    host: str
    port: int | None = None
    """None: what the Service (or the pod) found there says, else 80."""
    http: str | None = None
    """The path to GET; None: only connect (TCP) or send a datagram (UDP)."""
    kind: Literal["", "service", "pod", "dns"] = ""

    @property
    def is_address(self) -> bool:
        return bool(_ADDRESS.fullmatch(self.host))


def parse(text: str) -> Target:
    """Raises StatusError 400 with the forms there are."""
    text = text.strip()
    if text.startswith(("dns:", "dns/")):
        return Target(text, "udp", _named(text[4:].strip("/"), text), 53, kind="dns")
    if "://" in text:
        return _url(text)
    kind, slash, rest = text.partition("/")
    if slash and kind in ("svc", "service", "services"):
        host, port = _split(rest, text)
        return Target(text, "tcp", host, port, kind="service")
    if slash and kind in ("pod", "pods", "po"):
        host, port = _split(rest, text)
        return Target(text, "tcp", host, port, kind="pod")
    host, port = _split(text, text)
    return Target(text, "tcp", _named(host, text), port)


def _url(text: str) -> Target:
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise bad_request(f"no such target {text!r}: {_HELP}") from None
    if not host or url.scheme not in ("http", "https", "tcp", "udp"):
        raise bad_request(f"no such target {text!r}: {_HELP}")
    if url.scheme in ("tcp", "udp"):
        return Target(text, "udp" if url.scheme == "udp" else "tcp", host, port)
    if url.scheme == "https":  # TLS is not spoken: the handshake of TCP is what the network has to do with it
        return Target(text, "tcp", host, port or 443)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return Target(text, "tcp", host, port or 80, http=path)


def _split(text: str, whole: str) -> tuple[str, int | None]:
    host, colon, port = text.partition(":")
    if colon and not (port.isdigit() and 0 < int(port) < 65536):
        raise bad_request(f"no such port {port!r} in {whole!r}: {_HELP}")
    return host, int(port) if colon else None


def _named(host: str, whole: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,253}", host):
        raise bad_request(f"no such target {whole!r}: {_HELP}")
    return host

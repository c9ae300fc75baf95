"""A small real API server: HTTPS, bearer token, list and watch with resourceVersions, 410 for what is too old."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
TOKEN = "a-token"
PATHS = {
    "Namespace": "/api/v1/namespaces",
    "Service": "/api/v1/services",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/endpointslices",
    "Pod": "/api/v1/pods",
    "ConfigMap": "/api/v1/namespaces/kube-system/configmaps",
}


class Peer:
    """`put` and `delete` objects; clients see them by list and watch. Everything is one asyncio loop's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects: dict[str, dict[tuple[str, str], Json]] = {kind: {} for kind in PATHS}
        self.events: list[tuple[int, str, Json]] = []  # version, kind, event
        self.version, self.oldest = 100, 0
        self.port = 0
        self.requests: list[str] = []
        self.hold = asyncio.Event()  # lists wait for it
        self.hold.set()
        self._moved = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        make_certificate(folder)

    async def start(self) -> None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self.folder / "ca.crt", self.folder / "key.pem")
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    def forget_history(self) -> None:
        """What etcd's compaction does: watches from before now get 410."""
        self.oldest = self.version

    def cut_watches(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def put(self, obj: Json) -> None:
        kind = obj["kind"]
        key = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        known = key in self.objects[kind]
        self.version += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        self.objects[kind][key] = obj
        await self._event(kind, {"type": "MODIFIED" if known else "ADDED", "object": obj})

    async def delete(self, kind: str, name: str, namespace: str = "") -> None:
        obj = self.objects[kind].pop((namespace, name))
        self.version += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        await self._event(kind, {"type": "DELETED", "object": obj})

    async def _event(self, kind: str, event: Json) -> None:
        self.events.append((self.version, kind, event))
        async with self._moved:
            self._moved.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                target = head.split()[1]
                self.requests.append(target)
                url = urlsplit(target)
                query = {k: v[0] for k, v in parse_qs(url.query).items()}
                kind = next(kind for kind, path in PATHS.items() if path == url.path)
                if f"Authorization: Bearer {TOKEN}\r\n" not in head:
                    self._json(writer, 401, {"kind": "Status", "code": 401, "message": "Unauthorized"})
                elif query.get("watch"):
                    await self._watch(writer, kind, int(query["resourceVersion"]))
                else:
                    await self.hold.wait()
                    items = list(self.objects[kind].values())
                    meta = {"resourceVersion": str(self.version)}
                    self._json(writer, 200, {"kind": f"{kind}List", "metadata": meta, "items": items})
                await writer.drain()
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _watch(self, writer: asyncio.StreamWriter, kind: str, since: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n")
        if since < self.oldest:
            status = {
                "kind": "Status",
                "code": 410,
                "reason": "Expired",
                "message": "too old resource version",
            }
            self._chunk(writer, {"type": "ERROR", "object": status})
            writer.write(b"0\r\n\r\n")
            return
        done = 0
        while True:
            for version, of_kind, event in self.events[done:]:
                if of_kind == kind and version > since:
                    self._chunk(writer, event)
            done = len(self.events)
            await writer.drain()
            async with self._moved:
                await self._moved.wait_for(lambda seen=done: len(self.events) > seen or writer.is_closing())
            if writer.is_closing():
                raise EOFError

    @staticmethod
    def _chunk(writer: asyncio.StreamWriter, event: Json) -> None:
        line = json.dumps(event).encode() + b"\n"
        half = len(line) // 2  # chunks need not end where lines do
        for part in (line[:half], line[half:]):
            writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")

    @staticmethod
    def _json(writer: asyncio.StreamWriter, code: int, body: Json) -> None:
        raw = json.dumps(body).encode()
        writer.write(f"HTTP/1.1 {code} X\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw)


def make_certificate(folder: Path) -> None:
    """A self-signed certificate for 127.0.0.1 (its own CA) and a token, laid out as a service account's folder."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    (folder / "token").write_text(TOKEN + "\n")

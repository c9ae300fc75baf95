"""The cluster's own certificate authority, the API server's certificate, and the ServiceAccount signing key.

In Kubernetes: kubeadm's /etc/kubernetes/pki (https://kubernetes.io/docs/setup/best-practices/certificates/).
All keys are EC P-256: a key and its certificate take about a millisecond, where RSA costs 20–76 ms each.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..config import ClusterConfig, is_ipv4

YEARS = timedelta(days=3650)
_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


@dataclass(frozen=True)
class Pki:
    """Files in the cluster's `pki` folder (0700; keys 0600)."""

    root: Path

    @property
    def ca(self) -> Path:
        """The CA's certificate (PEM)."""
        return self.root / "ca.crt"

    @property
    def certificate(self) -> Path:
        """The server's certificate (PEM)."""
        return self.root / "apiserver.crt"

    @property
    def key(self) -> Path:
        """The server's key (PEM, 0600)."""
        return self.root / "apiserver.key"

    @property
    def service_account_key(self) -> Path:
        """The key that signs ServiceAccounts' tokens (PEM, 0600)."""
        return self.root / "sa.key"

    @property
    def admin_token(self) -> Path:
        """The administrator's bearer token (0600)."""
        return self.root / "admin.token"

    @property
    def port(self) -> Path:
        """The port on 127.0.0.1, kept over restarts."""
        return self.root / "port"


def ensure_pki(root: Path, config: ClusterConfig) -> Pki:
    """Make what is missing; what is there stays (a client's kubeconfig goes on working)."""
    pki = Pki(root)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (pki.ca.exists() and pki.certificate.exists() and pki.key.exists()):
        _issue(pki, config)
    if not pki.service_account_key.exists():
        write_private(pki.service_account_key, _pem(ec.generate_private_key(ec.SECP256R1())))
    if not pki.admin_token.exists():
        write_private(pki.admin_token, os.urandom(24).hex().encode())
    return pki


def server_names(config: ClusterConfig) -> list[str]:
    """All names and addresses under which the API server is reached, from the host and from pods."""
    qualified = [*_NAMES, f"kubernetes.default.svc.{config.cluster_domain}"]
    return [*qualified, "127.0.0.1", str(config.fabric_ip), str(config.api_service_ip)]


def write_private(path: Path, content: bytes, like: os.stat_result | None = None) -> None:
    """Atomically, readable by the owner only. What is there already is not written again: the disk may be full.

    `like`: whose the file is to be, and who may read it: that of the one it replaces. Raises PermissionError if we
    may not give it to its owner; the file is then as it was.
    """
    with contextlib.suppress(OSError):
        if path.read_bytes() == content:
            return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)  # of a process that had our id
    try:
        # EXCL: in another user's folder a link may be waiting there
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if like is not None:
                _make_like(file.fileno(), like)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _make_like(descriptor: int, like: os.stat_result) -> None:
    mine = os.fstat(descriptor)
    if mine.st_uid != like.st_uid:
        os.fchown(descriptor, like.st_uid, like.st_gid)
    elif mine.st_gid != like.st_gid:
        with contextlib.suppress(OSError):  # a group that we are not in
            os.fchown(descriptor, -1, like.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(like.st_mode))


def _issue(pki: Pki, config: ClusterConfig) -> None:
    """A new CA and a server certificate under it. The CA's key is not kept: it never signs again."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"minik8s-{config.name}-ca")])
    server = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    alternatives = x509.SubjectAlternativeName(
        [x509.IPAddress(ip_address(n)) if is_ipv4(n) else x509.DNSName(n) for n in server_names(config)]
    )
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    usage = {"content_commitment": False, "key_encipherment": False, "data_encipherment": False}
    usage |= {"key_agreement": False, "encipher_only": False, "decipher_only": False}
    ca = (
        _builder(ca_name, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    certificate = (
        _builder(server, ca_name, key)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **usage), critical=True
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    write_private(pki.key, _pem(key))
    write_private(pki.certificate, certificate.public_bytes(serialization.Encoding.PEM))
    write_private(pki.ca, ca.public_bytes(serialization.Encoding.PEM))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + YEARS)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

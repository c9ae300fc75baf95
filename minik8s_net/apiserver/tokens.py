"""Who is asking: the admin's bearer token, and ServiceAccount tokens (JWT, RFC 7519, signed with ES256).

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens
"""

from __future__ import annotations

import base64
import hmac
import os
import time
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from .pki import Pki

ISSUER = "https://kubernetes.default.svc.cluster.local"
YEAR = 365 * 24 * 3600  # seconds
Json = dict[str, Any]


@dataclass(frozen=True)
class User:
    """As in a TokenReview's `status.user`."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, list[str]] = field(default_factory=dict)

    def to_json(self) -> Json:
        """authentication.k8s.io/v1 UserInfo."""
        info: Json = {
            "username": self.name,
            "uid": self.uid,
            "groups": list(self.groups),
            "extra": self.extra,
        }
        return {key: value for key, value in info.items() if value}


ADMIN = User("kubernetes-admin", "1", ("system:masters", "system:authenticated"))


class Tokens:
    """Makes and checks tokens. A token is known by its signature: nothing about it is stored."""

    def __init__(self, pki: Pki) -> None:
        self.admin = pki.admin_token.read_text().strip()
        key = serialization.load_pem_private_key(pki.service_account_key.read_bytes(), None)
        self._key = cast(ec.EllipticCurvePrivateKey, key)
        self._seen: dict[str, tuple[float, User]] = {}  # checked signatures (0.1 ms each)

    def service_account(
        self,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        pod: tuple[str, str] | None = None,
        expiry: int = YEAR,
        audiences: list[str] | None = None,
    ) -> str:
        """A token for the account; `pod` is (name, uid) of its pod, `expiry` seconds from now."""
        now = int(time.time())
        bound: Json = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
        if pod:
            bound["pod"] = {"name": pod[0], "uid": pod[1]}
        claims: Json = {
            "iss": ISSUER,
            "aud": audiences or [ISSUER],
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        claims |= {
            "iat": now,
            "nbf": now,
            "exp": now + expiry,
            "jti": os.urandom(16).hex(),
            "kubernetes.io": bound,
        }
        head = _b64(msgspec.json.encode({"alg": "ES256", "typ": "JWT"}))
        signed = f"{head}.{_b64(msgspec.json.encode(claims))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def authenticate(self, token: str) -> User | None:
        """Whose token it is; None for nobody's."""
        if hmac.compare_digest(token.encode(), self.admin.encode()):
            return ADMIN
        expires, user = self._seen.get(token) or (0.0, None)
        if user is None:
            try:
                claims = self._verify(token)
                expires, user = float(claims["exp"]), _account(claims)
            except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature, msgspec.MsgspecError):
                return None
            if len(self._seen) > 10_000:
                self._seen.clear()
            self._seen[token] = (expires, user)
        return user if time.time() < expires else None

    def _verify(self, token: str) -> Json:
        signed, signature = token.rsplit(".", 1)
        raw = _unb64(signature)
        head, body = signed.split(".")
        if msgspec.json.decode(_unb64(head)).get("alg") != "ES256" or len(raw) != 64:
            raise ValueError("not one of our tokens")
        der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        self._key.public_key().verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
        return cast(Json, msgspec.json.decode(_unb64(body)))


def _account(claims: Json) -> User:
    bound = claims["kubernetes.io"]
    groups = (
        "system:serviceaccounts",
        f"system:serviceaccounts:{bound['namespace']}",
        "system:authenticated",
    )
    extra = {"authentication.kubernetes.io/credential-id": [f"JTI={claims['jti']}"]}
    if pod := bound.get("pod"):
        extra["authentication.kubernetes.io/pod-name"] = [pod["name"]]
        extra["authentication.kubernetes.io/pod-uid"] = [pod["uid"]]
    return User(claims["sub"], bound["serviceaccount"]["uid"], groups, extra)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

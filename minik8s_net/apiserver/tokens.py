"""Who is asking: the admin's bearer token, and ServiceAccount tokens (JWT, RFC 7519, signed with ES256).

A token is known by its signature, and good for as long as what it is bound to is there: its account, and the pod,
Secret or node it was made for, by name and uid. It opens only what it was made for, its audience.
https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens
"""

from __future__ import annotations

import base64
import hmac
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from ..api import times
from .pki import Pki

ISSUER = "https://kubernetes.default.svc.cluster.local"
API_AUDIENCES = (ISSUER,)
LEEWAY = 60.0  # seconds that clocks may differ, and that what is being deleted is still believed
BOUND = {"pod": "pods", "secret": "secrets", "node": "nodes"}  # what a token can be bound to, besides its account
Json = dict[str, Any]
Find = Callable[[str, str, str], Json | None]  # (plural, namespace, name) -> the object, if there is one


class Refused(Exception):
    """Nobody's token, or nobody's any more; the message is what a TokenReview says."""


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
    """Makes and checks tokens. Nothing about them is stored; `find` looks up what they are bound to."""

    def __init__(self, pki: Pki, find: Find) -> None:
        self.admin = pki.admin_token.read_text().strip()
        key = serialization.load_pem_private_key(pki.service_account_key.read_bytes(), None)
        self._key = cast(ec.EllipticCurvePrivateKey, key)
        self._find = find
        self._seen: dict[str, tuple[Json, User]] = {}  # by token whose signature was checked (0.1 ms each)

    def sign(self, account: Json, bound: Json, audiences: Sequence[str], seconds: int, warn_after: int = 0) -> str:
        """A token for a ServiceAccount. `bound` is {"pod": {"name", "uid"}, …}: whose end is its end, too."""
        now, meta = int(time.time()), account["metadata"]
        inside: Json = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
            **bound,
            **({"warnafter": now + warn_after} if warn_after else {}),
        }
        claims: Json = {
            "iss": ISSUER,
            "aud": list(audiences),
            "sub": f"system:serviceaccount:{meta['namespace']}:{meta['name']}",
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            "jti": os.urandom(16).hex(),
            "kubernetes.io": inside,
        }
        head = _b64(msgspec.json.encode({"alg": "ES256", "typ": "JWT"}))
        signed = f"{head}.{_b64(msgspec.json.encode(claims))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def authenticate(self, token: str) -> User | None:
        """Whose token it is, where it opens this API; None for nobody's."""
        try:
            return self.review(token, API_AUDIENCES)[0]
        except Refused:
            return None

    def review(self, token: str, audiences: Sequence[str]) -> tuple[User, list[str]]:
        """Whose token it is, and for which of `audiences` it is good: one at least. Raises Refused."""
        if hmac.compare_digest(token.encode(), self.admin.encode()):
            if good := [audience for audience in audiences if audience in API_AUDIENCES]:
                return ADMIN, good
            raise Refused("invalid bearer token")
        claims, user = self._seen.get(token) or self._read(token)
        good = [audience for audience in audiences if audience in claims["aud"]]
        if not good:
            meant, asked = (" ".join(f'"{one}"' for one in names) for names in (claims["aud"], audiences))
            raise _invalid(f"token audiences [{meant}] is invalid for the target audiences [{asked}]")
        self._check(claims)
        return user, good

    def _read(self, token: str) -> tuple[Json, User]:
        """Its claims, and who they say it is. Raises Refused."""
        try:
            claims = self._verify(token)
            found = claims, _account(claims)
        except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature, msgspec.MsgspecError):
            raise Refused("invalid bearer token") from None
        if len(self._seen) > 10_000:
            self._seen.clear()
        self._seen[token] = found
        return found

    def _verify(self, token: str) -> Json:
        signed, signature = token.rsplit(".", 1)
        raw = _unb64(signature)
        head, body = signed.split(".")
        if msgspec.json.decode(_unb64(head)).get("alg") != "ES256" or len(raw) != 64:
            raise ValueError("not one of our tokens")
        der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        self._key.public_key().verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
        return cast(Json, msgspec.json.decode(_unb64(body)))

    def _check(self, claims: Json) -> None:
        """Raises Refused for a token whose time is over, or that of what it is bound to."""
        now, inside = time.time(), claims["kubernetes.io"]
        if now >= claims["exp"]:
            raise _invalid("service account token has expired")
        if now < claims["nbf"] - LEEWAY:
            raise _invalid("service account token is not valid yet")
        namespace, account = inside["namespace"], inside["serviceaccount"]
        found = self._find("serviceaccounts", namespace, account["name"])
        if found is None:
            raise _invalid(f'serviceaccounts "{account["name"]}" not found')
        if _is_going(found, now):
            raise _invalid(f"service account {namespace}/{account['name']} has been deleted")
        if (uid := found["metadata"]["uid"]) != account["uid"]:
            raise _invalid(f"service account UID ({uid}) does not match claim ({account['uid']})")
        if kind := next((kind for kind in BOUND if kind in inside), None):  # a pod's node is only told
            bound = inside[kind]
            found = self._find(BOUND[kind], "" if kind == "node" else namespace, bound["name"])
            if found is None or _is_going(found, now):
                raise _invalid("service account token has been invalidated")
            if (uid := found["metadata"]["uid"]) != bound["uid"]:
                raise _invalid(f"{kind} UID ({uid}) does not match service account {kind} ref claim ({bound['uid']})")


def _invalid(why: str) -> Refused:
    return Refused(f"[invalid bearer token, {why}]")


def _is_going(obj: Json, now: float) -> bool:
    deleted = obj["metadata"].get("deletionTimestamp")
    return bool(deleted) and times.parse(deleted).timestamp() < now - LEEWAY


def _account(claims: Json) -> User:
    bound = claims["kubernetes.io"]
    groups = (
        "system:serviceaccounts",
        f"system:serviceaccounts:{bound['namespace']}",
        "system:authenticated",
    )
    extra = {"authentication.kubernetes.io/credential-id": [f"JTI={claims['jti']}"]}
    for kind in ("pod", "node"):
        if known := bound.get(kind):
            extra[f"authentication.kubernetes.io/{kind}-name"] = [known["name"]]
            extra[f"authentication.kubernetes.io/{kind}-uid"] = [known["uid"]]
    return User(claims["sub"], bound["serviceaccount"]["uid"], groups, extra)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

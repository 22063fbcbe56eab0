"""Access tokens (JWT, EdDSA, minutes) and refresh tokens (random, kept as hashes)."""

from __future__ import annotations

import hashlib
import secrets as random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from vidhub.errors import Unauthenticated
from vidhub.store.times import from_us

ACCESS_LIFE = timedelta(minutes=5)
AUDIENCE = "vidhub-api"
_ALGORITHM = "Ed25519"  # EdDSA by its name in RFC 9864
_MAX_TOKEN = 4_096


@dataclass(frozen=True, slots=True)
class AccessClaims:
    user_id: str
    login_id: str


class AccessTokens:
    """Signs and checks access tokens of one hub."""

    def __init__(self, key_pem: bytes, hub_id: str) -> None:
        self._key = OKPKey.import_key(key_pem)
        self._hub_id = hub_id

    def issue(self, user_id: str, login_id: str, now: datetime) -> tuple[str, datetime]:
        """(token, its end), the end in whole seconds as the token says it."""
        end = int((now + ACCESS_LIFE).timestamp())
        claims = {
            "iss": self._hub_id,
            "aud": AUDIENCE,
            "sub": user_id,
            "lid": login_id,
            "iat": int(now.timestamp()),
            "exp": end,
        }
        token = jwt.encode({"alg": _ALGORITHM}, claims, self._key, algorithms=[_ALGORITHM])
        return token, from_us(end * 1_000_000)

    def check(self, token: str, now: datetime) -> AccessClaims:
        """Raises Unauthenticated TOKEN_MISSING, TOKEN_INVALID or TOKEN_EXPIRED."""
        if not token:
            raise Unauthenticated("TOKEN_MISSING", "log in first")
        if len(token) > _MAX_TOKEN:
            raise _invalid()
        try:
            claims: dict[str, Any] = jwt.decode(token, self._key, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError, TypeError) as cause:
            raise _invalid() from cause
        subject, login, end = claims.get("sub"), claims.get("lid"), claims.get("exp")
        if claims.get("iss") != self._hub_id or claims.get("aud") != AUDIENCE:
            raise _invalid()
        if not (isinstance(subject, str) and isinstance(login, str) and type(end) is int):
            raise _invalid()
        if end <= now.timestamp():
            raise Unauthenticated("TOKEN_EXPIRED", "the access token has expired: refresh it")
        return AccessClaims(subject, login)


def new_refresh() -> tuple[str, bytes]:
    """(token for the caller, hash for the store). 256 random bits need no salt."""
    token = random.token_urlsafe(32)
    return token, hash_refresh(token)


def hash_refresh(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _invalid() -> Unauthenticated:
    return Unauthenticated("TOKEN_INVALID", "the access token is not one of this hub: log in again")

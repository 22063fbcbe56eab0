"""Access tokens (JWT, EdDSA, minutes), refresh tokens (random, kept as hashes) and marks of devices (JWT, months)."""

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
DEVICE_LIFE = timedelta(days=180)
_DEVICE_AUDIENCE = "vidhub-device"
_ALGORITHM = "Ed25519"  # EdDSA by its name in RFC 9864
_MAX_TOKEN = 4_096
# Access tokens whose signature has been looked at are known again by their text: as many as people who work at a time.
_MOST_KNOWN = 4_096


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """end: Unix time in whole seconds, from which on the token is none any more."""

    user_id: str
    login_id: str
    end: int


class AccessTokens:
    """Signs and checks access tokens of one hub."""

    def __init__(self, key_pem: bytes, hub_id: str) -> None:
        self._key = OKPKey.import_key(key_pem)
        self._hub_id = hub_id
        self._known: dict[str, AccessClaims] = {}

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
        claims = self._known.get(token)
        if claims is None:
            claims = self._read(token)
            if len(self._known) >= _MOST_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[token] = claims
        if claims.end <= now.timestamp():
            del self._known[token]
            raise Unauthenticated("TOKEN_EXPIRED", "the access token has expired: refresh it")
        return claims

    def _read(self, token: str) -> AccessClaims:
        """What a token says that we have signed; it may have expired."""
        try:
            claims: dict[str, Any] = jwt.decode(token, self._key, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError, TypeError) as cause:
            raise _invalid() from cause
        subject, login, end = claims.get("sub"), claims.get("lid"), claims.get("exp")
        if claims.get("iss") != self._hub_id or claims.get("aud") != AUDIENCE:
            raise _invalid()
        if not (isinstance(subject, str) and isinstance(login, str) and type(end) is int):
            raise _invalid()
        return AccessClaims(subject, login, end)

    def issue_device(self, user_id: str, now: datetime) -> str:
        """The mark that an account leaves on a device where it has logged in. It lets nobody in."""
        claims = {
            "iss": self._hub_id,
            "aud": _DEVICE_AUDIENCE,
            "sub": user_id,
            "jti": random.token_hex(16),
            "exp": int((now + DEVICE_LIFE).timestamp()),
        }
        return jwt.encode({"alg": _ALGORITHM}, claims, self._key, algorithms=[_ALGORITHM])

    def device(self, mark: str, user_id: str, now: datetime) -> str:
        """The id of the device that shows this mark of this account, or "" for what is none."""
        if not 0 < len(mark) <= _MAX_TOKEN:
            return ""
        try:
            claims: dict[str, Any] = jwt.decode(mark, self._key, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError, TypeError):
            return ""
        end, device = claims.get("exp"), claims.get("jti")
        is_ours = claims.get("iss") == self._hub_id and claims.get("aud") == _DEVICE_AUDIENCE
        is_good = type(end) is int and end > now.timestamp() and isinstance(device, str)
        return str(device) if is_ours and is_good and claims.get("sub") == user_id else ""


def new_refresh() -> tuple[str, bytes]:
    """(token for the caller, hash for the store). 256 random bits need no salt."""
    token = random.token_urlsafe(32)
    return token, hash_refresh(token)


def hash_refresh(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _invalid() -> Unauthenticated:
    return Unauthenticated("TOKEN_INVALID", "the access token is not one of this hub: log in again")

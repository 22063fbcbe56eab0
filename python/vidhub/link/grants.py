"""The word of a hub that a grant of its own carries what it asks for: a JWT, signed with the hub's key (EdDSA)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from vidhub.errors import PermissionDenied
from vidhub.model import Action

# Beyond the difference of the two clocks, which the link knows and which is taken off.
LEEWAY_S = 60.0
# A grant without end is shown with this one.
LONGEST = timedelta(days=366)
_ALGORITHM = "Ed25519"  # EdDSA by its name in RFC 9864
_TYPE = "vidhub-grant+jwt"
_MOST_BYTES = 2_048


class GrantWriter:
    """Signs as one hub."""

    def __init__(self, hub_id: str, key_pem: bytes) -> None:
        self._hub_id = hub_id
        self._key = OKPKey.import_key(key_pem)

    def write(
        self,
        *,
        to: str,
        viewer: str,
        camera_id: str,
        action: Action,
        purpose: str,
        grant_id: str,
        end: datetime | None,
        now: datetime,
    ) -> str:
        """to: the hub it is for. viewer: "NAME@HUB"."""
        claims = {
            "iss": self._hub_id,
            "aud": to,
            "sub": viewer,
            "cam": camera_id,
            "act": action.value,
            "pur": purpose,
            "gid": grant_id,
            "exp": int(min(end or now + LONGEST, now + LONGEST).timestamp()),
        }
        return jwt.encode({"alg": _ALGORITHM, "typ": _TYPE}, claims, self._key, algorithms=[_ALGORITHM])


def check_grant(
    text: str,
    key_pem: str,
    *,
    issuer: str,
    audience: str,
    viewer: str,
    camera_id: str,
    action: Action,
    purpose: str,
    now: datetime,
) -> datetime:
    """Until when the issuer's grant goes, by the issuer's clock. now: by the same clock.

    Raises PermissionDenied GRANT_INVALID for what is forged, over, or about something else.
    """
    if not text or len(text) > _MOST_BYTES:
        raise _invalid("there is none")
    try:
        token = jwt.decode(text, OKPKey.import_key(key_pem), algorithms=[_ALGORITHM])
        claims: dict[str, Any] = token.claims
    except (JoseError, ValueError, TypeError, RecursionError) as cause:
        raise _invalid("its signature is not the asking hub's") from cause
    expected = {
        "iss": issuer,
        "aud": audience,
        "sub": viewer,
        "cam": camera_id,
        "act": action.value,
        "pur": purpose,
    }
    wrong = [name for name, value in expected.items() if claims.get(name) != value]
    if token.header.get("typ") != _TYPE or wrong:
        raise _invalid(f"it is about something else ({', '.join(wrong) or 'typ'})")
    end = claims.get("exp")
    if type(end) is not int or not 0 < end < 1 << 40:
        raise _invalid("it says no end")
    if end + LEEWAY_S <= now.timestamp():
        raise _invalid("it is over")
    return now + timedelta(seconds=min(end - now.timestamp(), LONGEST.total_seconds() * 2))


def _invalid(why: str) -> PermissionDenied:
    return PermissionDenied("GRANT_INVALID", f"the grant that the asking hub shows is not good: {why}")

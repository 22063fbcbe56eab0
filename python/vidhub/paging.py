"""Page tokens: opaque to callers, bound to what was asked, checked on return.

A token holds only the place to go on from and a digest of the question. It grants nothing: each page is authorised
on its own, so there is nothing to sign.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json

from vidhub.errors import InvalidArgument

DEFAULT_SIZE = 100
MOST = 1_000


def size(asked: int) -> int:
    """How many rows a page holds: 100 unless asked, at most 1,000."""
    if asked < 0:
        raise InvalidArgument("PAGE_SIZE_INVALID", f"page_size is {asked}: give 1 to {MOST}, or leave it out")
    return min(asked or DEFAULT_SIZE, MOST)


def token(kind: str, question: object, after: str | None) -> str:
    """The token for the page after `after`; empty at the end. question: whatever must be asked alike again."""
    if after is None:
        return ""
    text = json.dumps([kind, _digest(question), after], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def after(kind: str, question: object, given: str) -> str:
    """The place to go on from.

    Raises InvalidArgument PAGE_TOKEN_INVALID for what `token` did not make for this question.
    """
    if not given:
        return ""
    wrong = InvalidArgument(
        "PAGE_TOKEN_INVALID", "page_token belongs to another question, or is none: list from the start"
    )
    if len(given) > 1_024:
        raise wrong
    try:
        raw = base64.b64decode(given.encode("ascii") + b"=" * (-len(given) % 4), altchars=b"-_", validate=True)
        parts = json.loads(raw)
    except (ValueError, binascii.Error, RecursionError):
        raise wrong from None
    if not isinstance(parts, list) or len(parts) != 3 or parts[:2] != [kind, _digest(question)]:
        raise wrong
    if not isinstance(parts[2], str):
        raise wrong
    return parts[2]


def _digest(question: object) -> str:
    return hashlib.sha256(repr(question).encode("utf-8", "surrogatepass")).hexdigest()[:16]

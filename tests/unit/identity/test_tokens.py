"""Access tokens that have been looked at before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from joserfc.jwk import OKPKey

from vidhub.errors import Unauthenticated
from vidhub.identity import tokens
from vidhub.identity.tokens import ACCESS_LIFE, AccessTokens

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


@pytest.fixture
def signer() -> AccessTokens:
    return AccessTokens(OKPKey.generate_key("Ed25519", private=True).as_pem(private=True), "yingtan")


def test_a_token_that_is_known_expires_all_the_same(signer: AccessTokens) -> None:
    token, end = signer.issue("u1", "l1", NOW)
    for moment in (NOW, NOW + timedelta(seconds=1), end - timedelta(microseconds=1)):
        assert (signer.check(token, moment).user_id, signer.check(token, moment).login_id) == ("u1", "l1")
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="TOKEN_EXPIRED"):
            signer.check(token, NOW + ACCESS_LIFE)
    assert not signer._known


def test_one_that_differs_by_a_letter_is_not_known(signer: AccessTokens) -> None:
    token, _ = signer.issue("u1", "l1", NOW)
    signer.check(token, NOW)
    head, _, signature = token.rpartition(".")
    other = "A" if signature[0] != "A" else "B"
    with pytest.raises(Unauthenticated, match="TOKEN_INVALID"):
        signer.check(f"{head}.{other}{signature[1:]}", NOW)


def test_a_signature_is_looked_at_once_and_so_many_are_kept(
    signer: AccessTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_MOST_KNOWN", 2)
    issued = [signer.issue("u1", f"l{number}", NOW)[0] for number in range(3)]
    claims = [signer.check(token, NOW) for token in issued]
    assert list(signer._known) == issued[1:]
    assert signer.check(issued[2], NOW) is claims[2]
    assert signer.check(issued[0], NOW) == claims[0]
    assert list(signer._known) == [issued[2], issued[0]]

"""What is no password, and what is one."""

from __future__ import annotations

import pytest

from vidhub.errors import InvalidArgument
from vidhub.identity.passwords import check_password, one_time_password


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "1qaz2wsx3edc",
        "Hikvision12345",
        "PASSWORD123",
        "password123!!",
        "password123456",
        "Admin@202611",
        "2026yingtan!!",
        "hikvision8888",
        "woaini5201314",
        "qwertyuiopasdfghjkl"[:10],
        "abcdefghijkl",
        "9876543210987",
        "zxcvbnmzxcvbnm",
        "ab12ab12ab12",
        "----------",
        "zhangwei1985",
        "1985zhangwei",
        "ZHANGWEI!!!!",
        "iewgnahziewgnahz",
        "治安大队治安大队12",
        "vidhub2026!",
        "x" * 257,
    ],
)
def test_what_anybody_tries_first_is_refused_by_its_rule(password: str) -> None:
    with pytest.raises(InvalidArgument, match="PASSWORD_TOO_WEAK") as caught:
        check_password("zhangwei", password, "张伟", "治安大队", "vidhub")
    assert password not in str(caught.value)
    assert caught.value.violations[0].field == "new_password"


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "晴天 with 7 clouds",
        "zhangwei likes 7 red pandas",
        "admin of seven cats",
        "x9$kLm2!qPz",
        pytest.param(one_time_password(), id="one-time"),
    ],
)
def test_what_is_long_and_ones_own_is_taken(password: str) -> None:
    check_password("zhangwei", password, "张伟", "治安大队", "vidhub")


def test_a_one_time_password_is_one_too() -> None:
    for _ in range(200):
        check_password("zhangwei", one_time_password(), "张伟", "治安大队", "vidhub")

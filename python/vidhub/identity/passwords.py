"""What a password must be, and how it is kept: argon2id, a few at a time, off the event loop."""

from __future__ import annotations

import asyncio
import re
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from vidhub.errors import InvalidArgument, ResourceExhausted, Violation

T = TypeVar("T")

MIN_LENGTH = 10
MAX_LENGTH = 256
# Of what is left beside one's own name, or the names that go with it.
_MIN_OWN = 8
_MAX_WAITING = 64
_ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "abcdefghijklmnopqrstuvwxyz", "1qaz2wsx3edc4rfv5tgb6yhn")
_COMMON = frozenset(
    line
    for line in (files(__package__) / "common_passwords.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)
# What people begin with when they make one up; the list of whole passwords can't have every tail of theirs.
_BEGINNINGS = (
    *(
        "password",
        "passw0rd",
        "p@ssword",
        "p@ssw0rd",
        "pa55word",
        "admin",
        "administrator",
        "root",
        "qwerty",
        "letmein",
    ),
    *(
        "welcome",
        "changeme",
        "woaini",
        "zhongguo",
        "jiangxi",
        "yingtan",
        "gongan",
        "jingcha",
        "shexiangtou",
        "jiankong",
    ),
    *("hikvision", "dahua", "uniview", "tiandy", "huawei", "camera", "密码", "管理员"),
)
# Without what is easily mistaken for another when it is read out: 0 O 1 l I.
_LEGIBLE = "23456789abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"


def check_password(name: str, password: str, *others: str) -> None:
    """Raises InvalidArgument PASSWORD_TOO_WEAK saying which rule it breaks, never the password.

    others: further names that go with the account, as those that people call the person and the department by.
    """
    folded = normal(password).casefold()
    problem = ""
    if len(folded) < MIN_LENGTH:
        problem = f"it needs at least {MIN_LENGTH} characters"
    elif len(folded) > MAX_LENGTH:
        problem = f"it has more than {MAX_LENGTH} characters"
    elif name.casefold() in (folded, folded[::-1]) or any(
        _is_little_more_than(word, folded) for word in (name, *others)
    ):
        problem = "it is little more than a name of the user, or of the hub"
    elif (
        folded in _COMMON
        or folded.rstrip("!@#$%^&*.?~+-_ ") in _COMMON
        or any(_is_little_more_than(word, folded) for word in _BEGINNINGS)
    ):
        problem = "it is among the first that anybody tries"
    elif len(set(folded)) < 4 or _is_repeated(folded) or _is_walk(folded):
        problem = "it repeats itself, or follows the keyboard or the alphabet"
    if problem:
        raise InvalidArgument(
            "PASSWORD_TOO_WEAK",
            f"choose another password: {problem}",
            violations=[Violation("new_password", "PASSWORD_TOO_WEAK", problem)],
        )


def one_time_password() -> str:
    """To be read out or copied, and changed at once: four groups, 93 bits."""
    return "-".join("".join(secrets.choice(_LEGIBLE) for _ in range(4)) for _ in range(4))


def _is_little_more_than(word: str, folded: str) -> bool:
    word = normal(word).casefold().strip()
    return len(word) >= 2 and word in folded and len(folded.replace(word, "")) < min(_MIN_OWN, 2 * len(word))


def _is_repeated(folded: str) -> bool:
    """One block, over and over."""
    period = (folded + folded).find(folded, 1)
    return period <= len(folded) // 2


def _is_walk(folded: str) -> bool:
    """Along a row of keys or the alphabet, forwards or backwards, and nothing else to speak of."""
    kept = re.sub(r"[^0-9a-z]", "", folded)
    return len(kept) >= MIN_LENGTH and any(kept in row * 2 or kept in row[::-1] * 2 for row in _ROWS)


def normal(password: str) -> str:
    """The same characters typed on different systems are the same password."""
    return unicodedata.normalize("NFC", password)


class Hasher:
    """At most `parallel` hashes at once, each of 64 MiB by default; a bounded number waits."""

    def __init__(self, hasher: PasswordHasher | None = None, *, parallel: int = 2) -> None:
        self._hasher = hasher if hasher is not None else PasswordHasher()
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="vidhub-argon2")
        self._waiting = 0
        self._nobody = self._hasher.hash("a password of nobody")

    def close(self) -> None:
        self._threads.shutdown()

    async def hash(self, password: str) -> str:
        return await self._run(lambda: self._hasher.hash(normal(password)))

    async def verify(self, hashed: str, password: str) -> bool:
        """An empty `hashed` (no such user) takes as long as a real one."""

        def work() -> bool:
            try:
                return self._hasher.verify(hashed or self._nobody, normal(password)) and bool(hashed)
            except (Argon2Error, InvalidHashError):
                return False

        return len(password) <= MAX_LENGTH and await self._run(work)

    def is_outdated(self, hashed: str) -> bool:
        return self._hasher.check_needs_rehash(hashed)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= _MAX_WAITING:
            raise ResourceExhausted("LIMIT_LOGINS", "too many log in at this moment: try again in a few seconds")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1

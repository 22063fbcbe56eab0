"""What a password must be, and how it is kept: argon2id, a few at a time, off the event loop."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from vidhub.errors import InvalidArgument, ResourceExhausted, Violation

T = TypeVar("T")

MIN_LENGTH = 10
MAX_LENGTH = 256
_MAX_WAITING = 64
_COMMON_TEXT = (
    "1234567890 12345678910 123456789a 0123456789 9876543210 0987654321 1q2w3e4r5t 1qaz2wsx3edc qwertyuiop "
    "qwerty12345 qwerty123456 password12 password123 password1234 password12345 passw0rd123 p@ssw0rd123 "
    "administrator admin12345 admin123456 admin@12345 admin@123456 letmein1234 welcome123 welcome1234 "
    "iloveyou123 abcdefghij abcd123456 abc1234567 abc123456789 a123456789 aa12345678 aa123456789 qq123456789 "
    "woaini1314 woaini520 woaini1314520 changeme123 hikvision123 hikvision12345 dahua12345 vidhub12345 "
    "vidhub123456 hello12345 football123 monkey12345"
)
_COMMON = frozenset(_COMMON_TEXT.split())


def check_password(name: str, password: str) -> None:
    """Raises InvalidArgument PASSWORD_TOO_WEAK saying which rule it breaks, never the password."""
    folded = normal(password).casefold()
    problem = ""
    if len(folded) < MIN_LENGTH:
        problem = f"it needs at least {MIN_LENGTH} characters"
    elif len(folded) > MAX_LENGTH:
        problem = f"it has more than {MAX_LENGTH} characters"
    elif name.casefold() in (folded, folded[::-1]) or (
        len(name) >= 4 and folded.strip("0123456789") == name.casefold()
    ):
        problem = "it is the name of the user"
    elif folded in _COMMON or len(set(folded)) < 4:
        problem = "it is among the first that anybody tries"
    if problem:
        raise InvalidArgument(
            "PASSWORD_TOO_WEAK",
            f"choose another password: {problem}",
            violations=[Violation("new_password", "PASSWORD_TOO_WEAK", problem)],
        )


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

"""Who has an account: held in memory, so that a call is judged without a read; the store is the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vidhub import paging
from vidhub.errors import NotFound
from vidhub.model import Role, User

MOST_DEPARTMENTS = 1_000


@dataclass(frozen=True, slots=True)
class UserFilter:
    """All given conditions hold together. text: part of a name. roles: any of them. state: "active", "new",
    "suspended" or "" for all."""

    text: str = ""
    roles: frozenset[Role] = frozenset()
    department: str = ""
    unit_id: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class UserPage:
    """In order of name. total: all that match. departments: every one that somebody is of."""

    users: tuple[User, ...]
    next_page_token: str
    total: int
    departments: tuple[str, ...]


EVERYBODY = UserFilter()


def state_of(user: User) -> str:
    """ "active"; "suspended"; or "new": the one-time password has not been changed yet."""
    return "suspended" if user.suspended else "new" if user.must_change_password else "active"


class Directory:
    """By id, and by name in any case."""

    def __init__(self, known: Iterable[User] = ()) -> None:
        self._users: dict[str, User] = {}
        self._ids: dict[str, str] = {}
        for user in known:
            self.learn(user)

    def __iter__(self) -> Iterator[User]:
        """In order of name."""
        return iter(sorted(self._users.values(), key=lambda user: user.name))

    def learn(self, user: User) -> None:
        """Takes over what became durable."""
        self._users[user.id] = user
        self._ids[user.name.casefold()] = user.id

    def get(self, user_id: str) -> User | None:
        return self._users.get(user_id)

    def find(self, name: str) -> User | None:
        user_id = self._ids.get(name.casefold())
        return None if user_id is None else self._users.get(user_id)

    def named(self, name: str) -> User:
        """Raises NotFound USER_UNKNOWN."""
        user = self.find(name)
        if user is None:
            raise NotFound("USER_UNKNOWN", f"there is no user {name[:64]}: see `vidhub user list`")
        return user

    def page(self, asker: str, wanted: UserFilter, page_size: int, page_token: str) -> UserPage:
        """asker: whom the page token is for."""
        question = (asker, wanted.text, sorted(wanted.roles), wanted.department, wanted.unit_id, wanted.state)
        after = paging.after("users", question, page_token)
        limit = paging.size(page_size)
        everybody = list(self)
        found = [user for user in everybody if _matches(user, wanted)]
        rest = [user for user in found if user.name > after]
        more = rest[limit - 1].name if len(rest) > limit else None
        departments = sorted({user.department for user in everybody if user.department})
        return UserPage(
            tuple(rest[:limit]),
            paging.token("users", question, more),
            len(found),
            tuple(departments[:MOST_DEPARTMENTS]),
        )


def _matches(user: User, wanted: UserFilter) -> bool:
    text = wanted.text.casefold()
    return (
        (not text or text in user.name.casefold() or text in user.display_name.casefold())
        and (not wanted.roles or bool(wanted.roles & user.roles))
        and (not wanted.department or wanted.department == user.department)
        and (not wanted.unit_id or wanted.unit_id == user.unit_id)
        and (not wanted.state or wanted.state == state_of(user))
    )

"""What the command line does to accounts and logins; see `admin.py`."""

from __future__ import annotations

from typing import Any

from vidhub import paging
from vidhub.api.admin import AdminOperations, time, word
from vidhub.errors import InvalidArgument
from vidhub.identity import People
from vidhub.model import Principal, Role, User

_CHANGEABLE = ("display_name", "department", "unit_id")


class PeopleOperations:
    """Recorded as `principal`."""

    def __init__(self, principal: Principal, people: People) -> None:
        self._principal = principal
        self._people = people

    def add_to(self, operations: AdminOperations) -> None:
        operations.add(self.user_add, name=str, roles=list, password=str, unit_id="", department="", display_name="")
        operations.add(self.user_list)
        operations.add(self.user_update, name=str, changes=dict)
        operations.add(self.user_passwd, name=str, password=str)
        operations.add(self.user_reset, name=str)
        operations.add(self.user_suspend, name=str, reason="")
        operations.add(self.user_resume, name=str)
        operations.add(self.user_logins, name="*")
        operations.add(self.user_end_login, id=str)

    async def user_add(
        self, name: str, roles: list[str], password: str, unit_id: str, department: str, display_name: str
    ) -> dict[str, Any]:
        user = await self._people.add(
            self._principal,
            name,
            [word(Role, role, "ROLE_UNKNOWN") for role in roles],
            password=password,
            unit_id=unit_id,
            department=department,
            display_name=display_name,
        )
        return _user(user)

    async def user_list(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            page = await self._people.list_users(self._principal, page_size=paging.MOST, page_token=token)
            found += [_user(user) for user in page.users]
            token = page.next_page_token
            if not token:
                return {"users": found}

    async def user_update(self, name: str, changes: dict[str, Any]) -> dict[str, Any]:
        """changes: what shall be otherwise; `roles` as a list."""
        texts = {field: value for field, value in changes.items() if field in _CHANGEABLE and isinstance(value, str)}
        roles = changes.get("roles")
        if isinstance(roles, list) and all(isinstance(one, str) for one in roles):
            wanted = [word(Role, one, "ROLE_UNKNOWN") for one in roles]
        else:
            wanted = None
        if not changes or len(texts) + (wanted is not None) != len(changes):
            raise InvalidArgument("ARGUMENT_INVALID", f"say what to change: {', '.join(_CHANGEABLE)} or roles")
        return _user(await self._people.update(self._principal, name, roles=wanted, **texts))

    async def user_passwd(self, name: str, password: str) -> dict[str, Any]:
        return _user(await self._people.set_password(self._principal, name, password))

    async def user_reset(self, name: str) -> dict[str, Any]:
        made = await self._people.reset_password(self._principal, name)
        return {"name": made.user.name, "one_time_password": made.password, "expire_time": time(made.expire_time)}

    async def user_suspend(self, name: str, reason: str) -> dict[str, Any]:
        return _user(await self._people.suspend(self._principal, name, reason))

    async def user_resume(self, name: str) -> dict[str, Any]:
        return _user(await self._people.resume(self._principal, name))

    async def user_logins(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            page = self._people.logins.under_way(
                self._principal, username=name, page_size=paging.MOST, page_token=token
            )
            found += [
                {
                    "id": one.login.id,
                    "name": one.username,
                    "create_time": time(one.login.create_time),
                    "expire_time": time(one.login.expire_time),
                    "source_address": one.login.source_address,
                    "client": one.login.client,
                }
                for one in page.logins
            ]
            token = page.next_page_token
            if not token:
                return {"logins": found}

    async def user_end_login(self, id: str) -> dict[str, Any]:
        await self._people.logins.end(self._principal, id)
        return {"id": id}


def _user(user: User) -> dict[str, Any]:
    roles = sorted(role.value for role in user.roles)
    return {
        "id": user.id,
        "name": user.name,
        "role": roles[0] if roles else "",
        "roles": roles,
        "display_name": user.display_name,
        "department": user.department,
        "unit_id": user.unit_id,
        "suspended": user.suspended,
    }

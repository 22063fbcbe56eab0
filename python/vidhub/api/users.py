"""UserService."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vidhub.api import convert
from vidhub.api.call import Call
from vidhub.api.convert_people import from_roles, from_user_state, masked, to_login, to_user
from vidhub.errors import VidhubError, Violation
from vidhub.identity import People
from vidhub.identity.directory import UserFilter
from vidhub.v1 import user_service_pb2 as pb

_CHANGEABLE = ("display_name", "department", "unit_id", "roles")
# Where a form marks what the domain found wrong.
_FIELDS = {
    "NAME_INVALID": "user.name",
    "USER_EXISTS": "user.name",
    "ROLE_MISSING": "user.roles",
    "ROLES_EXCLUDE": "user.roles",
    "UNIT_MISSING": "user.unit_id",
    "UNIT_UNKNOWN": "user.unit_id",
}


class UserServicer:
    def __init__(self, people: People) -> None:
        self._people = people

    async def list_users(self, request: pb.ListUsersRequest, call: Call) -> pb.ListUsersResponse:
        wanted = UserFilter(
            text=request.text.strip(),
            roles=from_roles(request.roles),
            department=request.department.strip(),
            unit_id=request.unit_id,
            state=from_user_state(request.state),
        )
        page = await self._people.list_users(
            call.caller, wanted, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListUsersResponse(
            users=[to_user(user) for user in page.users],
            next_page_token=page.next_page_token,
            total_size=page.total,
            departments=page.departments,
        )

    async def create_user(self, request: pb.CreateUserRequest, call: Call) -> pb.CreateUserResponse:
        user = request.user
        with _at_its_field():
            made = await self._people.create(
                call.caller,
                user.name,
                from_roles(user.roles),
                unit_id=user.unit_id,
                department=user.department,
                display_name=user.display_name,
            )
        return pb.CreateUserResponse(
            user=to_user(made.user),
            one_time_password=made.password,
            password_expire_time=convert.to_time(made.expire_time),
        )

    async def update_user(self, request: pb.UpdateUserRequest, call: Call) -> pb.UpdateUserResponse:
        user = request.user
        fields = masked(request.update_mask.paths, _CHANGEABLE)
        with _at_its_field():
            changed = await self._people.update(
                call.caller,
                user.name,
                display_name=user.display_name if "display_name" in fields else None,
                department=user.department if "department" in fields else None,
                unit_id=user.unit_id if "unit_id" in fields else None,
                roles=from_roles(user.roles) if "roles" in fields else None,
            )
        return pb.UpdateUserResponse(user=to_user(changed))

    async def suspend_user(self, request: pb.SuspendUserRequest, call: Call) -> pb.SuspendUserResponse:
        return pb.SuspendUserResponse(
            user=to_user(await self._people.suspend(call.caller, request.name, request.reason))
        )

    async def resume_user(self, request: pb.ResumeUserRequest, call: Call) -> pb.ResumeUserResponse:
        return pb.ResumeUserResponse(user=to_user(await self._people.resume(call.caller, request.name)))

    async def reset_password(self, request: pb.ResetPasswordRequest, call: Call) -> pb.ResetPasswordResponse:
        made = await self._people.reset_password(call.caller, request.name)
        return pb.ResetPasswordResponse(
            one_time_password=made.password, password_expire_time=convert.to_time(made.expire_time)
        )

    async def list_logins(self, request: pb.ListLoginsRequest, call: Call) -> pb.ListLoginsResponse:
        caller = call.caller
        page = self._people.logins.under_way(
            caller, username=request.username, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListLoginsResponse(
            logins=[to_login(found, current=caller.login_id) for found in page.logins],
            next_page_token=page.next_page_token,
        )

    async def end_login(self, request: pb.EndLoginRequest, call: Call) -> pb.EndLoginResponse:
        await self._people.logins.end(call.caller, request.id)
        return pb.EndLoginResponse()


@contextmanager
def _at_its_field() -> Iterator[None]:
    try:
        yield
    except VidhubError as error:
        field = _FIELDS.get(error.reason)
        if field is not None and not error.violations:
            error.violations = (Violation(field, error.reason, error.message),)
        raise

"""AuthService: people log in. The refresh token travels in a cookie that no script reads and no other site sends."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import urlsplit

from vidhub.api import convert
from vidhub.api.auth import bearer
from vidhub.api.call import Call
from vidhub.errors import PermissionDenied, Unauthenticated
from vidhub.identity import Login, People, Units
from vidhub.identity.tokens import DEVICE_LIFE
from vidhub.v1 import auth_service_pb2 as pb

COOKIE = "vidhub_refresh"
# Says that its owner has logged in on this device before; it lets nobody in.
DEVICE_COOKIE = "vidhub_device"
_PATH = "/vidhub.v1.AuthService"


def is_cookie_secure(public_url: str) -> bool:
    """Whether the cookie is `Secure`: always, but for a hub reached by plain HTTP on this machine alone.

    Browsers differ on whether they keep a Secure cookie that came from http://127.0.0.1, and without it nobody could
    stay logged in to a demo. Beyond loopback a cookie without `Secure` is never set, whatever the scheme.
    """
    parts = urlsplit(public_url)
    host = parts.hostname or ""
    if parts.scheme != "http":
        return True
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost" and not host.endswith(".localhost")


class AuthServicer:
    def __init__(self, people: People, units: Units, *, public_url: str, hub_id: str) -> None:
        """public_url: where browsers reach the hub, as in "https://hub.example:8080"."""
        self._people = people
        self._units = units
        self._hub_id = hub_id
        self._public_host = urlsplit(public_url).netloc
        self._secure = "; Secure" if is_cookie_secure(public_url) else ""

    async def login(self, request: pb.LoginRequest, call: Call) -> pb.LoginResponse:
        self._refuse_other_sites(call)
        login = await self._people.logins.login(
            request.username,
            request.password,
            call.address,
            client=call.metadata.get("user-agent", ""),
            device=_cookie(call, DEVICE_COOKIE),
        )
        self._keep(call, login)
        if login.device:
            self._set_cookie(call, DEVICE_COOKIE, login.device, int(DEVICE_LIFE.total_seconds()))
        return pb.LoginResponse(
            access_token=login.access_token,
            expire_time=convert.to_time(login.expire_time),
            must_change_password=login.must_change_password,
        )

    async def refresh(self, _request: pb.RefreshRequest, call: Call) -> pb.RefreshResponse:
        self._refuse_other_sites(call)
        token = _cookie(call, COOKIE)
        if not token:
            raise Unauthenticated("REFRESH_MISSING", "there is no log-in to go on with: log in")
        try:
            login = await self._people.logins.refresh(token, call.address)
        except Unauthenticated:
            self._forget(call)
            raise
        self._keep(call, login)
        return pb.RefreshResponse(access_token=login.access_token, expire_time=convert.to_time(login.expire_time))

    async def logout(self, _request: pb.LogoutRequest, call: Call) -> pb.LogoutResponse:
        token, logins = _cookie(call, COOKIE), self._people.logins
        if token:
            self._refuse_other_sites(call)
            await logins.logout(token, call.address)
        if "authorization" in call.metadata:  # a program may hold no cookie
            with suppress(Unauthenticated):  # no login of ours, or over: there is nothing to end
                await logins.end_login(logins.by_bearer(bearer(call.metadata), call.address))
        self._forget(call)
        return pb.LogoutResponse()

    async def who_am_i(self, _request: pb.WhoAmIRequest, call: Call) -> pb.WhoAmIResponse:
        caller = call.caller
        user = await self._people.get(caller.id)
        return pb.WhoAmIResponse(
            user_id=user.id,
            username=user.name,
            display_name=user.display_name,
            department=user.department,
            roles=convert.to_roles(user.roles),
            hub_id=self._hub_id,
            unit_id=user.unit_id,
            unit_name=self._units.name_of(user.unit_id),
            must_change_password=user.must_change_password,
        )

    async def change_password(self, request: pb.ChangePasswordRequest, call: Call) -> pb.ChangePasswordResponse:
        await self._people.change_password(call.caller, request.old_password, request.new_password)
        return pb.ChangePasswordResponse()

    def _refuse_other_sites(self, call: Call) -> None:
        """Browsers say where a request comes from. Whoever says nothing is a program, which no other site can steer:
        a page could send our content types only after a preflight, and `SameSite` keeps the cookie from it."""
        site = call.metadata.get("sec-fetch-site", "")
        origin = call.metadata.get("origin", "")
        if site:
            is_ours = site == "same-origin"
        elif origin:
            is_ours = urlsplit(origin).netloc in {self._public_host, call.metadata.get("host", "")} - {""}
        else:
            is_ours = True
        if not is_ours:
            raise PermissionDenied("CROSS_SITE", "this request came from another site: use the hub's own console")

    def _keep(self, call: Call, login: Login) -> None:
        left = login.refresh_expire_time - datetime.now(UTC)
        self._set_cookie(call, COOKIE, login.refresh_token, max(0, int(left.total_seconds())))

    def _forget(self, call: Call) -> None:
        self._set_cookie(call, COOKIE, "", 0)

    def _set_cookie(self, call: Call, name: str, value: str, max_age_s: int) -> None:
        attributes = f"; Max-Age={max_age_s}; HttpOnly{self._secure}; SameSite=Strict; Path={_PATH}"
        call.answer_headers.append(("set-cookie", f"{name}={value}{attributes}"))


def _cookie(call: Call, name: str) -> str:
    try:
        cookie = SimpleCookie(call.metadata.get("cookie", "")).get(name)
    except CookieError:
        return ""
    value = cookie.value if cookie is not None else ""
    return value if len(value) <= 4096 else ""

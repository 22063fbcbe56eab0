"""Log-in, its cookie, and enrolment, with the real register of people and units behind both edges."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.edges import refused, refused_json, serve

from vidhub.api.audit import AuditServicer
from vidhub.api.auth import Doorkeeper
from vidhub.api.auth_service import AuthServicer, is_cookie_secure
from vidhub.api.enrolment import EnrolmentServicer
from vidhub.api.grpc_server import GrpcServer, ServerIdentity
from vidhub.api.http import http_app
from vidhub.api.live import LiveCalls
from vidhub.api.system import SystemServicer
from vidhub.audit import AuditLog
from vidhub.identity.authentication import Authentication
from vidhub.identity.ca import CertificateAuthority
from vidhub.identity.keys import HubKeys
from vidhub.identity.people import People
from vidhub.identity.units import Units
from vidhub.model import Principal, PrincipalKind, Role
from vidhub.store import Store
from vidhub.telemetry import Telemetry
from vidhub.turns import Turns
from vidhub.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    enrolment_service_pb2,
    enrolment_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
)

SYSTEM = Principal(PrincipalKind.SYSTEM, hub_id="h1")
PASSWORD = "correct horse battery"
AUTH = "/vidhub.v1.AuthService"
OURS = {"sec-fetch-site": "same-origin"}


class NoHubs:
    """These tests enrol units alone; hubs are in `tests/unit/link`."""

    async def enrol_hub(self, principal: Principal, request: object) -> enrolment_service_pb2.EnrolHubResponse:
        raise NotImplementedError


@dataclass
class Hub:
    people: People
    units: Units
    audit: AuditLog
    ca: CertificateAuthority
    grpc_address: str
    url: str

    @asynccontextmanager
    async def channel(self, certificate: str, key: str) -> AsyncIterator[grpc.aio.Channel]:
        credentials = grpc.ssl_channel_credentials(self.ca.ca_pem.encode(), key.encode(), certificate.encode())
        async with grpc.aio.secure_channel(self.grpc_address, credentials) as channel:
            yield channel

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, verify=False)

    async def login(self, client: httpx.AsyncClient, name: str = "zhang", password: str = PASSWORD) -> httpx.Response:
        return await client.post(f"{AUTH}/Login", json={"username": name, "password": password}, headers=OURS)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    store = await Store.open(f"sqlite:///{tmp_path}/hub.db")
    keys = HubKeys.open(tmp_path)
    audit = await AuditLog.open(store, keys.hub)
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    people = await People.open(store, audit, keys, hub_id="h1", data_dir=tmp_path, hasher=cheap)
    ca = CertificateAuthority.open(tmp_path, "h1")
    units = await Units.open(store, audit, ca)
    live, telemetry = LiveCalls(), Telemetry()
    units.on_revoked(live.certificates_revoked)
    people.logins.on_ended(live.logins_ended)
    doorkeeper = Doorkeeper(Authentication(people, units), audit.refusal)
    servicers: dict[str, object] = {
        "vidhub.v1.AuthService": AuthServicer(people, units, public_url="http://127.0.0.1:8080", hub_id="h1"),
        "vidhub.v1.EnrolmentService": EnrolmentServicer(units, NoHubs()),
        "vidhub.v1.AuditService": AuditServicer(audit),
        "vidhub.v1.SystemService": SystemServicer(
            hub_id="h1",
            hub_name="n",
            version="0",
            counts=lambda: {"cameras": 0, "streams": 0, "sessions": 0},
            uptime_s=lambda: 0.0,
        ),
    }
    shown = ca.server_certificate(["127.0.0.1"])
    server = GrpcServer(
        servicers,
        doorkeeper=doorkeeper,
        live=live,
        telemetry=telemetry,
        identity=lambda: ServerIdentity(shown.certificate_pem, shown.key_pem, ca.ca_pem.encode()),
    )
    address = await server.start("127.0.0.1:0")
    app = http_app(servicers, doorkeeper=doorkeeper, live=live, telemetry=telemetry, is_https=False, turns=Turns())
    await people.add(SYSTEM, "zhang", [Role.OPERATOR], password=PASSWORD, department="patrol")
    async with serve(app) as url:
        yield Hub(people, units, audit, ca, address, url)
    await server.stop(0)
    people.close()
    await audit.close()
    await store.close()


def bearer(answer: httpx.Response) -> dict[str, str]:
    return {"authorization": f"Bearer {answer.json()['accessToken']}"}


def request_for(key: ec.EllipticCurvePrivateKey) -> str:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


async def results(hub: Hub, action: str) -> list[str]:
    return [entry.record.result for entry in (await hub.audit.list(action=action)).entries]


async def test_a_login_its_renewal_and_its_end(hub: Hub) -> None:
    async with hub.http() as client:
        login = await hub.login(client)
        cookie = login.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert "Path=/vidhub.v1.AuthService" in cookie
        assert "Max-Age=" in cookie
        assert "refresh" not in login.text.lower()
        me = (await client.post(f"{AUTH}/WhoAmI", json={}, headers=bearer(login))).json()
        assert (me["username"], me["department"], me["roles"], me["hubId"]) == (
            "zhang",
            "patrol",
            ["ROLE_OPERATOR"],
            "h1",
        )
        renewed = await client.post(f"{AUTH}/Refresh", json={}, headers=OURS)
        assert renewed.status_code == 200
        assert renewed.headers["set-cookie"] != cookie
        out = await client.post(f"{AUTH}/Logout", json={}, headers=OURS)
        assert "Max-Age=0" in out.headers["set-cookie"]
        gone = await client.post(f"{AUTH}/WhoAmI", json={}, headers=bearer(renewed))
        assert refused_json(gone)[1:3] == ("unauthenticated", "LOGIN_REVOKED")


async def test_a_stolen_cookie_ends_the_login_and_is_taken_from_the_browser(hub: Hub) -> None:
    async with hub.http() as client:
        await hub.login(client)
        stolen = client.cookies["vidhub_refresh"]
        await client.post(f"{AUTH}/Refresh", json={}, headers=OURS)
    async with httpx.AsyncClient(base_url=hub.url, headers={"cookie": f"vidhub_refresh={stolen}", **OURS}) as thief:
        answer = await thief.post(f"{AUTH}/Refresh", json={})
        assert refused_json(answer)[1:3] == ("unauthenticated", "TOKEN_REUSED")
        assert "Max-Age=0" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8080"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "http://127.0.0.1:8080"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({}, True),
    ],
)
async def test_no_other_site_can_renew_or_end_a_login(hub: Hub, headers: dict[str, str], is_ours: bool) -> None:
    async with hub.http() as client:
        await hub.login(client)
        answer = await client.post(f"{AUTH}/Refresh", json={}, headers=headers)
        if is_ours:
            assert answer.status_code == 200
        else:
            assert refused_json(answer)[1:3] == ("permission_denied", "CROSS_SITE")
            assert refused_json(await client.post(f"{AUTH}/Logout", json={}, headers=headers))[2] == "CROSS_SITE"


async def test_logging_out_with_the_access_token_alone_ends_the_login(hub: Hub) -> None:
    async with hub.http() as client:
        login = await hub.login(client)
        client.cookies.clear()
        assert (await client.post(f"{AUTH}/Logout", json={}, headers=bearer(login))).status_code == 200
        gone = await client.post(f"{AUTH}/WhoAmI", json={}, headers=bearer(login))
        assert refused_json(gone)[1:3] == ("unauthenticated", "LOGIN_REVOKED")
        again = await client.post(f"{AUTH}/Logout", json={}, headers={"authorization": "Bearer nonsense"})
        assert again.status_code == 200


async def test_a_program_without_a_browser_may_log_in(hub: Hub) -> None:
    async with hub.http() as client:
        body = {"username": "zhang", "password": PASSWORD}
        assert (await client.post(f"{AUTH}/Login", json=body)).status_code == 200
        evil = {"sec-fetch-site": "cross-site"}
        assert refused_json(await client.post(f"{AUTH}/Login", json=body, headers=evil))[2] == "CROSS_SITE"


@pytest.mark.parametrize(
    "cookie",
    ["", "vidhub_refresh=", "vidhub_refresh=forged", "vidhub_refresh=" + "x" * 9000, ";;=,", 'vidhub_refresh="'],
)
async def test_a_cookie_that_is_none_renews_nothing(hub: Hub, cookie: str) -> None:
    async with hub.http() as client:
        answer = await client.post(f"{AUTH}/Refresh", json={}, headers={"cookie": cookie, **OURS})
    assert refused_json(answer)[1] == "unauthenticated"


async def test_a_failed_login_is_on_record_once_and_says_nothing_of_the_user(hub: Hub) -> None:
    async with hub.http() as client:
        wrong = await hub.login(client, password="wrong")
        unknown = await hub.login(client, name="nobody")
        assert wrong.content == unknown.content
        assert refused_json(wrong)[1:3] == ("unauthenticated", "LOGIN_FAILED")
        assert "set-cookie" not in wrong.headers
    await hub.audit.close()
    assert await results(hub, "auth.login") == ["LOGIN_FAILED", "LOGIN_FAILED"]
    assert await results(hub, "auth.refused") == []


async def test_a_password_that_is_due_must_be_changed_first(hub: Hub) -> None:
    await hub.people.add(SYSTEM, "root2", [Role.ADMINISTRATOR], password=PASSWORD, must_change_password=True)
    async with hub.http() as client:
        login = await hub.login(client, "root2")
        assert login.json()["mustChangePassword"] is True
        status = "/vidhub.v1.SystemService/GetStatus"
        first = await client.post(status, json={}, headers=bearer(login))
        assert refused_json(first)[1:3] == ("failed_precondition", "PASSWORD_CHANGE_REQUIRED")
        body = {"oldPassword": PASSWORD, "newPassword": "another long password"}
        assert (await client.post(f"{AUTH}/ChangePassword", json=body, headers=bearer(login))).status_code == 200
        assert (await client.post(status, json={}, headers=bearer(login))).status_code == 200


@pytest.mark.parametrize(
    ("url", "secure"),
    [
        ("https://127.0.0.1:8080", True),
        ("http://127.0.0.1:8080", False),
        ("http://localhost:8080", False),
        ("http://[::1]:8080", False),
        ("http://10.0.0.1:8080", True),
        ("http://hub.example", True),
        ("http://localhost.evil.example", True),
        ("", True),
    ],
)
def test_the_cookie_is_secure_but_on_this_machine(url: str, secure: bool) -> None:
    assert is_cookie_secure(url) is secure


async def test_a_claim_becomes_a_unit_once_and_a_revoked_unit_nothing(hub: Hub) -> None:
    token = await hub.units.create_token(SYSTEM, "No. 1 school", "360602", "11", "127.0.0.1:50051")
    claim = token.enrolment
    key = ec.generate_private_key(ec.SECP256R1())
    enrol = enrolment_service_pb2.EnrolUnitRequest(csr_pem=request_for(key))
    async with hub.channel(claim["claim_certificate_pem"], claim["claim_key_pem"]) as channel:
        stub = enrolment_service_pb2_grpc.EnrolmentServiceStub(channel)
        status: Any = system_service_pb2_grpc.SystemServiceStub(channel).GetStatus
        assert (await refused(status(system_service_pb2.GetStatusRequest())))[1] == "CLAIM_ENROLS_ONLY"
        nonsense = enrolment_service_pb2.EnrolUnitRequest(csr_pem="nonsense")
        assert (await refused(stub.EnrolUnit(nonsense)))[:2] == ("INVALID_ARGUMENT", "CSR_INVALID")
        enrolled = await stub.EnrolUnit(enrol)
        assert enrolled.unit_id == token.unit_id
        assert (await refused(stub.EnrolUnit(enrol)))[:2] == ("UNAUTHENTICATED", "CLAIM_USED")
    async with hub.channel(enrolled.certificate_pem, pem_of(key)) as channel:
        stub = enrolment_service_pb2_grpc.EnrolmentServiceStub(channel)
        renew = enrolment_service_pb2.RenewCertificateRequest(csr_pem=request_for(key))
        assert (await stub.RenewCertificate(renew)).certificate_pem != enrolled.certificate_pem
        audit = audit_service_pb2_grpc.AuditServiceStub(channel)
        own = await audit.ListEntries(audit_service_pb2.ListEntriesRequest())
        assert {entry.action for entry in own.entries} == {"system.refused", "unit.enrol", "unit.renew"}
        await hub.units.revoke(SYSTEM, token.unit_id, "left the network")
        assert (await refused(stub.RenewCertificate(renew)))[:2] == ("UNAUTHENTICATED", "CERTIFICATE_REVOKED")
    await hub.audit.close()
    last = (await hub.audit.list(action="enrolment.refused")).entries[0].record
    assert last.result == "CERTIFICATE_REVOKED"
    assert last.principal.startswith("certificate/")


async def test_the_register_proves_itself_to_those_who_may_ask(hub: Hub) -> None:
    await hub.people.add(SYSTEM, "li", [Role.AUDITOR], password=PASSWORD)
    async with hub.http() as client:
        headers = bearer(await hub.login(client, "li"))
        verdict = (await client.post("/vidhub.v1.AuditService/VerifyChain", json={}, headers=headers)).json()
        assert verdict["intact"] is True
        page = await client.post("/vidhub.v1.AuditService/ListEntries", json={"pageSize": 1}, headers=headers)
        (entry,) = page.json()["entries"]
        assert (entry["action"], entry["principal"]) == ("auth.login", "user/li")
        assert page.json()["nextPageToken"]
        body = {"pageToken": "nonsense"}
        answer = await client.post("/vidhub.v1.AuditService/ListEntries", json=body, headers=headers)
        assert refused_json(answer)[1:3] == ("invalid_argument", "PAGE_TOKEN_INVALID")

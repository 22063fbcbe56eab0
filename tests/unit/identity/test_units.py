"""Units from invitation to revocation."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from vidhub.errors import InvalidArgument, NotFound, PermissionDenied, Unauthenticated, VidhubError
from vidhub.identity import units
from vidhub.identity.ca import CertificateAuthority
from vidhub.identity.units import UnitFilter
from vidhub.model import Principal, PrincipalKind, Role

MakeCsr = Callable[..., str]


async def invited(hub: Any, system: Principal, name: str = "第一中学") -> tuple[str, Principal]:
    token = await hub.units.create_token(system, name, "360602", "11", "192.0.2.1:50051")
    return token.unit_id, hub.units.by_certificate(token.enrolment["claim_certificate_pem"].encode(), "192.0.2.9")


async def enrolled(hub: Any, system: Principal, csr: str, name: str = "第一中学") -> tuple[str, bytes]:
    _, claim = await invited(hub, system, name)
    answer = await hub.units.enrol(claim, csr)
    return answer.unit_id, answer.certificate_pem.encode()


async def test_a_unit_enrols_by_its_claim(hub: Any, system: Principal, make_csr: MakeCsr) -> None:
    token = await hub.units.create_token(system, "第一中学", "360602", "11", "192.0.2.1:50051")
    assert set(token.enrolment) == {"hub", "ca_pem", "claim_certificate_pem", "claim_key_pem", "expire_time"}
    assert token.enrolment["hub"] == "192.0.2.1:50051"
    assert token.enrolment["expire_time"] == "2026-11-24T08:00:00Z"
    claim = hub.units.by_certificate(token.enrolment["claim_certificate_pem"].encode(), "192.0.2.9")
    assert (claim.kind, claim.unit_id, claim.address) == (PrincipalKind.CLAIM, token.unit_id, "192.0.2.9")
    answer = await hub.units.enrol(claim, make_csr())
    unit = hub.units.by_certificate(answer.certificate_pem.encode(), "192.0.2.9")
    assert (unit.kind, unit.id, unit.unit_id, unit.ref) == (
        PrincipalKind.UNIT,
        token.unit_id,
        token.unit_id,
        f"unit/{token.unit_id}",
    )
    (seen,) = (await hub.units.list_units(system)).units
    listed = seen.unit
    assert (listed.id, listed.name, listed.state) == (token.unit_id, "第一中学", "enrolled")
    assert [a[1] for a in await hub.actions()] == ["unit.token", "unit.enrol"]


async def test_a_claim_is_good_once(hub: Any, system: Principal, make_csr: MakeCsr) -> None:
    token = await hub.units.create_token(system, "x", "360602", "11", "h:1")
    pem = token.enrolment["claim_certificate_pem"].encode()
    claim = hub.units.by_certificate(pem, "")
    await hub.units.enrol(claim, make_csr())
    with pytest.raises(Unauthenticated, match="CLAIM_USED"):
        hub.units.by_certificate(pem, "")
    with pytest.raises(Unauthenticated, match="CLAIM_USED"):
        await hub.units.enrol(claim, make_csr())
    _, again = await hub.again()
    with pytest.raises(Unauthenticated, match="CLAIM_USED"):
        again.by_certificate(pem, "")


async def test_of_two_that_race_for_a_claim_one_wins(hub: Any, system: Principal, make_csr: MakeCsr) -> None:
    _, claim = await invited(hub, system)
    results = await asyncio.gather(*(hub.units.enrol(claim, make_csr()) for _ in range(5)), return_exceptions=True)
    lost = [r for r in results if isinstance(r, Unauthenticated)]
    assert len(lost) == 4
    assert {r.reason for r in lost} == {"CLAIM_USED"}


async def test_a_bad_request_does_not_burn_the_claim(hub: Any, system: Principal, make_csr: MakeCsr) -> None:
    _, claim = await invited(hub, system)
    with pytest.raises(InvalidArgument, match="CSR_INVALID"):
        await hub.units.enrol(claim, "nonsense")
    await hub.units.enrol(claim, make_csr())


async def test_a_claim_expires(hub: Any, system: Principal) -> None:
    token = await hub.units.create_token(system, "x", "360602", "11", "h:1")
    hub.clock.advance(hours=24)
    with pytest.raises(Unauthenticated, match="CLAIM_EXPIRED"):
        hub.units.by_certificate(token.enrolment["claim_certificate_pem"].encode(), "")


async def test_a_new_token_ends_the_old_one(hub: Any, system: Principal, make_csr: MakeCsr) -> None:
    first, old = await invited(hub, system)
    second, new = await invited(hub, system)
    assert first == second
    with pytest.raises(Unauthenticated, match="CLAIM_USED"):
        await hub.units.enrol(old, make_csr())
    await hub.units.enrol(new, make_csr())


async def test_revocation_is_at_once_and_tells_who_has_live_calls(
    hub: Any, system: Principal, make_csr: MakeCsr
) -> None:
    unit_id, pem = await enrolled(hub, system, make_csr())
    principal = hub.units.by_certificate(pem, "")
    renewed = await hub.units.renew(principal, make_csr())
    told: list[tuple[frozenset[str], str]] = []
    hub.units.on_revoked(lambda fingerprints, reason: told.append((fingerprints, reason)))
    assert await hub.units.revoke(system, unit_id, "stolen") == 2
    both = {principal.fingerprint, _fingerprint(renewed.certificate_pem)}
    assert told == [(frozenset(both), "stolen")]
    for certificate in (pem, renewed.certificate_pem.encode()):
        with pytest.raises(Unauthenticated, match="CERTIFICATE_REVOKED"):
            hub.units.by_certificate(certificate, "")
    with pytest.raises(Unauthenticated, match="CERTIFICATE_REVOKED"):
        await hub.units.renew(principal, make_csr())
    _, again = await hub.again()
    with pytest.raises(Unauthenticated, match="CERTIFICATE_REVOKED"):
        again.by_certificate(pem, "")
    (seen,) = (await hub.units.list_units(system)).units
    listed = seen.unit
    assert listed.state == "revoked"
    assert await hub.units.revoke(system, unit_id, "again") == 0


def _fingerprint(pem: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


async def test_an_unused_claim_is_revoked_too(hub: Any, system: Principal, make_csr: MakeCsr) -> None:
    unit_id, claim = await invited(hub, system)
    assert await hub.units.revoke(system, unit_id, "mistake") == 1
    with pytest.raises(Unauthenticated, match="CLAIM_USED"):
        await hub.units.enrol(claim, make_csr())


async def test_a_revoked_unit_may_be_invited_again(hub: Any, system: Principal, make_csr: MakeCsr) -> None:
    unit_id, _ = await enrolled(hub, system, make_csr())
    await hub.units.revoke(system, unit_id, "moved")
    again, pem = await enrolled(hub, system, make_csr())
    assert again == unit_id
    assert hub.units.by_certificate(pem, "").id == unit_id


async def test_a_certificate_expires_and_is_renewed_before(hub: Any, system: Principal, make_csr: MakeCsr) -> None:
    _, pem = await enrolled(hub, system, make_csr())
    hub.clock.advance(days=364)
    renewed = await hub.units.renew(hub.units.by_certificate(pem, ""), make_csr())
    hub.clock.advance(days=1)
    with pytest.raises(Unauthenticated, match="CERTIFICATE_EXPIRED"):
        hub.units.by_certificate(pem, "")
    assert hub.units.by_certificate(renewed.certificate_pem.encode(), "").kind is PrincipalKind.UNIT


async def test_renewing_for_ever_does_not_fill_the_register(hub: Any, system: Principal, make_csr: MakeCsr) -> None:
    _, pem = await enrolled(hub, system, make_csr())
    principal = hub.units.by_certificate(pem, "")
    csr = make_csr()
    renewed = []
    for _ in range(7):
        hub.clock.advance(seconds=1)
        renewed.append(await hub.units.renew(principal, csr))
    hub.clock.advance(seconds=1)
    newest = await hub.units.renew(hub.units.by_certificate(renewed[-1].certificate_pem.encode(), ""), csr)
    with pytest.raises(Unauthenticated, match="CERTIFICATE_REVOKED"):
        hub.units.by_certificate(pem, "")
    assert hub.units.by_certificate(newest.certificate_pem.encode(), "")


async def test_whose_renewals_are_lost_keeps_the_certificate_that_it_has(
    hub: Any, system: Principal, make_csr: MakeCsr
) -> None:
    _, pem = await enrolled(hub, system, make_csr())
    for _ in range(20):
        hub.clock.advance(seconds=1)
        await hub.units.renew(hub.units.by_certificate(pem, ""), make_csr())
    good = [one for one in hub.units.register._known.values() if one.kind == "unit" and one.revoke_time is None]
    assert len(good) == 8


@pytest.mark.parametrize(
    "pem", [b"", b"\xff", b"nonsense", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", b"x" * 100_000]
)
async def test_what_is_no_certificate_is_refused(hub: Any, pem: bytes) -> None:
    with pytest.raises(Unauthenticated, match="CERTIFICATE_UNKNOWN"):
        hub.units.by_certificate(pem, "")


async def test_certificates_not_of_the_register_are_refused(hub: Any, make_csr: MakeCsr, tmp_path: Any) -> None:
    unregistered = hub.ca.issue("unit", "u1", make_csr())
    foreign = CertificateAuthority.open(tmp_path / "foreign", "h1", clock=hub.clock).issue("unit", "u1", make_csr())
    for issued in (unregistered, foreign):
        with pytest.raises(Unauthenticated, match="CERTIFICATE_UNKNOWN"):
            hub.units.by_certificate(issued.certificate_pem.encode(), "")


async def test_who_may_do_what(hub: Any, system: Principal, operator: Principal, make_csr: MakeCsr) -> None:
    unit_id, pem = await enrolled(hub, system, make_csr())
    unit = hub.units.by_certificate(pem, "")
    _, claim = await invited(hub, system, "other")
    for principal in (operator, unit, claim):
        with pytest.raises(PermissionDenied):
            await hub.units.create_token(principal, "x", "360602", "11", "h:1")
        with pytest.raises(PermissionDenied):
            await hub.units.revoke(principal, unit_id, "x")
        with pytest.raises(PermissionDenied):
            await hub.units.list_units(principal)
    with pytest.raises(PermissionDenied):
        await hub.units.enrol(unit, make_csr())
    with pytest.raises(PermissionDenied):
        await hub.units.renew(claim, make_csr())


@pytest.mark.parametrize(
    ("name", "region", "industry", "reason"),
    [
        ("", "360602", "11", "NAME_INVALID"),
        ("x" * 129, "360602", "11", "NAME_INVALID"),
        ("a\nb", "360602", "11", "NAME_INVALID"),
        ("x", "999999", "11", "REGION_UNKNOWN"),
        ("x", "3606", "11", "REGION_UNKNOWN"),
        ("x", "360602", "77", "INDUSTRY_UNKNOWN"),
    ],
)
async def test_a_wrong_invitation_names_what_is_wrong(
    hub: Any, system: Principal, name: str, region: str, industry: str, reason: str
) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        await hub.units.create_token(system, name, region, industry, "h:1")


async def test_a_revocation_says_of_whom_and_why(hub: Any, system: Principal) -> None:
    unit_id, _ = await invited(hub, system)
    with pytest.raises(InvalidArgument, match="REASON_MISSING"):
        await hub.units.revoke(system, unit_id, " ")
    with pytest.raises(NotFound, match="UNIT_UNKNOWN"):
        await hub.units.revoke(system, "nobody", "x")


async def test_units_are_found_by_page_and_by_what_they_are(hub: Any, system: Principal, make_csr: MakeCsr) -> None:
    unit_id, pem = await enrolled(hub, system, make_csr())
    for name, region, industry in (("二中", "360603", "11"), ("车站", "360602", "42")):
        await hub.units.create_token(system, name, region, industry, "h:1")

    async def names(**wanted: Any) -> list[str]:
        page = await hub.units.list_units(system, UnitFilter(**wanted))
        assert page.total == len(page.units)
        return [seen.unit.name for seen in page.units]

    assert await names() == sorted(["第一中学", "二中", "车站"])
    assert await names(text="中") == sorted(["第一中学", "二中"])
    assert await names(text=unit_id) == ["第一中学"]
    assert await names(region_prefix="360603") == ["二中"]
    assert await names(industry="42") == ["车站"]
    assert await names(state="enrolled") == ["第一中学"]
    first = await hub.units.list_units(system, page_size=2)
    rest = await hub.units.list_units(system, page_size=2, page_token=first.next_page_token)
    assert [len(first.units), len(rest.units), first.total, rest.next_page_token] == [2, 1, 3, ""]
    assert hub.units.by_certificate(pem, "").id == unit_id
    left = hub.units.register.newest("unit", unit_id) - hub.clock.time
    assert await names(expires_within=left - timedelta(seconds=1)) == []
    assert await names(expires_within=left) == ["第一中学"]


async def test_a_unit_sees_its_own_certificates_and_nobody_elses(
    hub: Any, system: Principal, make_csr: MakeCsr
) -> None:
    unit_id, pem = await enrolled(hub, system, make_csr())
    other = await hub.units.create_token(system, "二中", "360603", "11", "h:1")
    unit = hub.units.by_certificate(pem, "")
    seen, held = await hub.units.look_at(unit, "")
    assert (seen.unit.id, seen.cameras) == (unit_id, 0)
    assert sorted((one.certificate.kind, one.state) for one in held) == [("claim", "used"), ("unit", "good")]
    teacher = Principal(PrincipalKind.USER, "laoshi", "h1", unit_id=unit_id, roles=frozenset({Role.UNIT}))
    assert (await hub.units.look_at(teacher, unit_id))[0] == seen
    for principal, wanted in (
        (unit, other.unit_id),
        (teacher, other.unit_id),
        (replace(teacher, unit_id=""), ""),
        (replace(teacher, roles=frozenset({Role.OPERATOR})), unit_id),
        (system, "nowhere"),
        (system, ""),
    ):
        with pytest.raises(NotFound, match="UNIT_UNKNOWN"):
            await hub.units.look_at(principal, wanted)
    auditor = Principal(PrincipalKind.USER, "a", "h1", roles=frozenset({Role.AUDITOR}))
    await hub.units.revoke(system, unit_id, "stolen")
    hub.clock.advance(days=2)
    seen, held = await hub.units.look_at(auditor, unit_id)
    assert (seen.unit.state, seen.certificate_end) == ("revoked", None)
    assert [one.state for one in held if one.certificate.kind == "unit"] == ["revoked"]
    assert [one.state for one in (await hub.units.look_at(auditor, other.unit_id))[1]] == ["expired"]


async def test_units_are_bounded(hub: Any, system: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "MOST_UNITS", 1)
    await hub.units.create_token(system, "一中", "360603", "11", "h:1")
    await hub.units.create_token(system, "一中", "360603", "11", "h:1")
    with pytest.raises(VidhubError, match="LIMIT_UNITS"):
        await hub.units.create_token(system, "二中", "360603", "11", "h:1")

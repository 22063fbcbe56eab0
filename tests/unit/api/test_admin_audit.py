"""What the command line asks of the register."""

from __future__ import annotations

import pytest
from support.domain import SYSTEM, Domain

from vidhub.api.admin_audit import AuditOperations, search_of
from vidhub.audit import Search, log
from vidhub.errors import InvalidArgument
from vidhub.model import AuditRecord


async def test_a_list_is_short_only_where_there_is_no_more(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MOST_LOOKED_THROUGH", 5)
    rare = AuditRecord("user/zhang", "grant.create", "grant/g1")
    await domain.audit.record([rare, *[AuditRecord("user/zhang", "session.open", "camera/c1")] * 30, rare])
    operations = AuditOperations(SYSTEM, domain.audit)
    found = (await operations.audit_list(100, action="grant.create"))["entries"]
    assert [entry["seq"] for entry in found] == ["32", "1"]
    assert len((await operations.audit_list(1, action="grant.create"))["entries"]) == 1
    assert len((await operations.audit_list(7, action="session.open"))["entries"]) == 7


async def test_only_a_digest_is_sealed(domain: Domain) -> None:
    operations = AuditOperations(SYSTEM, domain.audit)
    for wrong in ("", "ab", "no hex", "ab" * 33):
        with pytest.raises(InvalidArgument, match="ARGUMENT_INVALID"):
            await operations.audit_export_seal(wrong, 0, {})
    assert await domain.entries("audit.export") == []
    await operations.audit_export_seal("ab" * 32, 3, {"action": "session.open"})
    (entry,) = await domain.entries("audit.export")
    assert entry.record.principal == "system"


def test_a_search_that_finds_nothing_by_its_times_is_wrong() -> None:
    assert search_of({}) == Search()
    with pytest.raises(InvalidArgument, match="TIME_ORDER"):
        search_of({"start": "2026-03-02T00:00:00Z", "end": "2026-03-01T23:00:00-01:00"})
    with pytest.raises(InvalidArgument, match="TIME_INVALID"):
        search_of({"end": "soon"})

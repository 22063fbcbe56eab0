"""What is recorded, read and folded."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from vidhub.audit import AuditLog, chain, log, search
from vidhub.audit.refusals import MAX_APART, MAX_APART_OF_HUB
from vidhub.errors import Aborted, InvalidArgument
from vidhub.model import AuditEntry, AuditRecord
from vidhub.store import Store


async def write(store: Store, audit: AuditLog, *records: AuditRecord) -> list[AuditEntry]:
    return await store.write(lambda conn: audit.append(conn, records))


def viewed(camera: str, principal: str = "user/zhang", **facts: str) -> AuditRecord:
    return AuditRecord(principal, "session.open", f"camera/{camera}", **facts)


async def entries_of(audit: AuditLog, **question: Any) -> list[AuditEntry]:
    return (await audit.list(**question)).entries


async def test_entries_follow_each_other_without_a_gap(store: Store, audit: AuditLog) -> None:
    first = await write(store, audit, viewed("c1"), viewed("c2"))
    second = await write(store, audit, viewed("c3", purpose_kind="patrol", detail_json='{"a": 1}'))
    assert [e.seq for e in (*first, *second)] == [1, 2, 3]
    assert first[0].previous_hash == chain.ZERO
    assert second[0].previous_hash == first[1].hash
    assert await entries_of(audit) == [second[0], first[1], first[0]]
    assert audit.entries_total == 3


async def test_an_undone_write_leaves_no_entry_and_no_gap(store: Store, audit: AuditLog) -> None:
    def fails(conn: Connection) -> None:
        audit.append(conn, [viewed("never")])
        raise Aborted("VERSION", "read again")

    await write(store, audit, viewed("c1"))
    with pytest.raises(Aborted):
        await store.write(fails)
    assert [e.seq for e in await write(store, audit, viewed("c2"))] == [2]
    assert audit.entries_total == 2
    assert (await audit.verify()).intact


async def test_the_chain_goes_on_after_a_restart(store: Store, audit: AuditLog, key: Any) -> None:
    before = await write(store, audit, viewed("c1"))
    await audit.close()
    again = await AuditLog.open(store, key)
    after = await write(store, again, viewed("c2"))
    assert (after[0].chain_id, after[0].seq, after[0].previous_hash) == (before[0].chain_id, 2, before[0].hash)
    verdict = await again.verify()
    assert (verdict.intact, verdict.entries, verdict.chains) == (True, 2, 1)


async def test_what_has_no_index_is_looked_for_in_bounded_steps(
    store: Store, audit: AuditLog, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "MOST_LOOKED_THROUGH", 5)
    for i in range(14):
        clock.advance(1)
        facts = {"purpose_kind": "patrol", "result": "ok"} if i == 1 else {"result": "NO_GRANT"}
        trace, session = ("a" * 32, "s1") if i in (2, 9) else ("b" * 32, "s2")
        await write(store, audit, viewed("c1", trace_id=trace, session_id=session, **facts))
    assert len(await entries_of(audit, result=search.REFUSED, limit=5)) == 5
    for question in ({"purpose_kind": "patrol"}, {"result": "ok", "action": "session.open"}):
        pages = [page := await audit.list(**question)]
        while page.next_after:
            assert page.searched_to is not None
            pages.append(page := await audit.list(**question, after=page.next_after))
        assert [[e.seq for e in page.entries] for page in pages] == [[], [], [2]]
        assert pages[0].searched_to == clock.time - timedelta(seconds=4)
    # What an index leads to is found at once, however far back.
    assert [e.seq for e in await entries_of(audit, trace_id="a" * 32)] == [10, 3]
    assert [e.seq for e in await entries_of(audit, session_id="s1")] == [10, 3]
    plan = await store.read(
        lambda conn: conn.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT seq FROM audit_entries WHERE trace_id = ? ORDER BY time DESC", ("a" * 32,)
        ).all()
    )
    assert "audit_by_trace" in str(plan)


async def test_lists_filter_and_page(store: Store, audit: AuditLog, clock: Any) -> None:
    for i in range(10):
        clock.advance(1)
        await write(store, audit, viewed(f"c{i % 2}", f"user/u{i % 3}", principal_unit="un1" if i == 4 else ""))
    await write(store, audit, AuditRecord("system", "unit.token", "unit/un1"))
    assert [e.seq for e in await entries_of(audit, camera_id="c1")] == [10, 8, 6, 4, 2]
    assert [e.seq for e in await entries_of(audit, principal="user/u0")] == [10, 7, 4, 1]
    assert [e.seq for e in await entries_of(audit, action="unit.token")] == [11]
    assert [e.seq for e in await entries_of(audit, unit_id="un1")] == [5]
    start = clock.time - timedelta(seconds=2)
    assert [e.seq for e in await entries_of(audit, start=start, end=clock.time)] == [9, 8]
    seen, after = [], ""
    while True:
        page = await audit.list(limit=4, after=after)
        seen += [e.seq for e in page.entries]
        after = page.next_after
        if not after:
            break
    assert seen == list(range(11, 0, -1))


@pytest.mark.parametrize("token", ["x", "1.2", "..", "a.b.c", "1.chain.x", f"{2**70}.c.1"])
async def test_a_foreign_page_token_is_refused(audit: AuditLog, token: str) -> None:
    with pytest.raises(InvalidArgument, match="PAGE_TOKEN_INVALID"):
        await audit.list(after=token)


async def test_a_thousand_entries_are_signed_without_waiting(store: Store, audit: AuditLog) -> None:
    for _ in range(25):
        await write(store, audit, *[viewed("c")] * 100)
    numbers = await store.read(
        lambda conn: [tuple(r) for r in conn.exec_driver_sql("SELECT number, seq FROM audit_heads ORDER BY number")]
    )
    assert numbers == [(1, 0), (2, 1000), (3, 2000)]
    assert (await audit.verify()).intact


async def test_the_anchor_holds_the_newest_checkpoint(store: Store, audit: AuditLog, tmp_path: Any) -> None:
    await write(store, audit, viewed("c"))
    await audit.checkpoint()
    kept = json.loads((tmp_path / "audit-anchor.json").read_text())
    assert (kept["number"], kept["heads"][0]["seq"]) == (2, 1)


async def test_texts_from_outside_are_bounded_and_made_well_formed(store: Store, audit: AuditLog) -> None:
    wild = AuditRecord("user/\ud800", "x" * 5_000, "camera/\x00", detail_json="y" * 20_000)
    await write(store, audit, wild)
    (entry,) = await entries_of(audit)
    assert entry.record.principal == "user/?"
    assert len(entry.record.action) == 1_024
    assert entry.record.resource == "camera/\x00"
    assert entry.record.detail_json == '{"truncated": true}'
    assert (await audit.verify()).intact


def refused(reason: str = "NO_GRANT", address: str = "192.0.2.1") -> AuditRecord:
    return AuditRecord("user/x", "session.refused", "camera/c", reason, source_address=address)


async def test_a_refusal_is_recorded_at_once_and_a_flood_is_folded(store: Store, audit: AuditLog, clock: Any) -> None:
    for _ in range(10_000):
        audit.refusal(refused())
    audit.refusal(refused("LOGIN_FAILED"))
    audit.refusal(refused(address="192.0.2.2"))
    await audit._refusals.flush()
    assert len(await entries_of(audit)) == 3
    clock.advance(60)
    audit.refusal(refused())
    await audit._refusals.flush()
    found = await entries_of(audit)
    assert len(found) == 5
    folded = [json.loads(e.record.detail_json)["folded"] for e in found if e.record.detail_json]
    assert folded == [9_999]


async def test_refusals_that_differ_have_entries_of_their_own_up_to_a_bound(store: Store, audit: AuditLog) -> None:
    for protocol in ("whep", "rtsp"):
        for _ in range(100):
            audit.refusal(replace(refused(), detail_json=json.dumps({"protocol": protocol})))
    await audit._refusals.flush()
    assert [json.loads(e.record.detail_json)["protocol"] for e in await entries_of(audit)] == ["rtsp", "whep"]
    for i in range(1_000):
        audit.refusal(replace(refused(), resource=f"camera/{i}"))
    await audit._refusals.flush(everything=True)
    found = await entries_of(audit)
    assert len(found) == MAX_APART + 1
    folded = [json.loads(e.record.detail_json or "{}").get("folded", 0) for e in found]
    assert sum(folded) == 1_200 - MAX_APART


async def test_a_linked_hub_fills_no_record_by_the_addresses_that_it_tells(store: Store, audit: AuditLog) -> None:
    for i in range(1_000):
        told = replace(refused(address=f"10.0.{i // 250}.{i % 250}"), principal=f"user/p{i}@province")
        audit.refusal(told, hub_id="province")
    audit.refusal(refused(), hub_id="bureau")
    await audit._refusals.flush(everything=True)
    found = (await audit.list(limit=1_000)).entries
    assert len(found) == MAX_APART_OF_HUB + 2
    assert sum(json.loads(e.record.detail_json or "{}").get("folded", 0) for e in found) == 1_000 - MAX_APART_OF_HUB


async def test_refusals_from_everywhere_are_bounded(store: Store, audit: AuditLog) -> None:
    for i in range(6_000):
        audit.refusal(refused(address=f"10.0.{i // 256}.{i % 256}"))
    assert len(audit._refusals._counts) <= 4_097
    await audit.close()
    found = await entries_of(audit, limit=10_000)
    assert len(found) <= 4_098
    folded = [json.loads(e.record.detail_json)["folded"] for e in found if e.record.detail_json]
    assert sum(folded) + len(found) - len(folded) == 6_000
    assert (await audit.verify()).intact


async def test_refusals_during_the_fold_of_a_full_disk_do_not_stop_the_hub(store: Store, audit: AuditLog) -> None:
    await store.close()
    audit.refusal(refused())
    await audit._refusals.flush(everything=True)

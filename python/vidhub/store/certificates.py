"""The register of every certificate the hub's CA gave: claims, units, hubs. What is not in it is not ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from vidhub.store.times import from_us, from_us_or_none, to_us, to_us_or_none

_COLUMNS = (
    "fingerprint, kind, subject_id, token_id, not_before, not_after, create_time, use_time, revoke_time, revoke_reason"
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """fingerprint: SHA-256 of the DER in hex. kind: claim, unit or hub. token_id, use_time: of a claim, when burnt."""

    fingerprint: str
    kind: str
    subject_id: str
    not_before: datetime
    not_after: datetime
    create_time: datetime
    token_id: str = ""
    use_time: datetime | None = None
    revoke_time: datetime | None = None
    revoke_reason: str = ""


def insert(conn: Connection, certificate: Certificate) -> None:
    c = certificate
    conn.exec_driver_sql(
        f"INSERT INTO certificates ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            c.fingerprint,
            c.kind,
            c.subject_id,
            c.token_id,
            to_us(c.not_before),
            to_us(c.not_after),
            to_us(c.create_time),
            to_us_or_none(c.use_time),
            to_us_or_none(c.revoke_time),
            c.revoke_reason,
        ),
    )


def get(conn: Connection, fingerprint: str) -> Certificate | None:
    row = conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM certificates WHERE fingerprint = ?", (fingerprint,)).first()
    return None if row is None else _certificate(row)


def of_subject(conn: Connection, kind: str, subject_id: str) -> list[Certificate]:
    rows = conn.exec_driver_sql(
        f"SELECT {_COLUMNS} FROM certificates WHERE kind = ? AND subject_id = ? ORDER BY create_time, fingerprint",
        (kind, subject_id),
    )
    return [_certificate(r) for r in rows]


def load(conn: Connection, now: datetime) -> Iterator[Certificate]:
    """Every certificate that has not expired."""
    for row in conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM certificates WHERE not_after > ?", (to_us(now),)):
        yield _certificate(row)


def burn(conn: Connection, fingerprint: str, now: datetime) -> bool:
    """Use up a claim; False when it was used or revoked before. Of two at once, one wins."""
    statement = (
        "UPDATE certificates SET use_time = ? "
        "WHERE fingerprint = ? AND kind = 'claim' AND use_time IS NULL AND revoke_time IS NULL"
    )
    return conn.exec_driver_sql(statement, (to_us(now), fingerprint)).rowcount == 1


def revoke(conn: Connection, fingerprints: list[str], now: datetime, reason: str) -> int:
    count = 0
    for fingerprint in fingerprints:
        count += conn.exec_driver_sql(
            "UPDATE certificates SET revoke_time = ?, revoke_reason = ? WHERE fingerprint = ? AND revoke_time IS NULL",
            (to_us(now), reason, fingerprint),
        ).rowcount
    return count


def _certificate(r: Any) -> Certificate:
    return Certificate(
        fingerprint=r[0],
        kind=r[1],
        subject_id=r[2],
        token_id=r[3],
        not_before=from_us(r[4]),
        not_after=from_us(r[5]),
        create_time=from_us(r[6]),
        use_time=from_us_or_none(r[7]),
        revoke_time=from_us_or_none(r[8]),
        revoke_reason=r[9],
    )

"""The register of purposes: what a session may be opened for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from vidhub.store.times import from_us_or_none, to_us_or_none


@dataclass(frozen=True, slots=True)
class PurposeKind:
    """wants_reference: a case or document number must be given. retire_time: out of force since then."""

    kind: str
    title: str
    title_en: str
    wants_reference: bool = False
    retire_time: datetime | None = None


DEFAULTS = (
    PurposeKind("patrol", "日常巡查", "Routine patrol"),
    PurposeKind("incident", "警情处置", "Incident response"),
    PurposeKind("investigation", "案件侦查", "Criminal investigation", wants_reference=True),
    PurposeKind("traffic", "交通管理", "Traffic management"),
    PurposeKind("emergency", "应急指挥", "Emergency command"),
    PurposeKind("safety", "安全生产", "Work safety"),
    PurposeKind("maintenance", "设备运维", "Maintenance"),
)


def seed(conn: Connection) -> None:
    """Fill an empty register; one that people have edited stays."""
    if conn.exec_driver_sql("SELECT 1 FROM purposes LIMIT 1").first() is None:
        conn.exec_driver_sql(
            "INSERT INTO purposes (kind, title, title_en, wants_reference, position) VALUES (?, ?, ?, ?, ?)",
            [(p.kind, p.title, p.title_en, p.wants_reference, i) for i, p in enumerate(DEFAULTS)],
        )


def load(conn: Connection) -> list[PurposeKind]:
    """Those that are out of force as well, in the register's order."""
    rows = conn.exec_driver_sql(
        "SELECT kind, title, title_en, wants_reference, retire_time FROM purposes ORDER BY position, kind"
    )
    return [PurposeKind(r[0], r[1], r[2], bool(r[3]), from_us_or_none(r[4])) for r in rows]


def put(conn: Connection, purpose: PurposeKind) -> None:
    """Insert at the end, or replace at its place."""
    p = purpose
    conn.exec_driver_sql(
        "INSERT INTO purposes (kind, title, title_en, wants_reference, retire_time, position) "
        "VALUES (?, ?, ?, ?, ?, (SELECT COALESCE(MAX(position), 0) + 1 FROM purposes)) "
        "ON CONFLICT (kind) DO UPDATE SET title = excluded.title, title_en = excluded.title_en, "
        "wants_reference = excluded.wants_reference, retire_time = excluded.retire_time",
        (p.kind, p.title, p.title_en, p.wants_reference, to_us_or_none(p.retire_time)),
    )

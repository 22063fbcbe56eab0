"""The register of purposes: what a session may be opened for."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class PurposeKind:
    """wants_reference: a case or document number must be given."""

    kind: str
    title: str
    title_en: str
    wants_reference: bool = False


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
    rows = conn.exec_driver_sql("SELECT kind, title, title_en, wants_reference FROM purposes ORDER BY position, kind")
    return [PurposeKind(r[0], r[1], r[2], bool(r[3])) for r in rows]

"""What runs out unseen: room for data, certificates, the time since the last backup. Told by metrics."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from vidhub.api.admin import AdminOperations
from vidhub.audit import AuditLog
from vidhub.config import Config
from vidhub.model import AuditRecord, Principal
from vidhub.telemetry import HouseFigures

_BACKUP = "hub.backup"


class House:
    """The hub's data directory, as those see it who keep it."""

    def __init__(self, audit: AuditLog, data_dir: Path, certificates: dict[str, Path], backup_time: float) -> None:
        self._audit = audit
        self._data_dir = data_dir
        self._certificates = certificates
        self._backup_time = backup_time

    @classmethod
    async def open(cls, config: Config, audit: AuditLog) -> House:
        """Looks up the newest backup on record."""
        newest = (await audit.list(action=_BACKUP, limit=1)).entries
        certificates = {"authority": config.data_dir / "ca.pem", "server": config.data_dir / "keys" / "server.pem"}
        if config.tls_cert is not None:
            certificates["public"] = config.tls_cert
        return cls(audit, config.data_dir, certificates, newest[0].time.timestamp() if newest else 0.0)

    def add_operations(self, operations: AdminOperations, principal: Principal) -> None:
        async def backup_record(sha256: str, size: int, with_keys: bool) -> dict[str, object]:
            """Puts on record that all there is was copied; asked before the copy appears."""
            detail = json.dumps({"sha256": sha256, "size": size, "keys": with_keys})
            await self._audit.record(
                [AuditRecord.of(principal, _BACKUP, f"hub/{principal.hub_id}", detail_json=detail)]
            )
            self._backup_time = datetime.now(UTC).timestamp()
            return {}

        operations.add(backup_record, sha256=str, size=int, with_keys=bool)

    def figures(self) -> HouseFigures:
        """Asked at each scrape: a certificate that was exchanged is seen at once."""
        room = os.statvfs(self._data_dir)
        ends = ((name, end) for name, path in self._certificates.items() if (end := _end(path)) is not None)
        return HouseFigures(
            size_bytes=room.f_blocks * room.f_frsize,
            free_bytes=room.f_bavail * room.f_frsize,
            certificate_ends=tuple(ends),
            backup_time=self._backup_time,
        )


def _end(path: Path) -> float | None:
    """None for what is not there (yet) or can't be read: the hub itself says so where it needs it."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return None

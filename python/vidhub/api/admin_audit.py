"""What the command line asks of the register of use; see `admin.py`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vidhub.api import convert
from vidhub.api.admin import AdminOperations, as_json, moment
from vidhub.audit import AuditLog, Search, Verdict
from vidhub.audit.exported import key_digest
from vidhub.errors import InvalidArgument
from vidhub.model import AuditRecord, Principal

# Words of a search, as the command line gives them; times as texts.
FILTERS = ("camera_id", "principal", "trace_id", "session_id", "action", "purpose_kind", "result", "unit_id")
_SHA256_OCTETS = 32


class AuditOperations:
    """Recorded as `principal`, where there is something to record."""

    def __init__(self, principal: Principal, audit: AuditLog) -> None:
        self._principal = principal
        self._audit = audit

    def add_to(self, operations: AdminOperations) -> None:
        operations.add(self.audit_list, **dict.fromkeys((*FILTERS, "start", "end"), ""), limit=100)
        operations.add(self.audit_verify)
        operations.add(self.audit_export_begin)
        operations.add(self.audit_export_seal, sha256=str, entries=int, filters=dict)

    async def audit_list(self, limit: int, **filters: str) -> dict[str, Any]:
        """Newest first."""
        search = search_of(filters)
        wanted = {field.name: getattr(search, field.name) for field in dataclasses.fields(search)}
        most = max(1, min(limit, 1_000))
        entries: list[dict[str, Any]] = []
        after = ""
        while True:
            # A page looks through a bounded number of entries, and may be short of them for that alone.
            page = await self._audit.list(**wanted, limit=most - len(entries), after=after)
            entries += [as_json(convert.to_entry(entry)) for entry in page.entries]
            after = page.next_after
            if not after or len(entries) >= most:
                return {"entries": entries}

    async def audit_verify(self) -> dict[str, Any]:
        verdict = await self._audit.verify()
        restores = await self._audit.list(action="hub.restore", limit=1_000)
        return {
            **verdict_json(verdict),
            "restores": [as_json(convert.to_entry(entry)) for entry in restores.entries],
            "key_sha256": key_digest(self._audit.public_key),
        }

    async def audit_export_begin(self) -> dict[str, Any]:
        """Signs a checkpoint: up to it everything can be proved."""
        number = await self._audit.checkpoint()
        key = self._audit.public_key
        return {
            "hub_id": self._principal.hub_id,
            "checkpoint": number,
            "public_key_pem": key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
            "key_sha256": key_digest(key),
        }

    async def audit_export_seal(self, sha256: str, entries: int, filters: dict[str, Any]) -> dict[str, Any]:
        """Puts on record what was taken along, and signs it; asked before the file appears."""
        try:
            digest = bytes.fromhex(sha256)
        except ValueError:
            digest = b""
        if len(digest) != _SHA256_OCTETS:
            raise InvalidArgument("ARGUMENT_INVALID", "sha256 is no SHA-256 in hex")
        detail = json.dumps({"sha256": sha256, "entries": entries, "filters": filters}, ensure_ascii=False)
        record = AuditRecord.of(self._principal, "audit.export", f"hub/{self._principal.hub_id}", detail_json=detail)
        return {"signature": (await self._audit.seal_export(record, digest)).hex()}


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """As `audit verify` prints it."""
    bad = verdict.first_bad
    return {
        "intact": verdict.intact,
        "entries": verdict.entries,
        "chains": verdict.chains,
        "first_bad": None if bad is None else {"chain_id": bad[0], "seq": bad[1]},
        "reason": verdict.reason,
    }


def search_of(filters: Mapping[str, str]) -> Search:
    """Raises InvalidArgument TIME_INVALID, TIME_ORDER."""
    times = {
        name: moment(option, text) for name, option in (("start", "from"), ("end", "to")) if (text := filters.get(name))
    }
    search = Search(**{name: filters.get(name, "") for name in FILTERS}, **times)  # type: ignore[arg-type]
    if search.start is not None and search.end is not None and search.start >= search.end:
        raise InvalidArgument("TIME_ORDER", "from: it is not before to, so there is nothing between them")
    return search

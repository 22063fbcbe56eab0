"""What is looked for in the register of use, as conditions of SQL. Names are ours, values are always parameters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vidhub.store.times import to_us

# In a search, any result but "ok"; reasons are in capitals.
REFUSED = "refused"


class Conditions:
    """That all hold together, as SQL. One of another name than these never comes in: names are ours, values theirs."""

    def __init__(self) -> None:
        self._texts = ["1 = 1"]
        self.values: list[Any] = []

    def __str__(self) -> str:
        return " AND ".join(self._texts)

    def add(self, text: str, *values: object) -> None:
        self._texts.append(text)
        self.values += values

    def equal(self, **columns: str) -> None:
        """Of the columns those that are asked for."""
        for name, value in columns.items():
            if value:
                self.add(f"{name} = ?", value)


@dataclass(frozen=True, slots=True)
class Search:
    """What is left empty is not asked. start is inclusive, end exclusive. result: as in the entries, or REFUSED.
    unit_id: what the unit did, or was done with its cameras."""

    camera_id: str = ""
    principal: str = ""
    trace_id: str = ""
    session_id: str = ""
    action: str = ""
    purpose_kind: str = ""
    result: str = ""
    unit_id: str = ""
    start: datetime | None = None
    end: datetime | None = None

    def leads(self) -> Conditions:
        """What an index leads to."""
        found = Conditions()
        if self.camera_id:
            found.add("resource IN (?, ?)", f"camera/{self.camera_id}", self.camera_id)
        found.equal(principal=self.principal, trace_id=self.trace_id, session_id=self.session_id)
        if self.start is not None:
            found.add("time >= ?", to_us(self.start))
        if self.end is not None:
            found.add("time < ?", to_us(self.end))
        return found

    def asked(self) -> Conditions:
        """What is asked of each entry that the leads lead to."""
        found = Conditions()
        refused = self.result == REFUSED
        found.equal(action=self.action, purpose_kind=self.purpose_kind, result="" if refused else self.result)
        if refused:
            found.add("result <> ?", "ok")
        if self.unit_id:
            found.add(
                "(principal_unit = ? OR principal = ? OR (resource LIKE 'camera/%' "
                "AND substr(resource, 8) IN (SELECT id FROM cameras WHERE unit_id = ?)))",
                *(self.unit_id, f"unit/{self.unit_id}", self.unit_id),
            )
        return found

    @property
    def is_all(self) -> bool:
        return self == Search()

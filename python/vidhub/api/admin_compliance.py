"""What the command line asks for the supervisor; see `admin.py`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from vidhub.api.admin import AdminOperations, time
from vidhub.compliance import TERM, UNIT_STATES, Compliance, Row


class ComplianceOperations:
    """Reads only. is_serving: whether cameras are looked at now; on the store alone none is known to be online."""

    def __init__(self, compliance: Compliance, *, is_serving: Callable[[], bool]) -> None:
        self._compliance = compliance
        self._is_serving = is_serving

    def add_to(self, operations: AdminOperations) -> None:
        operations.add(self.report_compliance)

    async def report_compliance(self) -> dict[str, Any]:
        found = await self._compliance.report()
        return {
            "time": time(found.time),
            "serving": self._is_serving(),
            "term_days": TERM.days,
            "total": {
                **_figures(found.total),
                "units": {state: found.units_in(state) for state in UNIT_STATES},
            },
            "regions": [{"code": row.key, "name": row.name, **_figures(row)} for row in found.regions],
            "industries": [{"code": row.key, "name": row.name, **_figures(row)} for row in found.industries],
            "units": [
                {
                    "id": one.row.key,
                    "name": one.row.name,
                    "region_code": one.unit.region_code if one.unit else "",
                    "industry": one.unit.industry if one.unit else "",
                    "state": one.state,
                    "own": one.unit is not None,
                    **_figures(one.row),
                }
                for one in found.units
            ],
            "units_left_out": found.units_left_out,
        }


def _figures(row: Row) -> dict[str, int]:
    named = dataclasses.asdict(row)
    return {name: number for name, number in named.items() if name not in ("key", "name")}

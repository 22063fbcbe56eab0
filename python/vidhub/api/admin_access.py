"""What the command line does to grants and purposes; see `admin.py`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from vidhub.access import hours
from vidhub.access.explain import Explainer
from vidhub.access.grants import GrantFilter, Grants
from vidhub.access.purpose_desk import PurposeDesk
from vidhub.api import convert
from vidhub.api.admin import AdminOperations, as_json, moment, word
from vidhub.api.convert_people import to_purpose_kind
from vidhub.api.grants import to_explanation
from vidhub.model import Action, Grant, Principal, Scope
from vidhub.store.purposes import PurposeKind


class AccessOperations:
    """Recorded as `principal`."""

    def __init__(self, principal: Principal, grants: Grants, explainer: Explainer, purposes: PurposeDesk) -> None:
        self._principal = principal
        self._grants = grants
        self._explainer = explainer
        self._purposes = purposes

    def add_to(self, operations: AdminOperations) -> None:
        operations.add(
            self.grant_create,
            **dict.fromkeys(("username", "department", "not_before", "reason"), ""),
            **dict.fromkeys(
                ("camera_ids", "unit_ids", "region_prefixes", "industries", "purposes", "weekly_hours"), ()
            ),
            actions=list,
            not_after=str,
        )
        operations.add(self.grant_list, username="", department="", camera_id="", include_ended=False)
        operations.add(self.grant_revoke, id=str, reason=str)
        operations.add(self.grant_explain, username=str, camera_id=str, action="view_live", purpose="")
        operations.add(self.purpose_list, include_retired=False)
        operations.add(self.purpose_add, kind=str, name=str, name_en=str, reference_required=False)
        operations.add(self.purpose_retire, kind=str, reason=str)

    # Grants.

    async def grant_create(
        self,
        username: str,
        department: str,
        camera_ids: list[str],
        unit_ids: list[str],
        region_prefixes: list[str],
        industries: list[str],
        actions: list[str],
        purposes: list[str],
        not_before: str,
        not_after: str,
        reason: str,
        weekly_hours: list[str],
    ) -> dict[str, Any]:
        grant = Grant(
            id="",
            username=username,
            department=department,
            scope=Scope(tuple(camera_ids), tuple(unit_ids), tuple(region_prefixes), tuple(industries)),
            actions=tuple(word(Action, action, "ACTION_UNKNOWN") for action in actions),
            purposes=tuple(purposes),
            not_before=moment("not_before", not_before) if not_before else datetime.now(UTC),
            not_after=moment("not_after", not_after),
            reason=reason,
            weekly_hours=tuple(hours.parse(one) for one in weekly_hours),
        )
        return as_json(convert.to_grant(await self._grants.create(self._principal, grant)))

    async def grant_list(self, username: str, department: str, camera_id: str, include_ended: bool) -> dict[str, Any]:
        wanted = GrantFilter(username=username, department=department, camera_id=camera_id, include_ended=include_ended)
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            page = await self._grants.list(self._principal, wanted, page_size=1_000, page_token=token)
            found += [as_json(convert.to_grant(grant)) for grant in page.grants]
            token = page.next_page_token
            if not token:
                return {"grants": found}

    async def grant_revoke(self, id: str, reason: str) -> dict[str, Any]:
        return as_json(convert.to_grant(await self._grants.revoke(self._principal, id, reason)))

    async def grant_explain(self, username: str, camera_id: str, action: str, purpose: str) -> dict[str, Any]:
        found = await self._explainer.explain(
            self._principal, username, camera_id, word(Action, action, "ACTION_UNKNOWN"), purpose
        )
        return {"allowed": found.allowed, **as_json(to_explanation(found))}

    # Purposes.

    async def purpose_list(self, include_retired: bool) -> dict[str, Any]:
        return {"purposes": [_purpose(one) for one in self._purposes.list(include_retired=include_retired)]}

    async def purpose_add(self, kind: str, name: str, name_en: str, reference_required: bool) -> dict[str, Any]:
        wanted = PurposeKind(kind.strip(), name.strip(), name_en.strip(), wants_reference=reference_required)
        return _purpose(await self._purposes.create(self._principal, wanted))

    async def purpose_retire(self, kind: str, reason: str) -> dict[str, Any]:
        return _purpose(await self._purposes.retire(self._principal, kind, reason))


def _purpose(kind: PurposeKind) -> dict[str, Any]:
    return {"referenceRequired": kind.wants_reference, **as_json(to_purpose_kind(kind))}

"""GrantService."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from vidhub.access.explain import Check, Explainer, Explanation
from vidhub.access.grants import GrantFilter, Grants
from vidhub.api import convert
from vidhub.api.call import Call
from vidhub.v1 import grant_service_pb2 as pb

_CHECKS: dict[Check, Any] = {one: pb.ExplainCheck.Value(f"EXPLAIN_CHECK_{one.name}") for one in Check}


class GrantServicer:
    def __init__(
        self, grants: Grants, explainer: Explainer, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._grants = grants
        self._explainer = explainer
        self._clock = clock

    async def create_grant(self, request: pb.CreateGrantRequest, call: Call) -> pb.CreateGrantResponse:
        grant = await self._grants.create(call.caller, convert.from_grant(request.grant, self._clock()))
        return pb.CreateGrantResponse(grant=convert.to_grant(grant))

    async def list_grants(self, request: pb.ListGrantsRequest, call: Call) -> pb.ListGrantsResponse:
        days = request.ends_within_days
        wanted = GrantFilter(
            username=request.username,
            department=request.department,
            camera_id=request.camera_id,
            action=convert.from_action(request.action),
            purpose=request.purpose,
            ends_within=timedelta(days=days) if days else None,
            include_ended=request.include_ended,
        )
        page = await self._grants.list(call.caller, wanted, page_size=request.page_size, page_token=request.page_token)
        return pb.ListGrantsResponse(
            grants=[convert.to_grant(grant) for grant in page.grants], next_page_token=page.next_page_token
        )

    async def revoke_grant(self, request: pb.RevokeGrantRequest, call: Call) -> pb.RevokeGrantResponse:
        await self._grants.revoke(call.caller, request.id, request.reason)
        return pb.RevokeGrantResponse()

    async def explain_grant(self, request: pb.ExplainGrantRequest, call: Call) -> pb.ExplainGrantResponse:
        [action] = convert.from_actions([request.action])
        found = await self._explainer.explain(
            call.caller, request.username, request.camera_id, action, request.purpose.strip()
        )
        return to_explanation(found)


def to_explanation(found: Explanation) -> pb.ExplainGrantResponse:
    return pb.ExplainGrantResponse(
        allowed=found.allowed,
        reason=found.reason,
        message=found.message,
        grant_id=found.decision.grant_id,
        valid_until=convert.to_time(found.decision.valid_until),
        steps=[
            pb.ExplainStep(check=_CHECKS[step.check], passed=step.passed, reason=step.reason, message=step.message)
            for step in found.steps
        ],
        grants=[
            pb.ExplainedGrant(
                grant=convert.to_grant(one.grant),
                applies=not one.misses,
                misses=[pb.ExplainMiss(reason=miss.reason, message=miss.message) for miss in one.misses],
            )
            for one in found.grants
        ],
        grants_left_off=found.left_off,
        policies=found.decision.rules,
    )

"""GrantService."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from vidhub.access.grants import Grants
from vidhub.api import convert
from vidhub.api.call import Call
from vidhub.v1 import grant_service_pb2 as pb


class GrantServicer:
    def __init__(self, grants: Grants, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._grants = grants
        self._clock = clock

    async def create_grant(self, request: pb.CreateGrantRequest, call: Call) -> pb.CreateGrantResponse:
        grant = await self._grants.create(call.caller, convert.from_grant(request.grant, self._clock()))
        return pb.CreateGrantResponse(grant=convert.to_grant(grant))

    async def list_grants(self, request: pb.ListGrantsRequest, call: Call) -> pb.ListGrantsResponse:
        page = await self._grants.list(
            call.caller,
            username=request.username,
            camera_id=request.camera_id,
            include_ended=request.include_ended,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListGrantsResponse(
            grants=[convert.to_grant(grant) for grant in page.grants], next_page_token=page.next_page_token
        )

    async def revoke_grant(self, request: pb.RevokeGrantRequest, call: Call) -> pb.RevokeGrantResponse:
        await self._grants.revoke(call.caller, request.id, request.reason)
        return pb.RevokeGrantResponse()

"""PurposeService."""

from __future__ import annotations

from vidhub.access.purpose_desk import PurposeDesk
from vidhub.api.call import Call
from vidhub.api.convert_people import from_purpose_kind, to_purpose_kind
from vidhub.v1 import purpose_service_pb2 as pb


class PurposeServicer:
    def __init__(self, desk: PurposeDesk) -> None:
        self._desk = desk

    async def list_purposes(self, request: pb.ListPurposesRequest, _call: Call) -> pb.ListPurposesResponse:
        found = self._desk.list(include_retired=request.include_retired)
        return pb.ListPurposesResponse(purposes=[to_purpose_kind(kind) for kind in found])

    async def create_purpose(self, request: pb.CreatePurposeRequest, call: Call) -> pb.CreatePurposeResponse:
        made = await self._desk.create(call.caller, from_purpose_kind(request.purpose))
        return pb.CreatePurposeResponse(purpose=to_purpose_kind(made))

    async def update_purpose(self, request: pb.UpdatePurposeRequest, call: Call) -> pb.UpdatePurposeResponse:
        changed = await self._desk.update(call.caller, from_purpose_kind(request.purpose))
        return pb.UpdatePurposeResponse(purpose=to_purpose_kind(changed))

    async def retire_purpose(self, request: pb.RetirePurposeRequest, call: Call) -> pb.RetirePurposeResponse:
        retired = await self._desk.retire(call.caller, request.kind, request.reason)
        return pb.RetirePurposeResponse(purpose=to_purpose_kind(retired))

"""UnitService."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta

from vidhub.api import convert
from vidhub.api.call import Call
from vidhub.api.convert_people import from_unit_state, to_certificate, to_unit
from vidhub.identity import Units
from vidhub.identity.units import UnitFilter
from vidhub.v1 import unit_service_pb2 as pb


class UnitServicer:
    """grpc_address: HOST:PORT for enrolment files; raises FailedPrecondition when units can't reach this hub."""

    def __init__(self, units: Units, grpc_address: Callable[[], str]) -> None:
        self._units = units
        self._grpc_address = grpc_address

    async def list_units(self, request: pb.ListUnitsRequest, call: Call) -> pb.ListUnitsResponse:
        days = request.expires_within_days
        wanted = UnitFilter(
            text=request.text.strip(),
            region_prefix=request.region_prefix,
            industry=request.industry,
            state=from_unit_state(request.state),
            expires_within=timedelta(days=days) if days else None,
        )
        page = await self._units.list_units(
            call.caller, wanted, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListUnitsResponse(
            units=[to_unit(seen) for seen in page.units], next_page_token=page.next_page_token, total_size=page.total
        )

    async def get_unit(self, request: pb.GetUnitRequest, call: Call) -> pb.GetUnitResponse:
        unit, certificates = await self._units.look_at(call.caller, request.id)
        return pb.GetUnitResponse(unit=to_unit(unit), certificates=[to_certificate(one) for one in certificates])

    async def create_enrolment_token(
        self, request: pb.CreateEnrolmentTokenRequest, call: Call
    ) -> pb.CreateEnrolmentTokenResponse:
        token = await self._units.create_token(
            call.caller, request.name, request.region_code, request.industry, self._grpc_address()
        )
        unit, _ = await self._units.look_at(call.caller, token.unit_id)
        # A name that every system takes, and that says whose file it is.
        stem = re.sub(r"[^\w.-]+", "-", unit.unit.name).strip("-.")[:64] or token.unit_id
        return pb.CreateEnrolmentTokenResponse(
            unit=to_unit(unit),
            enrolment_json=json.dumps(token.enrolment, indent=1) + "\n",
            file_name=f"{stem}.enrolment.json",
            expire_time=convert.to_time(token.expire_time),
        )

    async def revoke_unit(self, request: pb.RevokeUnitRequest, call: Call) -> pb.RevokeUnitResponse:
        revoked = await self._units.revoke(call.caller, request.id, request.reason)
        unit, _ = await self._units.look_at(call.caller, request.id)
        return pb.RevokeUnitResponse(unit=to_unit(unit), revoked=revoked)

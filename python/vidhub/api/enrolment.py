"""EnrolmentService: a claim becomes a unit's or a hub's certificate, and a certificate its successor."""

from __future__ import annotations

from typing import Protocol

from vidhub.api import convert
from vidhub.api.call import Call
from vidhub.identity.units import Units
from vidhub.model import Principal
from vidhub.v1 import enrolment_service_pb2 as pb


class HubEnrolment(Protocol):
    """Links stand above this layer."""

    async def enrol_hub(self, principal: Principal, request: pb.EnrolHubRequest) -> pb.EnrolHubResponse: ...


class EnrolmentServicer:
    def __init__(self, units: Units, hubs: HubEnrolment) -> None:
        self._units = units
        self._hubs = hubs

    async def enrol_unit(self, request: pb.EnrolUnitRequest, call: Call) -> pb.EnrolUnitResponse:
        issued = await self._units.enrol(call.caller, request.csr_pem)
        return pb.EnrolUnitResponse(
            unit_id=issued.unit_id,
            certificate_pem=issued.certificate_pem,
            ca_pem=issued.ca_pem,
            not_after=convert.to_time(issued.not_after),
        )

    async def enrol_hub(self, request: pb.EnrolHubRequest, call: Call) -> pb.EnrolHubResponse:
        return await self._hubs.enrol_hub(call.caller, request)

    async def renew_certificate(self, request: pb.RenewCertificateRequest, call: Call) -> pb.RenewCertificateResponse:
        issued = await self._units.renew(call.caller, request.csr_pem)
        return pb.RenewCertificateResponse(
            certificate_pem=issued.certificate_pem,
            ca_pem=issued.ca_pem,
            not_after=convert.to_time(issued.not_after),
        )

"""Calls to an upper hub's EnrolmentService: the certificate that a link is dialled with, and its successor."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import grpc
import structlog

from vidhub.errors import VidhubError
from vidhub.link.keys import LinkIdentity, LinkKeys
from vidhub.model import LinkedHub
from vidhub.mtls import new_key, secure_channel, signing_request, translate
from vidhub.v1 import enrolment_service_pb2 as pb
from vidhub.v1 import enrolment_service_pb2_grpc

# Of a certificate's life, before a new one is asked for.
RENEW_AT = 2 / 3
PATIENCE_S = 30.0

log = structlog.get_logger(__name__)


async def enrol(
    upper: LinkedHub, claim_certificate_pem: str, claim_key_pem: str, request: pb.EnrolHubRequest
) -> pb.EnrolHubResponse:
    """Raises what the upper hub answers; Unavailable HUB_UNREACHABLE, HUB_NOT_TRUSTED."""
    channel = secure_channel(
        upper.link_address, upper.ca_pem.encode(), claim_certificate_pem.encode(), claim_key_pem.encode()
    )
    async with channel:
        stub = enrolment_service_pb2_grpc.EnrolmentServiceStub(channel)
        try:
            answer: pb.EnrolHubResponse = await stub.EnrolHub(request, timeout=PATIENCE_S)
        except grpc.aio.AioRpcError as error:
            raise translate(error, upper.link_address) from error
    return answer


def is_due(identity: LinkIdentity, time: datetime) -> bool:
    return time >= identity.not_before + RENEW_AT * (identity.not_after - identity.not_before)


async def renew_when_due(upper: LinkedHub, identity: LinkIdentity, keys: LinkKeys) -> LinkIdentity:
    """The identity to dial with: a new one, with a key of its own, when the old one nears its end. One that can't be
    had now is asked for again next time."""
    if not is_due(identity, datetime.now(UTC)):
        return identity
    key = new_key()
    channel = secure_channel(upper.link_address, upper.ca_pem.encode(), identity.certificate_pem, identity.key_pem)
    try:
        async with channel:
            stub = enrolment_service_pb2_grpc.EnrolmentServiceStub(channel)
            request = pb.RenewCertificateRequest(csr_pem=signing_request(key, "vidhub hub"))
            answer = await stub.RenewCertificate(request, timeout=PATIENCE_S)
        renewed = await asyncio.to_thread(keys.save, upper.id, answer.certificate_pem, key)
    except (grpc.aio.AioRpcError, VidhubError) as error:
        told = translate(error, upper.link_address) if isinstance(error, grpc.aio.AioRpcError) else error
        log.warning("the certificate of a link was not renewed", hub=upper.id, reason=told.reason)
        return identity
    log.info("the certificate of a link was renewed", hub=upper.id, until=renewed.not_after.isoformat())
    return renewed

"""A hub by hand: what a real one would never say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
from support.hub import PATIENCE_S, HubProcess

from vidhub.link import renewal
from vidhub.link.rules import to_level
from vidhub.model import HubLevel, HubSide, LinkedHub
from vidhub.mtls import key_pem, new_key, secure_channel, signing_request, translate
from vidhub.v1 import enrolment_service_pb2
from vidhub.v1 import link_service_pb2 as pb


@dataclass(frozen=True)
class Impostor:
    """A hub by hand: it holds a certificate, and says whatever it is told to."""

    address: str
    ca_pem: bytes
    certificate_pem: bytes
    key_pem: bytes

    @classmethod
    async def enrolled(cls, upper: HubProcess, place: tuple[str, str, str]) -> Impostor:
        name, level, region = place
        invitation = (await upper.ask("hub_invite", name=name, level=level, region_code=region))["invitation"]
        key = new_key()
        upper_hub = LinkedHub(
            invitation["upper_id"],
            "",
            HubLevel(invitation["upper_level"]),
            invitation["upper_region_code"],
            HubSide.UPPER,
            link_address=invitation["hub"],
            ca_pem=invitation["ca_pem"],
        )
        answer = await renewal.enrol(
            upper_hub,
            invitation["claim_certificate_pem"],
            invitation["claim_key_pem"],
            enrolment_service_pb2.EnrolHubRequest(
                csr_pem=signing_request(key), hub_id=name, name=name, level=to_level(level), region_code=region
            ),
        )
        return cls(invitation["hub"], invitation["ca_pem"].encode(), answer.certificate_pem.encode(), key_pem(key))

    def hello(self, place: tuple[str, str, str], **changed: Any) -> pb.Hello:
        name, level, region = place
        said = {"version": 1, "oldest_version": 1, "hub_id": name, "level": to_level(level), "region_code": region}
        hello = pb.Hello(**{**said, "instance": "by-hand", **changed})
        if not hello.HasField("time"):
            hello.time.FromDatetime(datetime.now(UTC))
        return hello

    @contextlib.asynccontextmanager
    async def call(self) -> AsyncIterator[Any]:
        """The Link call, in bytes both ways."""
        async with secure_channel(self.address, self.ca_pem, self.certificate_pem, self.key_pem) as channel:
            call = channel.stream_stream("/vidhub.v1.LinkService/Link")()
            yield call
            call.cancel()

    async def refused(self, first: pb.Hello | bytes) -> str:
        """The reason for which a call that begins like this is refused."""
        data = first if isinstance(first, bytes) else request(hello=first)
        async with self.call() as call, asyncio.timeout(PATIENCE_S):
            try:
                await call.write(data)
                answer = await call.read()
            except grpc.aio.AioRpcError as error:
                return translate(error, self.address).reason
        raise AssertionError(f"not refused: {answer!r}")


def request(**body: Any) -> bytes:
    return pb.LinkRequest(message=pb.LinkMessage(**body)).SerializeToString()

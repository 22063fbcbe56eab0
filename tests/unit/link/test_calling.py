"""What the side that dials takes for an answer to its farewell, by a call to a server of our own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from vidhub.link.calling import METHOD, Reading
from vidhub.v1 import link_service_pb2 as pb

HEARTBEAT = pb.LinkMessage(heartbeat=pb.Heartbeat())


def farewell(reason: str) -> pb.LinkMessage:
    return pb.LinkMessage(farewell=pb.Farewell(reason=reason))


async def was_heard(said: list[pb.LinkMessage], status: grpc.StatusCode = grpc.StatusCode.OK) -> bool:
    """By an upper hub that says this to our farewell, and ends with that status."""

    async def link(_requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        for message in said:
            yield pb.LinkResponse(message=message).SerializeToString()
        if status is not grpc.StatusCode.OK:
            await context.abort(status, "broken")

    server = grpc.aio.server()
    service, method = METHOD.strip("/").split("/")
    handlers = {method: grpc.stream_stream_rpc_method_handler(link)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.stream_stream(METHOD)()
            reading = Reading(call)
            try:
                return await reading.rest("LINK_ENDED")
            finally:
                call.cancel()
                await reading.close()
    finally:
        await server.stop(None)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ([HEARTBEAT, farewell("LINK_ENDED")], True),
        # It stops, and has not read what we said.
        ([HEARTBEAT, farewell("HUB_DRAINING")], False),
        ([HEARTBEAT], False),
        ([], False),
    ],
)
async def test_a_farewell_is_heard_when_it_is_answered_in_kind(said: list[pb.LinkMessage], heard: bool) -> None:
    assert await was_heard(said) == heard


async def test_what_the_upper_hub_could_not_carry_through_is_not_heard() -> None:
    assert not await was_heard([farewell("LINK_ENDED")], grpc.StatusCode.UNAVAILABLE)

"""WHIP: who is not ours pushes by WebRTC, and others watch."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import cast

import httpx
import pytest
import pytest_asyncio
from aiortc import RTCPeerConnection
from support.push import open_to_push, register_pushed, whip_publisher
from support.rtsp import RtspClient, gaps, nal_units
from support.site import Site, opened, person, site
from support.whep import Refused, post_offer, whep_viewer

pytestmark = pytest.mark.asyncio(loop_scope="module")
module = pytest_asyncio.fixture(scope="module", loop_scope="module")


@module
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with site(tmp_path_factory.mktemp("whip") / "data", VIDHUB_STREAM__LINGER_S="1") as ready:
        await ready.operator("zhang")
        yield ready


async def test_aiortc_publishes_and_another_watches_it(place: Site):
    camera_id = await register_pushed(place, 1)
    push = await open_to_push(place.unit, camera_id)
    async with whip_publisher(push.whip_url, push.ticket, sound=True):
        await place.until_state(camera_id, "ONLINE")
        async with person(place.running, "zhang") as zhang:
            watch, listen = await opened(zhang, camera_id), await opened(zhang, camera_id)
        async with whep_viewer(watch["whepUrl"], watch["ticket"]) as viewer:
            await viewer.until(lambda: viewer.pictures >= 60)
        assert viewer.size == (320, 180)
        async with await (await RtspClient.connect(listen["rtspUrl"])).watch() as reader:
            assert len(reader._controls) == 2, "picture and sound"
            await reader.until(lambda: reader.pictures >= 60)
            assert gaps([packet for packet in reader.packets if packet.channel == 0]) == 0
        async with httpx.AsyncClient() as client:
            figures = (await client.get(f"http://{place.running.ready['metrics']}/metrics")).text
        assert 'vidhub_streams{source="whip"} 1.0' in figures
    camera = await place.until_state(camera_id, "OFFLINE")
    assert camera["stateReason"] == "its unit has stopped pushing it"


async def test_keyframes_are_asked_for_so_that_who_joins_waits_for_none(place: Site):
    camera_id = await register_pushed(place, 2)
    push = await open_to_push(place.unit, camera_id)
    async with whip_publisher(push.whip_url, push.ticket):
        await place.until_state(camera_id, "ONLINE")
        async with person(place.running, "zhang") as zhang:
            watch = await opened(zhang, camera_id)
        async with await (await RtspClient.connect(watch["rtspUrl"])).watch() as reader:
            # An encoder of WebRTC sends one at the beginning, and then when it is asked.
            await reader.until(lambda: reader.pictures >= 270, within_s=60)
            times = [*keyframes(reader), reader.packets[-1].timestamp]
        assert len(times) > 2
        assert max(after - before for before, after in itertools.pairwise(times)) / 90_000 < 6


def keyframes(reader: RtspClient) -> list[int]:
    """The times of the pictures that refer to no other, on the clock of the stream."""
    found = set()
    for packet in reader.packets:
        if packet.channel == 0:
            kinds = {unit[0] & 0x1F for unit in nal_units([packet])}
            fragment = packet.payload[0] & 0x1F == 28 and packet.payload[1] & 0x1F
            if 5 in kinds or fragment == 5:
                found.add(packet.timestamp)
    return sorted(found)


class LossyWay(asyncio.DatagramProtocol):
    """A way to the hub on which every so many'th media packet of the publisher's is lost."""

    def __init__(self, hub: tuple[str, int], every: int) -> None:
        self._hub = hub
        self._every = every
        self._publisher: tuple[str, int] | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self.media = self.lost = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    @property
    def port(self) -> int:
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def datagram_received(self, data: bytes, address: tuple[str | int, int]) -> None:
        assert self._transport is not None
        if address == self._hub:
            self._transport.sendto(data, self._publisher)
            return
        self._publisher = (str(address[0]), address[1])
        # RTP and RTCP (RFC 7983 §7), and of those RTP (RFC 5761 §4).
        if 128 <= data[0] < 192 and not 192 <= data[1] < 224:
            self.media += 1
            if self.media % self._every == 0:
                self.lost += 1
                return
        self._transport.sendto(data, self._hub)


async def test_what_is_lost_on_the_way_is_asked_for_again(place: Site):
    camera_id = await register_pushed(place, 3)
    push = await open_to_push(place.unit, camera_id)
    hub_host, _, hub_port = place.running.ready["webrtc"].rpartition(":")
    loop = asyncio.get_running_loop()
    _, way = await loop.create_datagram_endpoint(
        lambda: LossyWay((hub_host, int(hub_port)), every=20), local_addr=("127.0.0.1", 0)
    )
    try:
        async with whip_publisher(push.whip_url, push.ticket, through=way.port):
            await place.until_state(camera_id, "ONLINE")
            async with person(place.running, "zhang") as zhang:
                watch = await opened(zhang, camera_id)
            async with await (await RtspClient.connect(watch["rtspUrl"])).watch() as reader:
                await reader.until(lambda: reader.pictures >= 150, within_s=60)
                seen = [packet.timestamp for packet in reader.packets if packet.channel == 0 and packet.marker]
        # One packet in twenty is gone, and with it would be a group of pictures each time.
        assert way.lost >= 5
        assert max((after - before) % 2**32 for before, after in itertools.pairwise(seen[30:])) / 90_000 < 1.0
    finally:
        way.close()


async def test_the_newer_of_two_publishers_wins_and_delete_ends_it(place: Site):
    camera_id = await register_pushed(place, 4)
    first, second = [await open_to_push(place.unit, camera_id) for _ in range(2)]
    async with whip_publisher(first.whip_url, first.ticket) as older:
        await place.until_state(camera_id, "ONLINE")
        async with whip_publisher(second.whip_url, second.ticket) as newer:
            await closed(older)
            location = f"{place.running.url}{newer.location}"  # type: ignore[attr-defined]
            async with httpx.AsyncClient() as client:
                foreign = await client.delete(location, headers={"Authorization": f"Bearer {first.ticket}"})
                assert (foreign.status_code, foreign.json()["reason"]) == (403, "TICKET_OTHER_SESSION")
                done = await client.delete(location, headers={"Authorization": f"Bearer {second.ticket}"})
            assert done.status_code == 200
            await closed(newer)
    await place.until_state(camera_id, "OFFLINE")


async def closed(peer: RTCPeerConnection) -> None:
    over = asyncio.Event()
    peer.on("connectionstatechange", lambda: peer.connectionState == "closed" and over.set())
    if peer.connectionState != "closed":
        async with asyncio.timeout(20):
            await over.wait()


async def test_what_can_not_be_taken_is_refused_with_its_reason(place: Site):
    camera_id = await register_pushed(place, 5)
    push = await open_to_push(place.unit, camera_id)
    async with person(place.running, "zhang") as zhang:
        watch = await opened(zhang, camera_id)
    peer = RTCPeerConnection()
    peer.addTransceiver("video", direction="sendonly")
    offer = (await peer.createOffer()).sdp + "a=ice-ufrag:abcd\r\n"
    await peer.close()
    elsewhere = push.whip_url.replace(camera_id, camera_id[:-1] + "4")
    for url, ticket, body, kind, status, reason in (
        (push.whip_url, "", offer, "application/sdp", 401, "TICKET_MISSING"),
        (push.whip_url, "forged", offer, "application/sdp", 401, "TICKET_INVALID"),
        (push.whip_url, watch["ticket"], offer, "application/sdp", 403, "TICKET_OTHER_OPERATION"),
        (elsewhere, push.ticket, offer, "application/sdp", 403, "TICKET_OTHER_CAMERA"),
        (push.whip_url, push.ticket, offer, "text/plain", 415, "CONTENT_TYPE"),
        (push.whip_url, push.ticket, "hello", "application/sdp", 400, "SDP_INVALID"),
        (push.whip_url, push.ticket, offer + "a=x\r\n" * 20_000, "application/sdp", 413, "TOO_LARGE"),
        (push.whip_url, push.ticket, offer.replace("H264", "H263"), "application/sdp", 406, "CODEC_NOT_OFFERED"),
    ):
        answer = await post_offer(url, body, ticket, content_type=kind)
        assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    with pytest.raises(Refused) as caught:
        async with whep_viewer(push.whip_url.replace("whip", "whep"), push.ticket):
            pass
    assert (caught.value.status, caught.value.reason) == (403, "TICKET_OTHER_OPERATION")
    async with httpx.AsyncClient() as client:
        asked = await client.options(push.whip_url)
    assert (asked.status_code, asked.headers["Accept-Post"]) == (204, "application/sdp")

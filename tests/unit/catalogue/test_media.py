"""What the hub saw of a stream is kept, and makes no revision."""

import asyncio
import json
import time
from datetime import UTC, datetime

from support.domain import camera, unit

from vidhub.catalogue.media import MediaNotes
from vidhub.model import CoreEvent
from vidhub.store import cameras, meta


async def test_the_newest_observation_of_a_stream_is_kept(domain):
    got = await domain.catalogue.register_one(unit(), camera())
    before = await domain.store.read(meta.revision)
    notes = MediaNotes(domain.store)
    writing = asyncio.create_task(notes.run())

    def event(width: int) -> CoreEvent:
        detail = json.dumps({"profile": 1, "codec": "h264", "width": width, "height": 1080, "frame_rate": 25.0})
        return CoreEvent("stream_media", got.id, "", detail, 0, 0, datetime.now(UTC))

    notes.take([event(640), event(1920)])
    deadline = time.monotonic() + 30
    while (stream := (await domain.catalogue.get(unit(), got.id)).streams[0]).width == 0:
        assert time.monotonic() < deadline
    writing.cancel()
    assert (stream.codec, stream.width, stream.height, stream.frame_rate) == ("h264", 1920, 1080, 25.0)
    assert await domain.store.read(meta.revision) == before
    kept = await domain.store.read(lambda conn: cameras.get(conn, got.id, domain.secrets))
    assert kept.streams[0].password == "hunter22"

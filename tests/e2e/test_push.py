"""A browser that pushes: what Chromium draws goes to the hub by WHIP, and is watched by WHEP."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.async_api import Playwright
from support.console import FLAGS
from support.push import open_to_push, register_pushed
from support.site import opened, person, site
from support.whep import whep_viewer

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What it pushes is drawn and sounded by the page: the console's own policy lets nobody have a camera.
PUBLISH = """async ([url, ticket]) => {
    const canvas = Object.assign(document.createElement('canvas'), {width: 640, height: 360});
    const drawn = canvas.getContext('2d');
    setInterval(() => {
        drawn.fillStyle = `hsl(${performance.now() / 20 % 360}, 80%, 50%)`;
        drawn.fillRect(0, 0, 640, 360);
        drawn.fillStyle = 'black';
        drawn.fillText(String(performance.now()), 100, 100);
    }, 40);
    const sounded = new AudioContext().createMediaStreamDestination();
    const peer = new RTCPeerConnection();
    for (const media of [canvas.captureStream(25), sounded.stream]) {
        media.getTracks().forEach((track) => peer.addTrack(track, media));
    }
    await peer.setLocalDescription(await peer.createOffer());
    const answer = await fetch(url, {
        method: 'POST',
        headers: {'Content-Type': 'application/sdp', Authorization: `Bearer ${ticket}`},
        body: peer.localDescription.sdp,
    });
    if (answer.status !== 201) return answer.json();
    window.peer = peer;
    await peer.setRemoteDescription({type: 'answer', sdp: await answer.text()});
    return {};
}"""


async def test_chromium_publishes_and_another_watches_it(playwright: Playwright, tmp_path: Path):
    async with site(tmp_path / "data") as place:
        camera_id = await register_pushed(place, 1)
        push = await open_to_push(place.unit, camera_id)
        await place.operator("zhang")
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            page = await browser.new_page()
            await page.goto(place.running.url)
            assert await page.evaluate(PUBLISH, [push.whip_url, push.ticket]) == {}
            await place.until_state(camera_id, "ONLINE")
            async with person(place.running, "zhang") as zhang:
                watch = await opened(zhang, camera_id)
            async with whep_viewer(watch["whepUrl"], watch["ticket"]) as viewer:
                await viewer.until(lambda: viewer.pictures >= 60)
        finally:
            await browser.close()
        await place.until_state(camera_id, "OFFLINE")

"""The core by itself with one camera that an operator may watch, in this process: no hub around it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.domain import HUB

from vidhub.core import Core
from vidhub.identity import HubKeys
from vidhub.model import (
    Action,
    Camera,
    CameraStream,
    Grant,
    LegalRecord,
    Location,
    Principal,
    PrincipalKind,
    Profile,
    Revision,
    Role,
    Scope,
)

CAMERA = "36060200111322000001"
VIEWER = Principal(PrincipalKind.USER, "zhang", hub_id=HUB, roles=frozenset({Role.OPERATOR}))


@dataclass(frozen=True)
class LiveCore:
    core: Core
    bound: dict[str, str | None]

    def open(self, session_id: str = "s1", purpose: str = "patrol") -> str:
        """A session on the camera; its id."""
        self.core.open_session(
            session_id,
            VIEWER,
            CAMERA,
            profile=Profile.AUTO,
            purpose=purpose,
            grant_id="g1",
            expire_time=datetime.now(UTC) + timedelta(hours=1),
            rtsp_user=f"v{session_id}",
            rtsp_password="x" * 24,
        )
        return session_id

    def rtsp_url(self, session_id: str) -> str:
        ticket = self.core.issue_ticket(session_id, 60).text
        return f"rtsp://{self.bound['rtsp']}/{CAMERA}?ticket={ticket}"


@contextlib.asynccontextmanager
async def live_core(data: Path, url: str, **options: object) -> AsyncIterator[LiveCore]:
    """url: the camera's."""
    defaults = {
        "hub_id": HUB,
        "ticket_key_pem": HubKeys.open(data).hub_pem.decode(),
        "listen": {"http": "127.0.0.1:0", "rtsp": "127.0.0.1:0", "webrtc": "127.0.0.1:0"},
        "source": {"allow": ["127.0.0.0/8"]},
        "probe": {"interval_s": 0},
    }
    core = Core({**defaults, **options})
    try:
        bound = await core.start()
        core.start_listening()
        now = datetime.now(UTC)
        camera = Camera(
            id=CAMERA,
            name="东门",
            unit_id="u1",
            region_code="360602",
            industry="11",
            place_category=5,
            location=Location(28.24, 117.03),
            streams=(CameraStream(Profile.MAIN, url),),
            legal=LegalRecord(),
        )
        core.load(Revision("e1", 1), [camera], [])
        grant = Grant(
            id="g1",
            username="zhang",
            department="",
            scope=Scope(region_prefixes=("3606",)),
            actions=(Action.VIEW_LIVE,),
            purposes=("patrol",),
            not_before=now - timedelta(minutes=1),
            not_after=now + timedelta(hours=1),
        )
        core.load_grants([grant])
        yield LiveCore(core, bound)
    finally:
        await core.stop()

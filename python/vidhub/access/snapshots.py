"""Snapshots: one still out of an open session, watermarked, and on record before anybody has it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

from vidhub.access.book import SessionBook
from vidhub.access.judging import judge
from vidhub.access.sessions import Sessions
from vidhub.audit import AuditLog
from vidhub.core import Core, FrameUnit
from vidhub.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    VidhubError,
)
from vidhub.model import Action, AuditRecord, Principal, Session
from vidhub.store import Store

# Decoded at once: each may take a core for a second and 250 MiB.
DECODED_AT_ONCE = 2
# Under way on the hub, those that wait for their camera included; and of one session.
MOST_UNDER_WAY = 32
MOST_OF_A_SESSION = 4


class Snapshots:
    """Takes stills of what a session watches."""

    def __init__(
        self,
        *,
        store: Store,
        audit: AuditLog,
        core: Core,
        sessions: Sessions,
        book: SessionBook,
        patience_s: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """patience_s: how long a camera that is live may take to its next keyframe."""
        self._store = store
        self._audit = audit
        self._core = core
        self._sessions = sessions
        self._book = book
        self._patience_s = patience_s
        self._clock = clock
        self._under_way: Counter[str] = Counter()
        self._decoders = ThreadPoolExecutor(DECODED_AT_ONCE, thread_name_prefix="snapshot")

    def close(self) -> None:
        self._decoders.shutdown(cancel_futures=True)

    async def take(self, principal: Principal, session_id: str) -> bytes:
        """A JPEG of the newest keyframe of one's own open session's camera. A refusal is on record too.

        Raises NotFound SESSION_NOT_FOUND, FailedPrecondition SESSION_ENDED, CAMERA_NO_VIDEO;
        PermissionDenied with the reason of policy; ResourceExhausted LIMIT_SNAPSHOTS; Unavailable CAMERA_… when the
        camera gives no picture, PICTURE_BROKEN, PICTURE_TOO_LARGE.
        """
        session: Session | None = None
        try:
            session = await self._sessions.own(principal, session_id)
            with self._place(session_id):
                return await self._take(principal, session)
        except (InvalidArgument, PermissionDenied, NotFound, FailedPrecondition, ResourceExhausted) as error:
            self._refused(principal, session_id, session, error)
            raise

    async def _take(self, principal: Principal, session: Session) -> bytes:
        await self._book.may_take_still(principal, session)
        unit = await self._core.keyframe(session.id, patience_s=self._patience_s)
        if unit.kind != "video":
            raise FailedPrecondition("CAMERA_NO_VIDEO", "the camera sends sound alone: there is no picture to take")
        lines = self._lines(principal, session.camera_id)
        loop = asyncio.get_running_loop()
        picture, width, height = await loop.run_in_executor(self._decoders, _still, unit, lines)
        grant_id = self._still_allowed(principal, session)
        detail = {"width": width, "height": height, "sha256": hashlib.sha256(picture).hexdigest()}
        entry = AuditRecord.of(
            principal,
            "camera.snapshot",
            f"camera/{session.camera_id}",
            purpose_kind=session.purpose.kind,
            purpose_reference=session.purpose.reference,
            grant_id=grant_id,
            session_id=session.id,
            detail_json=json.dumps(detail),
        )
        await self._store.write(lambda conn: self._audit.append(conn, [entry]))
        # What was right before the write may not be any more.
        self._still_allowed(principal, session)
        return picture

    def _still_allowed(self, principal: Principal, session: Session) -> str:
        """The grant that carries it now."""
        self._book.check_open(session.id)
        return judge(self._core, principal, Action.SNAPSHOT, session.camera_id, session.purpose).grant_id

    def _lines(self, principal: Principal, camera_id: str) -> tuple[str, str]:
        """Who has it and when it was taken, in the hub's own time, of which camera."""
        name = principal.display_name or principal.id
        who = " ".join(dict.fromkeys(part for part in (name, principal.id, principal.department) if part))
        return who, f"{self._clock().astimezone():%Y-%m-%d %H:%M:%S %z} {camera_id}"

    @contextmanager
    def _place(self, session_id: str) -> Iterator[None]:
        if self._under_way[session_id] >= MOST_OF_A_SESSION:
            raise ResourceExhausted(
                "LIMIT_SNAPSHOTS", f"{MOST_OF_A_SESSION} snapshots of this session are being taken: wait for one"
            )
        if self._under_way.total() >= MOST_UNDER_WAY:
            raise ResourceExhausted(
                "LIMIT_SNAPSHOTS", f"{MOST_UNDER_WAY} snapshots are being taken on this hub: try again in a second"
            )
        self._under_way[session_id] += 1
        try:
            yield
        finally:
            self._under_way[session_id] -= 1
            if not self._under_way[session_id]:
                del self._under_way[session_id]

    def _refused(self, principal: Principal, session_id: str, session: Session | None, error: VidhubError) -> None:
        resource, facts = f"session/{session_id[:64]}", {}
        if session is not None:
            resource = f"camera/{session.camera_id}"
            facts = {
                "purpose_kind": session.purpose.kind,
                "purpose_reference": session.purpose.reference,
                "session_id": session.id,
            }
        self._audit.refusal(
            AuditRecord.of(principal, "camera.snapshot.refused", resource, result=error.reason, **facts)
        )
        error.on_record = True


def _still(unit: FrameUnit, lines: tuple[str, str]) -> tuple[bytes, int, int]:
    """On a thread: the JPEG, its width and its height."""
    # FFmpeg and OpenCV take a third of a second to load and 60 MiB: only where somebody takes a snapshot.
    from vidhub.picture import decode_keyframe, jpeg, watermark

    image = decode_keyframe(unit.codec, unit)
    watermark(image, lines)
    height, width = image.shape[:2]
    return jpeg(image), width, height

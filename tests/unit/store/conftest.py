"""A store in a file of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vidhub.model import Camera, CameraStream, LegalRecord, Location, Profile
from vidhub.store import Secrets, Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(f"sqlite:///{tmp_path}/vidhub.db", busy_timeout_s=0.05)
    yield store
    await store.close()


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets.open(tmp_path / "keys" / "secrets.json")


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 11, 23, 8, 30, 0, 123456, tzinfo=UTC)


@pytest.fixture
def make_camera() -> Callable[..., Camera]:
    def make(number: int = 1, **changes: object) -> Camera:
        fields: dict[str, object] = {
            "id": f"36060200111320{number:06d}",
            "name": f"东门 {number}",
            "unit_id": "u1",
            "region_code": "360602",
            "industry": "11",
            "place_category": 5,
            "location": Location(28.26, 117.07, "胜利路"),
            "streams": (
                CameraStream(Profile.MAIN, f"rtsp://10.0.0.1/{number}", "admin", f"main-secret-{number}", 1),
                CameraStream(Profile.SUB, f"rtsp://10.0.0.1/{number}/sub", "admin", f"sub-secret-{number}", 2),
            ),
            "legal": LegalRecord("basis", "safety", "gate", 30, "sign", "2026-01-01"),
            "device": (("manufacturer", "海康"), ("height_m", 3.5), ("ptz_type", 1)),
        }
        return Camera(**{**fields, **changes})  # type: ignore[arg-type]

    return make

"""SystemService."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from vidhub.api import convert
from vidhub.api.call import Call
from vidhub.store.purposes import PurposeKind
from vidhub.v1 import system_service_pb2 as pb


class SystemServicer:
    """purposes: those in force. link_versions: newest and oldest of LinkService. counts: as `Core.counts`. uptime_s:
    seconds since the hub started."""

    def __init__(
        self,
        *,
        hub_id: str,
        hub_name: str,
        version: str,
        counts: Callable[[], Mapping[str, int]],
        uptime_s: Callable[[], float],
        purposes: Callable[[], Sequence[PurposeKind]] = tuple,
        link_versions: tuple[int, int] = (0, 0),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._hub_id = hub_id
        self._hub_name = hub_name
        self._version = version
        self._link_versions = link_versions
        self._clock = clock
        self._counts = counts
        self._uptime_s = uptime_s
        self._purposes = purposes

    async def get_status(self, _request: pb.GetStatusRequest, _call: Call) -> pb.GetStatusResponse:
        counts, now = self._counts(), self._clock()
        return pb.GetStatusResponse(
            hub_id=self._hub_id,
            hub_name=self._hub_name,
            version=self._version,
            cameras=counts["cameras"],
            streams=counts["streams"],
            sessions=counts["sessions"],
            uptime_s=self._uptime_s(),
            purposes=[
                pb.PurposeKind(
                    kind=one.kind, name=one.title, name_en=one.title_en, reference_required=one.wants_reference
                )
                for one in self._purposes()
            ],
            time=convert.to_time(now),
            utc_offset_s=int((now.astimezone().utcoffset() or timedelta()).total_seconds()),
            link_version=self._link_versions[0],
            oldest_link_version=self._link_versions[1],
        )

"""SystemService."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vidhub.api.call import Call
from vidhub.store.purposes import PurposeKind
from vidhub.v1 import system_service_pb2 as pb


class SystemServicer:
    """purposes: the register. counts: as `Core.counts`. uptime_s: seconds since the hub started."""

    def __init__(
        self,
        *,
        hub_id: str,
        hub_name: str,
        version: str,
        counts: Callable[[], Mapping[str, int]],
        uptime_s: Callable[[], float],
        purposes: Sequence[PurposeKind] = (),
    ) -> None:
        self._hub_id = hub_id
        self._hub_name = hub_name
        self._version = version
        self._counts = counts
        self._uptime_s = uptime_s
        self._purposes = [
            pb.PurposeKind(kind=one.kind, name=one.title, name_en=one.title_en, reference_required=one.wants_reference)
            for one in purposes
        ]

    async def get_status(self, _request: pb.GetStatusRequest, _call: Call) -> pb.GetStatusResponse:
        counts = self._counts()
        return pb.GetStatusResponse(
            hub_id=self._hub_id,
            hub_name=self._hub_name,
            version=self._version,
            cameras=counts["cameras"],
            streams=counts["streams"],
            sessions=counts["sessions"],
            uptime_s=self._uptime_s(),
            purposes=self._purposes,
        )

"""SystemService."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vidhub.api.call import Call
from vidhub.v1 import system_service_pb2 as pb


class SystemServicer:
    """counts: as `Core.counts`. uptime_s: seconds since the hub started."""

    def __init__(
        self,
        *,
        hub_id: str,
        hub_name: str,
        version: str,
        counts: Callable[[], Mapping[str, int]],
        uptime_s: Callable[[], float],
    ) -> None:
        self._hub_id = hub_id
        self._hub_name = hub_name
        self._version = version
        self._counts = counts
        self._uptime_s = uptime_s

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
        )

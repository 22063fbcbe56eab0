"""Where a session's picture is to be had, as clients are told."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class MediaAddresses:
    """http: origin of the public port, as in "https://hub.example". rtsp, rtsps: "HOST:PORT". Empty for what is off."""

    http: str = ""
    rtsp: str = ""
    rtsps: str = ""

    def whep(self, camera_id: str) -> str:
        return f"{self.http}/whep/{quote(camera_id, safe='')}" if self.http else ""

    def mse(self, camera_id: str) -> str:
        """A WebSocket where the rest is HTTP: ws for http, wss for https."""
        return f"ws{self.http.removeprefix('http')}/mse/{quote(camera_id, safe='')}" if self.http else ""

    def whip(self, camera_id: str) -> str:
        return f"{self.http}/whip/{quote(camera_id, safe='')}" if self.http else ""

    def rtsp_with_ticket(self, camera_id: str, ticket: str) -> str:
        """By TLS only where there is nothing else: few players know the hub's own CA."""
        origin = f"rtsp://{self.rtsp}" if self.rtsp else f"rtsps://{self.rtsps}" if self.rtsps else ""
        return f"{origin}/{quote(camera_id, safe='')}?ticket={quote(ticket, safe='')}" if origin else ""

"""`vidhub hub` on a data directory: what `AdminOperations` offers of links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.json_format import MessageToDict

from vidhub.api.admin import AdminOperations
from vidhub.link.hub_service import HubView
from vidhub.link.linking import Linking
from vidhub.model import LinkedHub, Principal
from vidhub.v1 import hub_service_pb2 as pb


class HubOperations:
    """link_address, media_address: what lower hubs are told, HOST:PORT; each raises when there is none."""

    def __init__(
        self,
        principal: Principal,
        linking: Linking,
        view: HubView,
        *,
        link_address: Callable[[], str],
        media_address: Callable[[], str],
    ) -> None:
        self._principal = principal
        self._linking = linking
        self._view = view
        self._link_address = link_address
        self._media_address = media_address

    def add_to(self, operations: AdminOperations) -> None:
        operations.add(self.hub_invite, name=str, level=str, region_code=str)
        operations.add(self.hub_join, invitation=dict)
        operations.add(self.hub_accept, hub=str)
        operations.add(self.hub_end, hub=str, reason=str)
        operations.add(self.hub_list)

    async def hub_invite(self, name: str, level: str, region_code: str) -> dict[str, Any]:
        hub, invitation = await self._linking.invite(
            self._principal, name, level, region_code, hub=self._link_address(), media=self._media_address()
        )
        return {"id": hub.id, "name": hub.name, "invitation": invitation, "expire_time": invitation["expire_time"]}

    async def hub_join(self, invitation: dict[str, Any]) -> dict[str, Any]:
        return self._of(await self._linking.join(self._principal, invitation))

    async def hub_accept(self, hub: str) -> dict[str, Any]:
        return self._of(await self._linking.accept(self._principal, hub))

    async def hub_end(self, hub: str, reason: str) -> dict[str, Any]:
        ended = await self._linking.end(self._principal, hub, reason)
        return {"id": ended.id, "name": ended.name}

    async def hub_list(self) -> dict[str, Any]:
        return {"self": to_dict(self._view.self()), "hubs": [to_dict(hub) for hub in self._view.all()]}

    def _of(self, hub: LinkedHub) -> dict[str, Any]:
        return to_dict(self._view.of(hub))


def to_dict(hub: pb.Hub) -> dict[str, Any]:
    """The fields of `vidhub.v1.Hub` under their own names, enums in lower case without prefix, counts as numbers."""
    found: dict[str, Any] = MessageToDict(
        hub, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    for name, kind in (("level", "HUB_LEVEL_"), ("side", "HUB_SIDE_"), ("state", "HUB_STATE_")):
        found[name] = found[name].removeprefix(kind).lower().replace("unspecified", "")
    for name, value in found.items():
        if (
            isinstance(value, str)
            and isinstance(getattr(hub, name, None), int)
            and name not in ("level", "side", "state")
        ):
            found[name] = int(value)
    return found

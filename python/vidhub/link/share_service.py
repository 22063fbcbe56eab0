"""The part of HubService that is about sharing, and the same for the command line."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from google.protobuf.json_format import MessageToDict

from vidhub import paging
from vidhub.access.shares import EVERYTHING
from vidhub.api import convert
from vidhub.api.admin import AdminOperations
from vidhub.api.call import Call
from vidhub.errors import InvalidArgument
from vidhub.link.sharing import SharingDesk
from vidhub.model import Action, Grant, Principal, Scope
from vidhub.v1 import hub_service_pb2 as pb
from vidhub.v1 import link_service_pb2


class ShareCalls:
    """What HubServicer answers about sharing."""

    def __init__(self, desk: SharingDesk) -> None:
        self._desk = desk

    async def list_shares(self, request: pb.ListSharesRequest, call: Call) -> pb.ListSharesResponse:
        found = self._desk.shares(call.caller, request.hub)
        received = [_received(*one) for one in self._desk.received(call.caller, request.hub)]
        return pb.ListSharesResponse(shares=[to_share(share) for share in found], received=received)

    async def preview_share(self, request: pb.PreviewShareRequest, call: Call) -> pb.PreviewShareResponse:
        share = request.share
        preview, sample = await self._desk.preview(
            call.caller,
            share.hub_id,
            _scope(share),
            actions=convert.from_actions(share.actions),
            purposes=tuple(share.purposes),
            fields=tuple(share.fields),
        )
        would_be = to_share(preview.share)
        for name in ("id", "create_time", "created_by"):  # it is not there yet
            would_be.ClearField(name)
        return pb.PreviewShareResponse(
            cameras=preview.cameras, sample=sample, added=preview.added, alone=preview.alone, share=would_be
        )

    async def create_share(self, request: pb.CreateShareRequest, call: Call) -> pb.CreateShareResponse:
        share = request.share
        created = await self._desk.share(
            call.caller,
            share.hub_id,
            _scope(share),
            actions=convert.from_actions(share.actions),
            purposes=tuple(share.purposes),
            fields=tuple(share.fields),
        )
        return pb.CreateShareResponse(share=to_share(created))

    async def delete_share(self, request: pb.DeleteShareRequest, call: Call) -> pb.DeleteShareResponse:
        await self._desk.delete(call.caller, request.id)
        return pb.DeleteShareResponse()

    async def explain_camera(self, request: pb.ExplainCameraRequest, call: Call) -> pb.ExplainCameraResponse:
        found = await self._desk.explain(call.caller, request.camera_id, request.hub)
        return pb.ExplainCameraResponse(
            visible=any(one.visible for one in found),
            findings=[pb.ExplainCameraResponse.Finding(**asdict(one)) for one in found],
        )

    async def list_conflicts(self, request: pb.ListConflictsRequest, call: Call) -> pb.ListConflictsResponse:
        found, token = await self._desk.conflicts(
            call.caller, request.hub, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListConflictsResponse(
            conflicts=[pb.ListConflictsResponse.Conflict(**asdict(one)) for one in found], next_page_token=token
        )

    async def assign_camera(self, request: pb.AssignCameraRequest, call: Call) -> pb.AssignCameraResponse:
        await self._desk.assign(call.caller, request.camera_id, request.hub, request.reason)
        return pb.AssignCameraResponse()


class ShareOperations:
    """`vidhub hub share` and what belongs to it."""

    def __init__(self, principal: Principal, desk: SharingDesk) -> None:
        self._principal = principal
        self._desk = desk

    def add_to(self, operations: AdminOperations) -> None:
        scope: dict[str, object] = dict.fromkeys(("camera_ids", "unit_ids", "region_prefixes", "industries"), ())
        operations.add(self.hub_share, hub=str, everything=False, actions=(), purposes=(), fields=(), **scope)
        operations.add(self.hub_unshare, hub=str, everything=False, **scope)
        operations.add(self.hub_preview, hub=str, everything=False, actions=(), purposes=(), fields=(), **scope)
        operations.add(self.hub_shares, hub="")
        operations.add(self.hub_explain, camera_id=str, hub="")
        operations.add(self.hub_conflicts, hub="")
        operations.add(self.hub_digest, hub=str)
        operations.add(self.hub_assign, camera_id=str, hub=str, reason=str)

    async def hub_share(
        self,
        hub: str,
        everything: bool,
        actions: list[str],
        purposes: list[str],
        fields: list[str],
        **lists: list[str],
    ) -> dict[str, Any]:
        share = await self._desk.share(
            self._principal,
            hub,
            _words_to_scope(everything, lists),
            actions=[_action(word) for word in actions],
            purposes=purposes,
            fields=fields,
        )
        return to_dict(share)

    async def hub_unshare(self, hub: str, everything: bool, **lists: list[str]) -> dict[str, Any]:
        share, left = await self._desk.unshare(self._principal, hub, _words_to_scope(everything, lists))
        return {**to_dict(share), "still_shared": left}

    async def hub_preview(
        self,
        hub: str,
        everything: bool,
        actions: list[str],
        purposes: list[str],
        fields: list[str],
        **lists: list[str],
    ) -> dict[str, Any]:
        preview, sample = await self._desk.preview(
            self._principal,
            hub,
            _words_to_scope(everything, lists),
            actions=[_action(word) for word in actions],
            purposes=purposes,
            fields=fields,
        )
        rule = to_dict(preview.share)
        return {
            "cameras": preview.cameras,
            "added": preview.added,
            "alone": preview.alone,
            **{name: rule[name] for name in ("actions", "purposes", "fields")},
            "sample": [MessageToDict(camera) for camera in sample],
        }

    async def hub_shares(self, hub: str) -> dict[str, Any]:
        return {
            "shares": [to_dict(share) for share in self._desk.shares(self._principal, hub)],
            "received": [_received_dict(*one) for one in self._desk.received(self._principal, hub)],
        }

    async def hub_explain(self, camera_id: str, hub: str) -> dict[str, Any]:
        found = await self._desk.explain(self._principal, camera_id, hub)
        return {
            "visible": any(one.visible for one in found),
            "reasons": [
                {
                    "hub": one.hub_id,
                    "visible": one.visible,
                    "stale": one.stale,
                    "reason": one.reason,
                    "message": one.message,
                }
                for one in found
            ],
        }

    async def hub_conflicts(self, hub: str) -> dict[str, Any]:
        """All of them, of each hub as many as are kept."""
        conflicts: list[dict[str, Any]] = []
        token = ""
        while True:
            page, token = await self._desk.conflicts(self._principal, hub, page_size=paging.MOST, page_token=token)
            conflicts += [asdict(one) for one in page]
            if not token:
                return {"conflicts": conflicts}

    async def hub_digest(self, hub: str) -> dict[str, Any]:
        found = await self._desk.digest(self._principal, hub)
        cameras, sha256 = found.up
        return {
            "cameras": cameras,
            "sha256": sha256.hex(),
            "direction": "up",
            "down": {"cameras": found.down[0], "sha256": found.down[1].hex()},
        }

    async def hub_assign(self, camera_id: str, hub: str, reason: str) -> dict[str, Any]:
        return {"camera": camera_id, "hub": await self._desk.assign(self._principal, camera_id, hub, reason)}


def to_share(share: Grant) -> pb.Share:
    is_all = share.scope == EVERYTHING
    return pb.Share(
        id=share.id,
        hub_id=share.hub_id,
        scope=None if is_all else convert.to_scope(share.scope),
        all=is_all,
        actions=convert.to_actions(share.actions),
        purposes=share.purposes,
        fields=share.fields,
        create_time=convert.to_time(share.create_time),
        created_by=share.created_by,
    )


def _received(hub_id: str, rule_id: str, rule: link_service_pb2.SharingRule) -> pb.Share:
    return pb.Share(
        id=rule_id,
        hub_id=hub_id,
        scope=rule.scope if rule.HasField("scope") else None,
        all=rule.all,
        actions=rule.actions,
        purposes=rule.purposes,
        fields=rule.fields,
        create_time=rule.create_time if rule.HasField("create_time") else None,
    )


def _received_dict(hub_id: str, rule_id: str, rule: link_service_pb2.SharingRule) -> dict[str, Any]:
    return {
        "id": rule_id,
        "hub": hub_id,
        "all": rule.all,
        "scope": _lists(convert.from_scope(rule.scope)),
        "actions": [action.value for action in convert.from_actions(rule.actions)],
        "purposes": list(rule.purposes),
        "fields": list(rule.fields),
    }


def _lists(scope: Scope) -> dict[str, list[str]]:
    names = ("camera_ids", "unit_ids", "region_prefixes", "industries")
    return {name: list(getattr(scope, name)) for name in names if getattr(scope, name)}


def to_dict(share: Grant) -> dict[str, Any]:
    """until: null, for a rule holds until it is taken back."""
    is_all = share.scope == EVERYTHING
    return {
        "id": share.id,
        "hub": share.hub_id,
        "all": is_all,
        "scope": {} if is_all else _lists(share.scope),
        "actions": [action.value for action in share.actions],
        "purposes": list(share.purposes),
        "fields": list(share.fields),
        "until": None,
    }


def _scope(share: pb.Share) -> Scope:
    return EVERYTHING if share.all else convert.from_scope(share.scope)


def _words_to_scope(everything: bool, lists: dict[str, list[str]]) -> Scope:
    scope = Scope(**{name: tuple(entries) for name, entries in lists.items()})
    if everything and scope != Scope():
        raise InvalidArgument("SCOPE_INVALID", "share all, or name what is shared, not both")
    return EVERYTHING if everything else scope


def _action(word: str) -> Action:
    try:
        return Action(word)
    except ValueError as cause:
        raise InvalidArgument(
            "ACTION_UNKNOWN", f"{word[:40]!r} is no action: take list, view_live or snapshot"
        ) from cause

"""EventService."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from vidhub.api import convert
from vidhub.api.call import Call
from vidhub.events import EventDesk
from vidhub.model import Event, EventFilter, Severity
from vidhub.v1 import event_service_pb2 as pb


class EventServicer:
    def __init__(self, desk: EventDesk, names: convert.Names = convert.NAMELESS) -> None:
        self._desk = desk
        self._names = names

    async def watch_events(self, request: pb.WatchEventsRequest, call: Call) -> AsyncGenerator[pb.WatchEventsResponse]:
        items = self._desk.watch(call.caller, convert.from_revision(request, "from"), _from_filter(request.filter))
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Event):
                    yield pb.WatchEventsResponse(event=self._named(item))
                else:
                    yield pb.WatchEventsResponse(synced=convert.to_revision(item))

    async def list_events(self, request: pb.ListEventsRequest, call: Call) -> pb.ListEventsResponse:
        page = await self._desk.list(
            call.caller, _from_filter(request.filter), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListEventsResponse(
            events=[self._named(event) for event in page.events],
            next_page_token=page.next_page_token,
            revision=convert.to_revision(page.revision),
            unacknowledged=page.unacknowledged,
        )

    async def acknowledge_event(self, request: pb.AcknowledgeEventRequest, call: Call) -> pb.AcknowledgeEventResponse:
        event = await self._desk.acknowledge(call.caller, request.id, request.note)
        return pb.AcknowledgeEventResponse(event=self._named(event))

    def _named(self, event: Event) -> pb.Event:
        """With what people call its subject; units of another hub have no name here."""
        message = to_event(event)
        kind, _, one = event.subject.partition("/")
        if kind == "camera":
            message.subject_name = self._desk.camera_name(one)
        elif kind == "region":
            message.subject_name = self._names.region(one)
        elif kind == "unit" and not event.hub_id:
            message.subject_name = self._names.unit(one)
        return message


def to_event(event: Event) -> pb.Event:
    known = event.acknowledgement
    return pb.Event(
        id=event.id,
        number=event.number,
        kind=event.kind,
        severity=int(event.severity),  # type: ignore[arg-type]
        subject=event.subject,
        reason=event.reason,
        count=event.count,
        camera_ids=event.camera_ids,
        unit_id=event.unit_id,
        region_code=event.region_code,
        hub_id=event.hub_id,
        detail_json=event.detail_json,
        begin_time=convert.to_time(event.begin_time),
        last_time=convert.to_time(event.last_time),
        end_time=convert.to_time(event.end_time),
        acknowledgement=None
        if known is None
        else pb.EventAcknowledgement(by=known.by, time=convert.to_time(known.time), note=known.note),
    )


def _from_filter(message: pb.EventFilter) -> EventFilter:
    return EventFilter(
        kinds=tuple(message.kinds),
        min_severity=Severity(message.min_severity),
        region_prefix=message.region_prefix,
        unit_id=message.unit_id,
        camera_id=message.camera_id,
        open=message.open,
        unacknowledged=message.unacknowledged,
    )

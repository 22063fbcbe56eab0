"""What the parts of the hub notice becomes events that people are told of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import structlog

from vidhub.access.ends import End
from vidhub.core import Core
from vidhub.errors import NotFound, VidhubError
from vidhub.events import EventLog, Facts, kinds
from vidhub.events.pulse import Pulse
from vidhub.identity import Register
from vidhub.model import AuditRecord, Camera, Principal, PrincipalKind, Session, Severity
from vidhub.telemetry import AlarmFigures, HouseFigures, LinkFigures

LOOK_S = 5.0
# The house is looked at each so many looks, certificates each so many looks at the house: both cost.
HOUSE_EVERY = 2
CERTIFICATES_EVERY = 60
LOW = 0.10
VERY_LOW = 0.03
CERTIFICATE_SOON = timedelta(days=14)
CERTIFICATE_NOW = timedelta(days=3)
BACKUP_OVERDUE = timedelta(hours=26)
# Refusals of one reason and address within a minute that are no slip of the hand any more.
MANY_REFUSALS = 10
# Addresses whose refusals are told apart within a minute; past it they are counted together.
MOST_ADDRESSES = 64
# Sessions on a unit's cameras within so long are one event.
SESSIONS_FOLD_S = 3_600.0
# Ends that somebody or something else than the viewer brought about.
BY_OTHERS = frozenset(
    {
        "SESSION_TERMINATED",
        "GRANT_REVOKED",
        "POLICY_CHANGED",
        "USER_SUSPENDED",
        "CERTIFICATE_REVOKED",
        "CAMERA_RETIRED",
        "CAMERA_QUARANTINED",
        "CAMERA_ID_TAKEN",
        "CAMERA_RECORD_INVALID",
        "REGION_NOT_OF_PEER",
        "PATH_CYCLE",
        "LINK_LEASE_EXPIRED",
        "LINK_DOWN",
        "SESSION_LOST",
    }
)

log = structlog.get_logger(__name__)


class Alarms:
    """Everything but `run` returns at once. register: of client certificates. clock: also for what is overdue."""

    def __init__(
        self,
        events: EventLog,
        core: Core,
        register: Register,
        links: Callable[[], Iterable[LinkFigures]],
        hub_id: str,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._events = events
        self._core = core
        self._register = register
        self._links = links
        self._system = Principal(PrincipalKind.SYSTEM, hub_id=hub_id)
        self._clock = clock
        self._began = clock()
        self._house: Callable[[], HouseFigures] | None = None
        self._down: set[str] = set()
        self._addresses: dict[str, int] = {}
        self._store_failures = 0
        self._on_clock_set: list[Callable[[], None]] = []
        self.pulse = Pulse(self._stalled, self._jumped)

    def on_clock_set(self, listener: Callable[[], None]) -> None:
        """Called within a second of a jump."""
        self._on_clock_set.append(listener)

    def watch_house(self, figures: Callable[[], HouseFigures]) -> None:
        self._house = figures

    async def run(self) -> None:
        """Until cancelled."""
        looks = 0
        while True:
            try:
                self.look(house=looks % HOUSE_EVERY == 0, certificates=looks % (HOUSE_EVERY * CERTIFICATES_EVERY) == 0)
            except OSError as error:  # the disk itself does not answer
                log.error("the data directory can't be looked at", cause=str(error))
            looks += 1
            await asyncio.sleep(LOOK_S)

    def look(self, *, house: bool = True, certificates: bool = True) -> None:
        """At what nobody tells of."""
        self._look_at_links()
        if not house:
            return
        figures = None if self._house is None else self._house()
        if figures is not None:
            self._look_at_disk(figures)
            self._look_at_backup(figures.backup_time)
        if certificates:
            self._look_at_certificates(() if figures is None else figures.certificate_ends)

    def figures(self) -> AlarmFigures:
        begun, lasting, waiting = self._events.figures()
        pulse = self.pulse
        return AlarmFigures(
            tuple(begun.items()), lasting, waiting, self._store_failures, pulse.stalls, pulse.stalled_s, pulse.jumps
        )

    # What is told.

    def session_opened(self, session: Session) -> None:
        camera = self._camera(session.camera_id)
        if camera is not None and not self._is_far(camera):
            self._events.happened(kinds.SESSION_OPENED, f"unit/{camera.unit_id}", _of(camera), fold_s=SESSIONS_FOLD_S)

    def session_ended(self, session: Session, end: End) -> None:
        if end.reason not in BY_OTHERS:
            return
        camera = self._camera(session.camera_id)
        facts = Facts(
            reason=end.reason,
            camera_ids=(session.camera_id,),
            unit_id="" if camera is None or self._is_far(camera) else camera.unit_id,
            region_code="" if camera is None else camera.region_code,
            principal=session.principal,
            detail={"viewer": session.viewer_name, "by": "" if end.actor is None else end.actor.ref, "note": end.note},
        )
        self._events.happened(kinds.SESSION_ENDED, f"camera/{session.camera_id}", facts)

    def refused(self, record: AuditRecord, hub_id: str) -> None:
        who = f"hub/{hub_id}" if hub_id else f"address/{record.source_address or 'unknown'}"
        minute = int(self._clock().timestamp()) // 60
        if who not in self._addresses or self._addresses[who] != minute:
            if len(self._addresses) >= MOST_ADDRESSES:
                self._addresses = {one: at for one, at in self._addresses.items() if at == minute}
            if len(self._addresses) >= MOST_ADDRESSES:
                who = "address/many"
            else:
                self._addresses[who] = minute
        facts = Facts(reason=record.result, detail={"principal": record.principal, "resource": record.resource})
        many = self._events.folded(kinds.ACCESS_REFUSED, who, facts) + 1 >= MANY_REFUSALS
        if many:
            facts = Facts(reason=record.result, severity=Severity.WARNING)
        self._events.happened(kinds.ACCESS_REFUSED, who, facts)

    def store_trouble(self, error: VidhubError | None) -> None:
        if error is None:
            self._events.end(kinds.STORE_FAILING, "store")
            return
        self._store_failures += 1
        log.error("the store refuses writes", reason=error.reason, message=error.message)
        self._events.begin(kinds.STORE_FAILING, "store", Facts(reason=error.reason, detail={"message": error.message}))

    def socket_gone(self, name: str) -> None:
        """One of the hub's own sockets was removed by somebody, and is there again."""
        log.error("a socket of the hub was removed; it is made anew", socket=name)
        self._events.happened(kinds.SOCKET_GONE, f"socket/{name}", Facts())

    def crashed(self, lost: int) -> None:
        """The last run did not end as it should. lost: sessions that were open."""
        log.warning("the hub did not stop by itself the last time", sessions_lost=lost)
        self._events.happened(kinds.HUB_CRASHED, "hub/own", Facts(count=max(lost, 1), detail={"sessions": lost}))

    # What is looked at.

    def _look_at_links(self) -> None:
        there = {link.peer: link.is_up for link in self._links()}
        for peer, is_up in there.items():
            # The second look in a row: a link that is only replaced is no news.
            if not is_up and peer in self._down:
                self._events.begin(kinds.LINK_DOWN, f"hub/{peer}", Facts())
        for event in self._events.all_lasting(kinds.LINK_DOWN):
            if there.get(event.subject.removeprefix("hub/"), True):
                self._events.end(kinds.LINK_DOWN, event.subject)
        self._down = {peer for peer, is_up in there.items() if not is_up}

    def _look_at_certificates(self, own: Iterable[tuple[str, float]]) -> None:
        """own: the hub's, (which, when)."""
        now = self._clock()
        ending = {f"{kind}/{one}": end for (kind, one), end in self._register.ending(now + CERTIFICATE_SOON).items()}
        ending |= {
            f"certificate/{which}": datetime.fromtimestamp(end, UTC)
            for which, end in own
            if end < (now + CERTIFICATE_SOON).timestamp()
        }
        for subject, end in ending.items():
            unit_id = subject.removeprefix("unit/") if subject.startswith("unit/") else ""
            severity = Severity.SEVERE if end < now + CERTIFICATE_NOW else Severity.WARNING
            self._events.begin(
                kinds.CERTIFICATE_EXPIRING,
                subject,
                Facts(severity=severity, unit_id=unit_id, detail={"end": end.isoformat()}),
            )
        for event in self._events.all_lasting(kinds.CERTIFICATE_EXPIRING):
            if event.subject not in ending:
                self._events.end(kinds.CERTIFICATE_EXPIRING, event.subject)

    def _look_at_disk(self, house: HouseFigures) -> None:
        free = house.free_bytes / max(house.size_bytes, 1)
        lasting = self._events.lasting(kinds.DISK_LOW, "disk")
        if free < LOW:
            severity = Severity.SEVERE if free < VERY_LOW else Severity.WARNING
            if lasting is None or lasting.severity is not severity:
                detail = {"free_bytes": house.free_bytes, "size_bytes": house.size_bytes}
                self._events.begin(kinds.DISK_LOW, "disk", Facts(severity=severity, detail=detail))
        elif free > LOW * 1.2:  # not to and fro
            self._events.end(kinds.DISK_LOW, "disk")

    def _look_at_backup(self, newest: float) -> None:
        """Of a hub that never had one: since it was started."""
        last = datetime.fromtimestamp(newest, UTC) if newest else self._began
        if self._clock() - last > BACKUP_OVERDUE:
            self._events.begin(
                kinds.BACKUP_OVERDUE, "hub/own", Facts(detail={"newest": last.isoformat() if newest else ""})
            )
        else:
            self._events.end(kinds.BACKUP_OVERDUE, "hub/own")

    def _stalled(self, seconds: float) -> None:
        log.error("the control plane stood still; media went on", seconds=round(seconds, 1))
        severity = Severity.SEVERE if seconds > 3 else Severity.WARNING
        detail = {"seconds": round(seconds, 1)}
        self._events.happened(kinds.HUB_STALLED, "hub/own", Facts(severity=severity, detail=detail))

    def _jumped(self, seconds: float) -> None:
        log.error("the clock was set", seconds=round(seconds, 1))
        self._events.happened(kinds.CLOCK_JUMPED, "hub/own", Facts(detail={"seconds": round(seconds, 1)}))
        for listener in self._on_clock_set:
            listener()

    def _camera(self, camera_id: str) -> Camera | None:
        try:
            return self._core.get_camera(self._system, camera_id)
        except NotFound:
            return None

    def _is_far(self, camera: Camera) -> bool:
        return camera.home_hub_id not in ("", self._system.hub_id)


def _of(camera: Camera) -> Facts:
    return Facts(camera_ids=(camera.id,), unit_id=camera.unit_id, region_code=camera.region_code)

"""The media core in Rust. Calls return at once: they give a command or read a figure; what happens later comes by events.

Errors are the classes of `vidhub.errors`. Times are seconds since 1970-01-01 UTC as float.
"""

from collections.abc import Sequence
from typing import Literal, final

__all__ = [
    "CameraBasic",
    "CameraCounts",
    "CameraPage",
    "CameraPoints",
    "CameraSim",
    "Core",
    "Decision",
    "Event",
    "FrameReader",
    "FrameUnit",
    "JsonWriter",
    "PlainRecord",
    "Principal",
    "RecordBatch",
    "record_rows",
    "validate_policies",
]

# (profile 1 main | 2 sub, url, username, password, transport 0 | 1 tcp | 2 udp)
_StreamRow = tuple[int, str, str, str, int]
# (id, name, unit_id, region_code, industry, place_category, latitude, longitude, quarantined, revision, streams, home_hub_id)
_CameraRow = tuple[str, str, str, str, str, int, float, float, bool, int, Sequence[_StreamRow], str]
# (region_prefix, unit_ids, industries, place_categories, states, text, (latitude, longitude, radius_m))
_FilterRow = tuple[
    str, Sequence[str], Sequence[str], Sequence[int], Sequence[int], str, tuple[float, float, float] | None
]
# (key, least camera id, [(state, cameras)] without the stale ones, stale)
_CountRow = tuple[str, str, list[tuple[int, int]], int]
# (id, subject_kind "user" | "department" | "hub", subject, camera_ids, unit_ids, region_prefixes, industries, actions, purposes, not_before, not_after)
_GrantRow = tuple[
    str,
    str,
    str,
    Sequence[str],
    Sequence[str],
    Sequence[str],
    Sequence[str],
    Sequence[str],
    Sequence[str],
    float,
    float,
]

@final
class Principal:
    """Whoever asks, as policy sees them. kind: "user", "unit", "hub" or "system"."""

    def __new__(
        cls,
        kind: str,
        id: str,
        *,
        hub_id: str = ...,
        unit_id: str = ...,
        department: str = ...,
        roles: Sequence[str] = ...,
    ) -> Principal: ...

@final
class CameraBasic:
    """A camera as lists answer it, from the registry alone."""

    id: str
    name: str
    unit_id: str
    region_code: str
    industry: str
    place_category: int
    latitude: float
    longitude: float
    state: int
    state_time: float
    state_reason: str
    revision: int
    home_hub_id: str
    profiles: list[int]

@final
class CameraPage:
    """Cameras in order of id, as the registry held them when they were asked for."""

    @property
    def cameras(self) -> list[CameraBasic]:
        """Made anew each time."""
    @property
    def next_after(self) -> str | None:
        """The id to go on from, or None."""
    @property
    def total(self) -> int:
        """All that match and the caller may know of."""
    @property
    def epoch(self) -> str: ...
    @property
    def revision(self) -> int: ...
    @property
    def unit_ids(self) -> list[str]:
        """Units of the page's cameras, each once; likewise the codes of their regions."""
    @property
    def region_codes(self) -> list[str]: ...
    @property
    def foreign(self) -> list[tuple[str, str]]:
        """(id, unit id) of the cameras of other hubs."""
    def message(self, units: dict[str, str], regions: dict[str, str], foreign: dict[str, tuple[bool, str]], /) -> bytes:
        """The cameras as a message `vidhub.v1.ListCamerasResponse` with nothing else in it, and of each what the registry
        holds. units, regions: names by id and code, where there are any. foreign: by id of a camera of another hub whether
        it is stale, and what its hub calls its unit, or ""."""

@final
class CameraCounts:
    """groups: in order of key, 10,000 at most; left_out: groups beyond them; total: of all of them."""

    groups: list[_CountRow]
    left_out: int
    total: _CountRow
    epoch: str
    revision: int

@final
class CameraPoints:
    """A page of cameras in columns of one length; positions in millionths of a degree, WGS-84."""

    ids: list[str]
    latitudes_e6: list[int]
    longitudes_e6: list[int]
    states: list[int]
    next_after: str | None
    total: int
    epoch: str
    revision: int

@final
class Decision:
    """What policy says and why. reason: "" or NO_GRANT, PURPOSE_NOT_GRANTED, ROLE_SEES_NO_VIDEO, CAMERA_QUARANTINED, POLICY_FORBIDS.

    rules: ids of the Cedar policies that decided. grant_id: the grant that carried it. valid_until: when that ends.
    """

    allowed: bool
    reason: str
    rules: list[str]
    grant_id: str
    valid_until: float

@final
class Event:
    """Something that happened in the core.

    kind: "session_ended" (subject session id, reason), "session_connected" / "session_disconnected" (subject session id,
    detail protocol), "media_refused" (subject camera id, reason, detail JSON: protocol, address, session id of the ticket
    shown or ""), "camera_state" (subject camera id, number of the state log, state, reason), "stream_media" (subject
    camera id, detail JSON: profile, codec, width, height, frame_rate).

    Of cameras of other hubs: "stream_wanted" (subject camera id, detail JSON: profile 1 | 2 and the message of what went
    wrong the last time, reason that or "") when somebody watches and nothing brings media, again and again with growing
    pauses for as long as that is so; "stream_released" (the same shape) when nobody has watched for the linger time, or the
    camera has gone. Of the two the newest counts, per camera and profile. "relay_live" (subject relay id) when the other hub
    takes the media; "relay_ended" (subject relay id, reason, detail message) once for every relay that was started.
    """

    kind: str
    subject: str
    reason: str
    detail: str
    number: int
    state: int
    time: float

@final
class FrameUnit:
    """One encoded access unit: a picture, or a piece of sound. `memoryview(unit)` and whatever else takes a buffer read
    its octets where they are, without a copy; video is Annex B with four-byte start codes, sound the bare frame.

    track: its place among the stream's tracks. kind: "video" or "audio". codec: "h264", "h265", "aac", "pcma", "pcmu" or
    "opus". pts, dts: presentation and decoding time in ticks of `clock_rate_hz` (90,000 for video) on the stream's own
    timeline, which starts near zero, never jumps back and outlives reconnects. keyframe: decoding may start here (always
    true of sound). generation: changes with the parameters of any track. parameters: parameter sets in Annex B (they stand
    in front of each keyframe as well), AAC's AudioSpecificConfig, or nothing. width, height: in pixels; 0 of sound.
    dropped_before: units of those asked for that were dropped right before this one, as they were not taken in time.
    """

    @property
    def track(self) -> int: ...
    @property
    def kind(self) -> Literal["video", "audio"]: ...
    @property
    def codec(self) -> str: ...
    @property
    def clock_rate_hz(self) -> int: ...
    @property
    def pts(self) -> int: ...
    @property
    def dts(self) -> int: ...
    @property
    def keyframe(self) -> bool: ...
    @property
    def generation(self) -> int: ...
    @property
    def parameters(self) -> bytes: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def dropped_before(self) -> int: ...
    def __len__(self) -> int:
        """Octets."""
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class FrameReader:
    """A session's frames, in a queue of at most 4,096 units and `stream.gop_cache_bytes`; where it is full the oldest
    groups of pictures go, whole."""

    def fd(self) -> int:
        """An eventfd, readable while units wait and from the end on. Valid for as long as the reader lives."""
    def take(self, limit: int, /) -> list[FrameUnit]:
        """Up to `limit` units, oldest first; empty when there is nothing yet. When no more will come it raises why: the
        session's end (FailedPrecondition GRANT_REVOKED, …), or what is wrong with the camera (Unavailable CAMERA_…)."""
    def close(self) -> None:
        """Gives the place and the interest in the camera back. Idempotent; dropping the reader does the same."""

@final
class Core:
    """The hub's core: built with options (JSON, see `rust/src/hub.rs`), usable for registry and policy at once,
    serving media after `start`."""

    def __new__(cls, options_json: str) -> Core: ...
    def start(self) -> dict[str, str | None]:
        """Binds http, rtsp, rtsp_udp, rtsps and webrtc; returns the bound address of each, None for what is off.
        Raises Unavailable LISTENER_IN_USE naming the address and its option."""
    def set_ready(self, ready: bool, /) -> None: ...
    def drain(self, timeout_s: float, /) -> None:
        """Stops accepting, ends every sink with HUB_DRAINING and waits for their end, at most `timeout_s`."""
    def stop(self) -> None:
        """Ends all threads; called once, before the interpreter ends. Idempotent."""
    def event_fd(self) -> int:
        """An eventfd, readable while events wait."""
    def next_events(self, limit: int, /) -> list[Event]:
        """Up to `limit` events; clears the eventfd when none is left. Bounded: state changes coalesce per camera."""
    def snapshot(self) -> dict[str, object]:
        """Every counter, for the scraper: see `telemetry.py`."""

    # The registry.
    def load(
        self, epoch: str, revision: int, cameras: Sequence[_CameraRow], changes: Sequence[tuple[int, str, str]], /
    ) -> None:
        """Replaces the whole registry; `changes` (revision, "upserted" | "removed", camera id) refill the change log."""
    def apply_cameras(self, revision: int, upserts: Sequence[_CameraRow], removed: Sequence[str], /) -> None:
        """Applies one committed change; revisions never go back. A removed camera's sessions end with CAMERA_RETIRED, a
        quarantined one's with CAMERA_QUARANTINED; those no longer permitted with POLICY_CHANGED."""
    def apply_records(
        self,
        revision: int,
        records: Sequence[PlainRecord],
        ids: Sequence[str],
        unit_id: str,
        upserts: Sequence[_CameraRow],
        /,
    ) -> None:
        """As `apply_cameras`, in one change: new cameras of `unit_id` out of records, under these ids, and rows.

        Raises InvalidArgument RECORDS_WITHOUT_IDS when there are more of one than of the other."""
    def list_cameras(
        self,
        principal: Principal,
        /,
        *,
        region_prefix: str = ...,
        unit_ids: Sequence[str] = ...,
        industries: Sequence[str] = ...,
        place_categories: Sequence[int] = ...,
        states: Sequence[int] = ...,
        text: str = ...,
        within: tuple[float, float, float] | None = None,
        limit: int = 100,
        after: str = "",
    ) -> CameraPage: ...
    def count_cameras(
        self,
        principal: Principal,
        wanted: _FilterRow,
        grouping: Literal["none", "region", "unit", "industry"],
        region_digits: int,
        stale: Sequence[str],
        /,
    ) -> CameraCounts:
        """By region: by the first `region_digits` of its code. `stale`: ids of cameras whose link is down."""
    def list_points(self, principal: Principal, wanted: _FilterRow, limit: int, after: str, /) -> CameraPoints:
        """A page as `list_cameras` gives it, in columns; cameras that are alike to policy are judged once a page."""
    def get_camera(self, principal: Principal, camera_id: str, /) -> CameraBasic:
        """Raises NotFound CAMERA_NOT_FOUND when it is unknown or hidden from the principal."""
    def is_foreign(self, camera_id: str, /) -> bool:
        """Whether another hub registered the camera. Raises NotFound CAMERA_NOT_FOUND."""
    def changes_since(self, epoch: str, revision: int, limit: int, /) -> list[tuple[int, str, str]]:
        """(revision, kind, camera id) after `revision`; raises OutOfRange REVISION_TOO_OLD past the log's end or of another epoch."""
    def states_since(self, number: int, limit: int, /) -> tuple[list[tuple[int, str, int, str]], bool]:
        """((number, camera id, state, reason) …, complete) of the volatile state log; complete is False past its end."""
    def probe_now(self, camera_id: str, /) -> None: ...
    def examine_camera(self, camera_id: str, profile: int, /) -> list[tuple[str, str, str]]:
        """(hop, reason or "", message) on the way to the camera's picture, up to the first that fails: url, name, policy, tcp,
        tls, rtsp, login, describe, setup, packet, keyframe, codec. It dials once and takes up to 50 s: for a thread, as
        `drain`. Raises NotFound CAMERA_NOT_FOUND, CAMERA_PROFILE_MISSING; FailedPrecondition CAMERA_FOREIGN, CAMERA_PUSHED,
        where there is nothing to dial; ResourceExhausted LIMIT_EXAMINATIONS."""
    def apply_states(self, states: Sequence[tuple[str, int, float, str]], /) -> int:
        """(camera id, state, time, reason) of cameras of other hubs, as those tell; how many were news. Cameras of our own
        and unknown ones are passed over; a time that is none, or in the future, becomes now. Raises InvalidArgument
        STATE_UNKNOWN, with nothing applied, for what is neither UNKNOWN, ONLINE, OFFLINE, REFUSED nor INVALID."""
    def counts(self) -> dict[str, int]:
        """cameras, streams, sessions, sinks."""
    def camera_counts(self) -> list[tuple[int, str, str, int]]:
        """(state, region code, industry, cameras), for the metric `vidhub_cameras`."""

    # Policy.
    def load_grants(self, grants: Sequence[_GrantRow], /) -> None: ...
    def apply_grant(self, grant: _GrantRow, /) -> None: ...
    def remove_grant(self, grant_id: str, reason: str, /) -> None:
        """Ends every session that it carried, with this reason."""
    def authorise(self, principal: Principal, action: str, camera_id: str, purpose: str, /) -> Decision:
        """Raises NotFound CAMERA_NOT_FOUND when the camera is unknown; a hidden one is decided as NO_GRANT."""
    def may_grant(self, principal: Principal, subject_user: str, subject_department: str, /) -> Decision:
        """May the principal give a grant to this person or department (the other is "")? reason also GRANT_TO_ONESELF,
        ROLE_MAY_NOT_GRANT."""

    # Sessions and tickets.
    def open_session(
        self,
        session_id: str,
        principal: Principal,
        camera_id: str,
        *,
        profile: int,
        purpose: str,
        grant_id: str,
        expire_time: float,
        rtsp_user: str,
        rtsp_password: str,
        connections: int = 1,
    ) -> None: ...
    def renew_session(self, session_id: str, expire_time: float, /) -> None:
        """Raises NotFound SESSION_UNKNOWN."""
    def issue_ticket(self, session_id: str, ttl_s: float, /) -> tuple[str, float]:
        """(JWT, its expiry): EdDSA, claims sid, cam, aud, op, exp."""
    def end_session(self, session_id: str, reason: str, /) -> bool: ...
    def end_sessions_of(self, principal_kind: str, principal_id: str, reason: str, /) -> int: ...
    def cut_cameras(self, camera_ids: Sequence[str], reason: str, /) -> None:
        """Ends every session and stream of these cameras; unknown ones are passed over."""

    # Media between hubs.
    def supply_stream(self, camera_id: str, profile: int, *, peer: str, url: str, ticket: str, ca_pem: str) -> None:
        """Gives a wanted stream of another hub's camera a place to pull from: one connection to `url` (rtsps://), whose
        certificate must come from `ca_pem` and name the host; `ticket` is shown at DESCRIBE. When it ends, by itself or by
        `withdraw_stream`, the stream is wanted again. Raises FailedPrecondition STREAM_NOT_WANTED when nobody watches,
        CAMERA_NOT_FOREIGN; NotFound CAMERA_NOT_FOUND; InvalidArgument LINK_URL_INVALID, LINK_CA_INVALID,
        LINK_TICKET_INVALID."""
    def withdraw_stream(self, camera_id: str, profile: int, reason: str, /) -> bool:
        """Takes it back; whoever waits is told the reason. False when nothing was supplied."""
    def refuse_stream(self, camera_id: str, profile: int, reason: str, message: str, /) -> bool:
        """Tells those who wait for the stream why nothing will come (503 with this reason). A later supply makes it good
        again. False when nobody wants the stream, or something brings it."""
    def start_relay(
        self, relay_id: str, camera_id: str, profile: int, *, peer: str, url: str, ticket: str, ca_pem: str
    ) -> None:
        """Pushes a stream to another hub, from the cached keyframe on: ANNOUNCE … RECORD at `url` (rtsps://) with `ticket`.
        It runs for as long as a session on this camera is open whose principal is of hub `peer`; a second relay of the same
        stream to the same peer replaces the first (RELAY_REPLACED). Whatever comes later comes by events. Raises NotFound
        CAMERA_NOT_FOUND, CAMERA_PROFILE_MISSING; FailedPrecondition RELAY_NOT_WANTED when no such session is open;
        AlreadyExists RELAY_EXISTS; ResourceExhausted LIMIT_RELAYS, LIMIT_STREAMS; InvalidArgument LINK_URL_INVALID,
        LINK_CA_INVALID, LINK_TICKET_INVALID."""
    def stop_relay(self, relay_id: str, reason: str, /) -> bool:
        """False when there is no such relay; else `relay_ended` follows with this reason."""

    # Frames.
    def open_frames(
        self, session_id: str, wanted: Literal["everything", "keyframes", "one_keyframe"], /
    ) -> FrameReader:
        """Reads an open session's frames, of which "keyframes" are only the newest each time; the camera is pulled if need
        be. A second reader replaces the session's first, but for "one_keyframe". Raises Unauthenticated SESSION_UNKNOWN,
        ResourceExhausted LIMIT_FRAMES, LIMIT_CONNECTIONS, LIMIT_STREAMS."""

@final
class CameraSim:
    """An RTSP server that plays Annex B H.264 files in a loop: a camera for demos."""

    def __new__(
        cls, listen: str, cameras: Sequence[tuple[str, str, float]], username: str = "", password: str = "", /
    ) -> CameraSim:
        """cameras: (name, path of the clip, frames per second), served at rtsp://listen/name. Digest login when a username is given."""
    def address(self) -> str: ...
    def stop(self) -> None: ...

@final
class PlainRecord:
    """A camera's record, out of a message `vidhub.v1.Camera`, that beyond doubt keeps every rule of a record itself.

    Whether its region and industry exist, and its id is free, is for others to say."""

    @property
    def id(self) -> str:
        """Empty: the hub is to give one."""
    @property
    def name(self) -> str: ...
    @property
    def region_code(self) -> str: ...
    @property
    def industry(self) -> str: ...
    @property
    def place_category(self) -> int: ...
    @property
    def location(self) -> tuple[float, float, str]:
        """(latitude, longitude, address), degrees of WGS-84."""
    @property
    def streams(self) -> list[_StreamRow]: ...
    @property
    def legal(self) -> tuple[str, str, str, int, str, str]:
        """(place_basis, purpose, scope, retention_days, signage_text, signage_date)"""
    @property
    def device_json(self) -> str:
        """The fields of `vidhub.v1.DeviceRecord` that are set, as a JSON object."""
    @property
    def brief(self) -> tuple[str, str, str, float, float, bool]:
        """What is looked at in each: (id, region_code, industry, latitude, longitude, whether it has a sign)."""

@final
class RecordBatch:
    """The cameras of a message `vidhub.v1.RegisterCamerasRequest`, where they lie."""

    @staticmethod
    def of(message: bytes, /) -> RecordBatch | None:
        """None when it holds anything else than cameras and `dry_run`, or is broken."""
    def __len__(self) -> int: ...
    @property
    def dry_run(self) -> bool: ...
    def read(self, start: int, end: int, unit_id: str, /) -> list[PlainRecord | bytes]:
        """The cameras from `start` to before `end`: a record, or the octets of one that wants a closer look."""

def record_rows(
    records: Sequence[PlainRecord], ids: Sequence[str], head: bytes, key: bytes, /
) -> tuple[list[str | int | float], list[str | int | bytes]]:
    """(values of cameras, values of streams), flat, for new rows under these ids.

    Of a camera: id, name, region_code, industry, place_category, latitude, longitude, address, place_basis, purpose,
    scope, retention_days, signage_text, signage_date, device. Of a stream: camera_id, profile, url, username, password,
    transport; the password sealed as in `store/secrets.py`, by a key of 32 octets, with `head` (5) in front.
    Raises InvalidArgument RECORDS_WITHOUT_IDS, Internal SECRET_KEY_INVALID.
    """

@final
class JsonWriter:
    """Messages of Protocol Buffers as JSON, by the mapping of proto3: names in lowerCamelCase, nothing that is unset."""

    def __new__(cls, files: bytes, /) -> JsonWriter:
        """files: a serialised `google.protobuf.FileDescriptorSet`, whole. Raises Internal DESCRIPTORS_INVALID."""
    def write(self, name: str, message: bytes, /) -> bytes:
        """name: in full, as in "vidhub.v1.Camera". Raises Internal MESSAGE_UNKNOWN, MESSAGE_INVALID."""

def validate_policies() -> list[str]:
    """Strict validation of the built-in Cedar policies against the schema; returns the problems found."""

"""A camera's record as a value: what a new one takes over from the old, what a mask changes, what a caller may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from vidhub.errors import InvalidArgument, Violation
from vidhub.model import (
    Camera,
    CameraState,
    CameraStream,
    LegalRecord,
    Location,
    Principal,
    PrincipalKind,
    Role,
)

_WHOLE = ("name", "region_code", "industry", "place_category", "location", "streams", "legal", "device")
_NESTED = {
    "location": tuple(one.name for one in fields(Location)),
    "legal": tuple(one.name for one in fields(LegalRecord)),
}
_OF_STREAM = ("url", "username", "password", "transport")
_READ_ONLY = (
    *("id", "unit_id", "state", "state_time", "state_reason", "revision"),
    *("create_time", "update_time", "home_hub_id", "stale"),
)
# Who checks that the law is kept, beside those who see addresses.
_OVERSEES = frozenset({Role.SUPERVISOR, Role.AUDITOR})
# Fields of `vidhub.v1.DeviceRecord`.
DEVICE_FIELDS = (
    *("manufacturer", "model", "mac", "ip_address", "ptz_type", "direction_type", "room_type", "supply_light_type"),
    *("point_type", "point_common_name", "capture_position_type", "horizontal_field_angle", "max_view_distance_m"),
    *("install_time", "management_unit", "contact_info", "record_save_days", "industrial_classification", "height_m"),
    "pole_number",
)


def succeed(old: Camera | None, new: Camera) -> Camera:
    """The record `new` as it replaces `old`.

    Kept are what the hub saw of a stream, the password of a stream whose address and username stay the same when the
    new one names none (it is write only, so who reads and writes back does not have it), and a quarantine.
    """
    known = {stream.profile: stream for stream in old.streams} if old is not None else {}
    is_cut_off = old is not None and old.state is CameraState.QUARANTINED
    return replace(
        new,
        streams=tuple(_heir(known.get(stream.profile), stream) for stream in new.streams),
        device=_set(new),
        state=CameraState.QUARANTINED if is_cut_off else CameraState.UNKNOWN,
        state_time=old.state_time if old is not None and is_cut_off else None,
        state_reason=old.state_reason if old is not None and is_cut_off else "",
        home_hub_id="",
        stale=False,
    )


def same(old: Camera, new: Camera) -> bool:
    """Whether `new`, out of `succeed`, says nothing that `old` does not: it makes no revision."""
    return _bare(old) == _bare(new)


def differences(old: Camera, new: Camera) -> tuple[str, ...]:
    """Dotted paths of what `new` says otherwise than `old`, as in "location.latitude" or "main.url"."""
    found = [name for name in ("name", "region_code", "industry", "place_category") if _differ(old, new, name)]
    for name, parts in _NESTED.items():
        found += [f"{name}.{part}" for part in parts if _differ(getattr(old, name), getattr(new, name), part)]
    before, after = ({stream.profile: stream for stream in camera.streams} for camera in (old, new))
    for profile in sorted(before.keys() | after.keys()):
        one, other = before.get(profile), after.get(profile)
        if one is None or other is None:
            found.append(profile.name.lower())
        else:
            found += [f"{profile.name.lower()}.{part}" for part in _OF_STREAM if _differ(one, other, part)]
    devices = dict(old.device), dict(new.device)
    found += [f"device.{name}" for name in DEVICE_FIELDS if devices[0].get(name) != devices[1].get(name)]
    return tuple(found)


def _differ(one: object, other: object, name: str) -> bool:
    return bool(getattr(one, name) != getattr(other, name))


def masked(old: Camera, new: Camera, mask: Sequence[str]) -> Camera:
    """`old` with the fields of `mask` from `new`; an empty mask takes every field that `new` sets.

    Raises InvalidArgument MASK_UNKNOWN_FIELD, MASK_FIELD_READ_ONLY.
    """
    paths = [path.strip() for path in mask] or [name for name in _WHOLE if getattr(new, name) != _EMPTY[name]]
    if "*" in paths:
        paths = list(_WHOLE)
    _check(paths)
    changed = old
    for path in paths:
        name, _, inner = path.partition(".")
        if not inner:
            changed = replace(changed, **{name: getattr(new, name)})  # checked above
        elif name == "device":
            device = dict(changed.device)
            device.pop(inner, None)
            device.update({key: value for key, value in new.device if key == inner})
            changed = replace(changed, device=tuple(device.items()))
        else:
            part = replace(getattr(changed, name), **{inner: getattr(getattr(new, name), inner)})
            changed = replace(changed, **{name: part})  # checked above
    return changed


def sees_addresses(principal: Principal, camera: Camera) -> bool:
    """Stream and device addresses are for the own unit and administrators."""
    if principal.kind is PrincipalKind.SYSTEM or Role.ADMINISTRATOR in principal.roles:
        return True
    is_of_unit = principal.kind is PrincipalKind.UNIT or Role.UNIT in principal.roles
    return is_of_unit and bool(principal.unit_id) and principal.unit_id == camera.unit_id


def shown(principal: Principal, camera: Camera) -> Camera:
    """The record as `principal` may see it: never a password, addresses and secret units for few."""
    if sees_addresses(principal, camera):
        return replace(camera, streams=tuple(replace(stream, password="") for stream in camera.streams))
    hidden = ("ip_address", "mac")
    legal = camera.legal
    if not principal.roles & _OVERSEES:
        legal = replace(legal, near_secret_unit=False, consent="")
    return replace(
        camera,
        legal=legal,
        streams=tuple(replace(stream, url="", username="", password="") for stream in camera.streams),
        device=tuple((key, value) for key, value in camera.device if key not in hidden),
    )


_EMPTY: dict[str, object] = {
    "name": "",
    "region_code": "",
    "industry": "",
    "place_category": 0,
    "location": Location(0.0, 0.0),
    "streams": (),
    "legal": LegalRecord(),
    "device": (),
}


def _check(paths: Sequence[str]) -> None:
    wrong = []
    for path in paths:
        name, dot, inner = path.partition(".")
        known = _NESTED.get(name, DEVICE_FIELDS if name == "device" else ())
        if name in _WHOLE and (not dot or inner in known):
            continue
        if name in _READ_ONLY:
            wrong.append(
                Violation(path, "MASK_FIELD_READ_ONLY", f"{path} is the hub's to set: leave it out of the mask")
            )
        else:
            wrong.append(Violation(path[:100], "MASK_UNKNOWN_FIELD", f"a camera has no field {path[:100]!r} to update"))
    if wrong:
        raise InvalidArgument(wrong[0].reason, "; ".join(one.description for one in wrong), violations=wrong)


def _heir(old: CameraStream | None, new: CameraStream) -> CameraStream:
    if old is None or old.url != new.url:
        return _unseen(new)
    keeps = not new.password and new.username == old.username
    return replace(
        new,
        password=old.password if keeps else new.password,
        codec=old.codec,
        width=old.width,
        height=old.height,
        frame_rate=old.frame_rate,
    )


def _unseen(stream: CameraStream) -> CameraStream:
    if not (stream.codec or stream.width or stream.height or stream.frame_rate):
        return stream
    return replace(stream, codec="", width=0, height=0, frame_rate=0.0)


def _set(camera: Camera) -> tuple[tuple[str, str | int | float], ...]:
    return tuple(sorted((key, value) for key, value in camera.device if value))


def _bare(camera: Camera) -> Camera:
    return replace(
        camera,
        streams=tuple(sorted(camera.streams, key=lambda stream: stream.profile)),
        device=_set(camera),
        state_time=None,
        state_reason="",
        revision=None,
        create_time=None,
        update_time=None,
    )

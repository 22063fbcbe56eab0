"""One camera, hop by hop: its record, the way to it, and its first picture."""

from __future__ import annotations

from vidhub.core import Core
from vidhub.errors import FailedPrecondition, NotFound
from vidhub.link.probe import Hop
from vidhub.model import Camera, CameraState, Principal, Profile

_PROFILES = ((Profile.MAIN, "main"), (Profile.SUB, "sub"))
# Where the core's sentence says what is wrong, and not yet what to do.
_REMEDIES = {
    "CAMERA_ADDRESS_DENIED": "correct the camera's URL; if cameras are there, add the network to source.allow",
    "CAMERA_CERTIFICATE_REFUSED": "if the camera or its certificate was replaced, its unit registers it again",
    "CAMERA_INVALID": "see the camera's manual for its RTSP address, and register that",
    "CAMERA_REFUSED_LOGIN": "register the login that the camera takes; too many wrong ones lock it for a while",
    "CAMERA_SILENT": "restart the camera; see whether it has too many viewers, or a firewall stands in between",
    "CAMERA_UNREACHABLE": "see that the camera has power and network, and that firewalls let the hub through",
    "CAMERA_NO_PICTURE": "set the camera's video to H.264 or H.265",
    "CAMERA_NO_KEYFRAME": "set the camera's keyframe interval (GOP) to two seconds",
}
_B_FRAMES = "switch B-frames off in the camera: browsers show it over WebSocket only, not over WebRTC"
_LARGE = "lower its bitrate or its resolution: browsers show keyframes so large over WebSocket only, not over WebRTC"
_H265 = "browsers without H.265 get the sub stream: set that to H.264"


async def checks(core: Core, caller: Principal, camera_id: str) -> list[Hop]:
    """Of each of its streams up to the first hop that fails. Raises NotFound CAMERA_NOT_FOUND."""
    camera = core.get_camera(caller, camera_id)
    found = [_record(camera)]
    if camera.home_hub_id:
        return [*found, _of_other_hub(camera)]
    for profile, word in _PROFILES:
        try:
            hops = await core.examine_camera(camera_id, profile)
        except FailedPrecondition as pushed:
            if pushed.reason != "CAMERA_PUSHED":
                raise
            found.append(_pushed(camera, f"camera.{word}.push"))
        except NotFound as missing:
            if missing.reason != "CAMERA_PROFILE_MISSING":
                raise
        else:
            found += [_hop(f"camera.{word}.{name}", reason, message) for name, reason, message in hops]
    return found


def _record(camera: Camera) -> Hop:
    told = f"{camera.name}, of unit {camera.unit_id}, region {camera.region_code}; {camera.state.name}"
    if camera.state is CameraState.QUARANTINED:
        return Hop(
            "camera.record",
            "CAMERA_QUARANTINED",
            f"{told}: nobody may watch it",
            "its unit completes the record and registers it again; `vidhub camera show` says what stands in it",
        )
    return Hop("camera.record", "", f"{told}{f' ({camera.state_reason})' if camera.state_reason else ''}")


def _of_other_hub(camera: Camera) -> Hop:
    name, told = "camera.home", f"of hub {camera.home_hub_id}, which says {camera.state.name}"
    remedy = f"`vidhub doctor --camera {camera.id}` at that hub; `vidhub hub explain {camera.id}` here"
    if camera.state is CameraState.ONLINE:
        return Hop(name, "", told)
    return Hop(name, "CAMERA_UNREACHABLE", told, remedy)


def _pushed(camera: Camera, name: str) -> Hop:
    if camera.state is CameraState.ONLINE:
        return Hop(name, "", "its unit pushes it, and pictures come")
    return Hop(
        name,
        "CAMERA_SILENT",
        "its unit is to push it, and nothing comes",
        "see that the unit's encoder runs, and pushes to the address that OpenSession (purpose publish) gave it",
    )


def _hop(name: str, reason: str, message: str) -> Hop:
    if reason:
        return Hop(name, reason, message, _REMEDIES.get(reason, "see the log of the hub"))
    if name.endswith(".codec"):
        remedies = (("B-frames", _B_FRAMES), ("packets", _LARGE), ("h265", _H265))
        return Hop(name, "", message, next((remedy for word, remedy in remedies if word in message), ""))
    return Hop(name, "", message)

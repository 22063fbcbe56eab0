#!/usr/bin/python3
"""A camera that is not ours: gst-rtsp-server with H.264, sound, and a Digest login if asked for.

Runs under the system's Python, which has the GStreamer bindings. The first line on stdout is
{"port": …, "url": …}; each connection that comes or goes adds {"connections": all so far, "open": those now}.
"""

import argparse
import json
import signal
import sys
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

SOUND = {
    "none": "",
    "pcma": "audioconvert ! audioresample ! audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay name=pay1 pt=8",
    "pcmu": "audioconvert ! audioresample ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 pt=0",
    "aac": "audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=2 ! avenc_aac ! aacparse"
    " ! rtpmp4gpay name=pay1 pt=97",
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", help="H.264 in Annex B, played in a loop; without: a test picture")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default="0", help="0: a free one")
    parser.add_argument("--path", default="/live")
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--audio", choices=SOUND, default="none")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--key-interval", type=int, default=25, help="pictures from keyframe to keyframe")
    parser.add_argument("--b-frames", type=int, default=0)
    parser.add_argument("--bitrate", type=int, default=1000, help="kbit/s")
    parser.add_argument("--config-interval", type=int, default=-1, help="as rtph264pay has it; 0: never in band")
    return parser.parse_args()


def launch(args: argparse.Namespace) -> str:
    """The factory's pipeline."""
    pay = f"rtph264pay name=pay0 pt=96 config-interval={args.config_interval}"
    if args.clip:
        caps = f"video/x-h264,stream-format=byte-stream,alignment=au,framerate={args.fps}/1"
        video = f"appsrc name=clip is-live=true format=time block=true caps={caps} ! h264parse ! {pay}"
    else:
        tune = "tune=zerolatency" if not args.b_frames else f"bframes={args.b_frames} b-adapt=false rc-lookahead=5"
        profile = "main" if args.b_frames else "constrained-baseline"
        video = (
            f"videotestsrc is-live=true pattern=ball"
            f" ! video/x-raw,format=I420,width={args.width},height={args.height},framerate={args.fps}/1"
            f" ! x264enc {tune} speed-preset=ultrafast key-int-max={args.key_interval}"
            f" bitrate={args.bitrate} ! video/x-h264,profile={profile} ! {pay}"
        )
    sound = SOUND[args.audio]
    return f"( {video} {'audiotestsrc is-live=true wave=ticks ! ' + sound if sound else ''} )"


def pictures(path: str) -> list[bytes]:
    """The access units of an Annex B file: cut before what follows a slice and begins a picture."""
    data = Path(path).read_bytes()
    found: list[bytes] = []
    begin, has_slice, at = 0, False, data.find(b"\0\0\1")
    while at >= 0:
        start = at - 1 if at and data[at - 1] == 0 else at
        kind = data[at + 3] & 0x1F
        first_slice = kind in (1, 5) and data[at + 4] & 0x80
        if has_slice and (kind in (6, 7, 8, 9) or first_slice):
            found.append(data[begin:start])
            begin, has_slice = start, False
        has_slice = has_slice or kind in (1, 5)
        at = data.find(b"\0\0\1", at + 3)
    found.append(data[begin:])
    return found


def feed(media: GstRtspServer.RTSPMedia, clip: list[bytes], fps: int) -> None:
    """Play `clip` over and over through the media's appsrc; its clock paces what is read."""
    source = media.get_element().get_by_name("clip")
    number = 0

    def push(source: Gst.Element, _size: int) -> None:
        nonlocal number
        buffer = Gst.Buffer.new_wrapped(clip[number % len(clip)])
        buffer.pts = buffer.dts = number * Gst.SECOND // fps
        buffer.duration = Gst.SECOND // fps
        number += 1
        source.emit("push-buffer", buffer)

    source.connect("need-data", push)


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def main() -> int:
    args = options()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(args.host)
    server.set_service(args.port)

    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch(args))
    factory.set_shared(True)
    if args.clip:
        clip = pictures(args.clip)
        factory.connect("media-configure", lambda _factory, media: feed(media, clip, args.fps))
    if args.user:
        auth = GstRtspServer.RTSPAuth()
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.set_realm("IP Camera")
        token = GstRtspServer.RTSPToken()
        # Through `writable_structure()` it would change a copy, and every client would get 401.
        token.set_string("media.factory.role", "user")
        auth.add_digest(args.user, args.password, token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("user", "media.factory.access", True)
        permissions.add_permission_for_role("user", "media.factory.construct", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory(args.path, factory)

    count = {"connections": 0, "open": 0}

    def left(_client: GstRtspServer.RTSPClient) -> None:
        count["open"] -= 1
        say(**count)

    def came(_server: GstRtspServer.RTSPServer, client: GstRtspServer.RTSPClient) -> None:
        count["connections"] += 1
        count["open"] += 1
        client.connect("closed", left)
        say(**count)

    server.connect("client-connected", came)
    if server.attach(None) == 0:
        print(f"port {args.port} is not free", file=sys.stderr)
        return 1
    port = server.get_bound_port()
    say(port=port, url=f"rtsp://{args.host}:{port}{args.path}")

    loop = GLib.MainLoop()
    for number in (signal.SIGINT, signal.SIGTERM):
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, number, loop.quit)
    loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

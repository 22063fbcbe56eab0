#!/usr/bin/python3
"""A camera that is not ours: gst-rtsp-server with a picture, sound, and a Digest login if asked for.

Runs under the system's Python, which has the GStreamer bindings. The first line on stdout is
{"port": …, "url": …}; each connection that comes or goes adds {"connections": all so far, "open": those now}.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

SOUND = {
    "none": "",
    "pcma": "audioconvert ! audioresample ! audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay name=pay1 pt=8",
    "pcmu": "audioconvert ! audioresample ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 pt=0",
    "aac": "audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=2 ! avenc_aac ! aacparse"
    " ! rtpmp4gpay name=pay1 pt=97",
    "opus": "audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay name=pay1 pt=111",
}
CODECS = ("h264", "h265", "jpeg", "none")

PROTOCOLS = {
    "any": GstRtsp.RTSPLowerTrans.TCP | GstRtsp.RTSPLowerTrans.UDP,
    "tcp": GstRtsp.RTSPLowerTrans.TCP,
    "udp": GstRtsp.RTSPLowerTrans.UDP,
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", choices=CODECS, default="h264")
    parser.add_argument("--clip", help="H.264 or H.265 in Annex B, played in a loop; without: a test picture")
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
    parser.add_argument("--config-interval", type=int, default=-1, help="as rtph26*pay has it; 0: never in band")
    parser.add_argument("--protocols", choices=PROTOCOLS, default="any", help="what it sends by")
    parser.add_argument("--tls", metavar="PEM", help="certificate and key: then it speaks rtsps:// only")
    return parser.parse_args()


def launch(args: argparse.Namespace) -> str:
    """The factory's pipeline."""
    sound = SOUND[args.audio]
    if sound and args.codec == "none":
        sound = sound.replace("pay1", "pay0")
    return f"( {picture(args)} {'audiotestsrc is-live=true wave=ticks ! ' + sound if sound else ''} )"


def picture(args: argparse.Namespace) -> str:
    """What brings the picture, from its source to `pay0`."""
    codec = args.codec
    pay = f"rtp{codec}pay name=pay0 pt=96 config-interval={args.config_interval}"
    if codec == "none":
        return ""
    if args.clip:
        caps = f"video/x-{codec},stream-format=byte-stream,alignment=au,framerate={args.fps}/1"
        return f"appsrc name=clip is-live=true format=time block=true caps={caps} ! {codec}parse ! {pay}"
    raw = (
        f"videotestsrc is-live=true pattern=ball"
        f" ! video/x-raw,format=I420,width={args.width},height={args.height},framerate={args.fps}/1"
    )
    b_frames, interval = args.b_frames, args.key_interval
    match codec:
        case "jpeg":
            return f"{raw} ! jpegenc ! rtpjpegpay name=pay0 pt=26"
        case "h265":
            tune = "" if b_frames else "tune=zerolatency"
            more = f"bframes={b_frames}:b-adapt=0:rc-lookahead=5:keyint={interval}:pools=none:frame-threads=1"
            return f"{raw} ! x265enc {tune} speed-preset=ultrafast bitrate={args.bitrate} option-string={more} ! {pay}"
        case _:
            tune = f"bframes={b_frames} b-adapt=false rc-lookahead=5" if b_frames else "tune=zerolatency"
            profile = "main" if b_frames else "constrained-baseline"
            encode = f"x264enc {tune} speed-preset=ultrafast key-int-max={interval} bitrate={args.bitrate}"
            return f"{raw} ! {encode} ! video/x-h264,profile={profile} ! {pay}"


def pictures(path: str, codec: str) -> list[bytes]:
    """The access units of an Annex B file: cut before what follows a slice and begins a picture."""
    data = Path(path).read_bytes()
    found: list[bytes] = []
    begin, has_slice, at = 0, False, data.find(b"\0\0\1")
    while at >= 0:
        start = at - 1 if at and data[at - 1] == 0 else at
        if codec == "h265":
            kind = data[at + 3] >> 1 & 0x3F
            is_slice, is_head, flag = kind < 32, kind in (32, 33, 34, 35, 39), data[at + 5]
        else:
            kind = data[at + 3] & 0x1F
            is_slice, is_head, flag = kind in (1, 5), kind in (6, 7, 8, 9), data[at + 4]
        # The first bit of a slice of either codec says that it is a picture's first.
        if has_slice and (is_head or (is_slice and flag & 0x80)):
            found.append(data[begin:start])
            begin, has_slice = start, False
        has_slice = has_slice or is_slice
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


def guard(factory: GstRtspServer.RTSPMediaFactory, auth: GstRtspServer.RTSPAuth, user: str, password: str) -> None:
    """Let in only whoever proves this login; without a user, everybody."""
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    auth.set_realm("IP Camera")
    token = GstRtspServer.RTSPToken()
    # Through `writable_structure()` it would change a copy, and every client would get 401.
    token.set_string("media.factory.role", "user")
    if user:
        auth.add_digest(user, password, token)
    else:
        auth.set_default_token(token)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    factory.set_permissions(permissions)


def say(**fields: object) -> None:
    # One write: the threads of several connections tell at the same time.
    os.write(sys.stdout.fileno(), f"{json.dumps(fields)}\n".encode())


def main() -> int:
    args = options()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(args.host)
    server.set_service(args.port)

    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch(args))
    factory.set_shared(True)
    factory.set_protocols(PROTOCOLS[args.protocols])
    if args.clip:
        clip = pictures(args.clip, args.codec)
        factory.connect("media-configure", lambda _factory, media: feed(media, clip, args.fps))
    if args.user or args.tls:
        auth = GstRtspServer.RTSPAuth()
        if args.tls:
            auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(args.tls))
        guard(factory, auth, args.user, args.password)
        server.set_auth(auth)
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
    say(port=port, url=f"{'rtsps' if args.tls else 'rtsp'}://{args.host}:{port}{args.path}")

    loop = GLib.MainLoop()
    for number in (signal.SIGINT, signal.SIGTERM):
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, number, loop.quit)
    loop.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

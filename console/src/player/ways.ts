// What this browser plays, and by which way a picture is asked for.
import type { Told, Way } from "./player";

/** One string for the highest profile and level of each codec: the hub takes it for all that is below. */
const ASKED = [
  "avc1.42e034",
  "avc1.4d0034",
  "avc1.640034",
  "avc1.6e0034",
  "hvc1.1.6.L153.B0",
  "hvc1.1.6.L186.B0",
  "hvc1.2.4.L153.B0",
  "hvc1.2.4.L186.B0",
  "mp4a.40.2",
  "mp4a.40.5",
  "mp4a.40.29",
  "opus",
];

export interface Abilities {
  webrtc: boolean;
  /** H.265 without the hub's help. */
  h265: { webrtc: boolean; mse: boolean };
  /** Types for Media Source Extensions; none where the browser has no such thing. */
  mimes: string[];
}

export function abilities(): Abilities {
  const source = "MediaSource" in globalThis ? MediaSource : undefined;
  const mimes = ASKED.map((codec) => `video/mp4; codecs="${codec}"`).filter((mime) => source?.isTypeSupported(mime));
  const webrtc = "RTCPeerConnection" in globalThis;
  const received = webrtc ? (RTCRtpReceiver.getCapabilities("video")?.codecs ?? []) : [];
  return {
    webrtc,
    h265: {
      webrtc: received.some(({ mimeType }) => mimeType.toLowerCase() === "video/h265"),
      mse: mimes.some((mime) => mime.includes("hvc1")),
    },
    mimes,
  };
}

/** What keeps WebRTC from showing a picture that may be had by WebSocket. */
const NOT_BY_WEBRTC = new Set(["CODEC_NOT_OFFERED", "B_FRAMES", "KEYFRAME_TOO_LARGE", "WEBRTC_OFF", "MEDIA_BLOCKED"]);
/** So long, in milliseconds, an unreachable media port is remembered: each view would wait for it anew. */
const BLOCKED_FOR = 300_000;

/** Which way is tried first, and which after it. One for the whole page: what a network lets through, it does for all. */
export class Ways {
  private blockedUntil = 0;

  constructor(
    readonly can: Abilities,
    private readonly now: () => number = () => Date.now(),
  ) {}

  /** Media ports were tried and not reached. */
  blocked(): void {
    if (this.can.mimes.length) this.blockedUntil = this.now() + BLOCKED_FOR;
  }

  /** The way to begin with and, where that is not WebRTC, why. */
  first(): { way: Way; why: string } {
    if (!this.can.webrtc && this.can.mimes.length) return { way: "mse", why: "NO_WEBRTC" };
    if (this.now() < this.blockedUntil) return { way: "mse", why: "MEDIA_BLOCKED" };
    return { way: "webrtc", why: "" };
  }

  /** The other way after that one failed for that reason; undefined where it is of no use. */
  after(way: Way, reason: string): Way | undefined {
    return way === "webrtc" && this.can.mimes.length && NOT_BY_WEBRTC.has(reason) ? "mse" : undefined;
  }

  /** Whether the main stream, of which WebRTC gives a lesser one, may be had by WebSocket: H.265 that plays there alone. */
  betters(way: Way, { profile, reason }: Told): boolean {
    const { h265 } = this.can;
    return way === "webrtc" && profile === "sub" && reason === "CODEC_NOT_OFFERED" && h265.mse && !h265.webrtc;
  }
}

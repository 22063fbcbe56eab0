import { afterEach, expect, test, vi } from "vitest";

import { told } from "../src/player/player";
import { Ways, abilities, type Abilities } from "../src/player/ways";

const CAN: Abilities = { webrtc: true, h265: { webrtc: false, mse: true }, mimes: ["video/mp4"] };
const SUB = { profile: "sub", reason: "CODEC_NOT_OFFERED", silence: "" } as const;

afterEach(() => void vi.unstubAllGlobals());

test("the browser is asked what it plays", () => {
  expect(abilities().mimes).toEqual([]);
  vi.stubGlobal("MediaSource", { isTypeSupported: (mime: string) => /avc1|mp4a.40.2"/.test(mime) });
  vi.stubGlobal("RTCPeerConnection", class {});
  vi.stubGlobal("RTCRtpReceiver", { getCapabilities: () => ({ codecs: [{ mimeType: "video/H264" }, { mimeType: "video/H265" }] }) });
  const can = abilities();
  expect(can).toMatchObject({ webrtc: true, h265: { webrtc: true, mse: false } });
  expect(can.mimes).toContain('video/mp4; codecs="avc1.640034"');
  expect(can.mimes.join()).not.toContain("hvc1");
  expect(can.mimes.length).toBeLessThanOrEqual(64);
});

test("WebRTC is first where there is WebRTC", () => {
  expect(new Ways(CAN).first()).toEqual({ way: "webrtc", why: "" });
  expect(new Ways({ ...CAN, webrtc: false }).first()).toEqual({ way: "mse", why: "NO_WEBRTC" });
});

test("the other way is taken where it may help, and only from WebRTC", () => {
  const ways = new Ways(CAN);
  for (const reason of ["CODEC_NOT_OFFERED", "B_FRAMES", "KEYFRAME_TOO_LARGE", "WEBRTC_OFF", "MEDIA_BLOCKED"]) {
    expect(ways.after("webrtc", reason)).toBe("mse");
    expect(ways.after("mse", reason)).toBeUndefined();
    expect(new Ways({ ...CAN, mimes: [] }).after("webrtc", reason)).toBeUndefined();
  }
  for (const reason of ["TICKET_INVALID", "CAMERA_UNREACHABLE", "LIMIT_VIEWERS"]) {
    expect(ways.after("webrtc", reason)).toBeUndefined();
  }
});

test("H.265 by WebSocket is better than a sub stream only where WebRTC does not have it", () => {
  expect(new Ways(CAN).betters("webrtc", SUB)).toBe(true);
  expect(new Ways(CAN).betters("mse", SUB)).toBe(false);
  expect(new Ways(CAN).betters("webrtc", { ...SUB, reason: "B_FRAMES" })).toBe(false);
  expect(new Ways({ ...CAN, h265: { webrtc: true, mse: true } }).betters("webrtc", SUB)).toBe(false);
  expect(new Ways({ ...CAN, h265: { webrtc: false, mse: false } }).betters("webrtc", SUB)).toBe(false);
});

test("what the hub says of the sound is read", () => {
  expect(told("sub", "B_FRAMES", "none; reason=AAC_NOT_IN_WEBRTC")).toEqual({ profile: "sub", reason: "B_FRAMES", silence: "AAC_NOT_IN_WEBRTC" });
  expect(told("main", "", "pcma").silence).toBe("");
  expect(told("", "", "")).toEqual({ profile: "", reason: "", silence: "" });
});

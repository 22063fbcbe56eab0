import { expect, test } from "vitest";

import { figures, look, type Look } from "../src/player/figures";

const report = new Map<string, unknown>([
  ["A", { type: "inbound-rtp", kind: "audio", bytesReceived: 9 }],
  [
    "V",
    {
      type: "inbound-rtp",
      kind: "video",
      codecId: "C",
      timestamp: 1000,
      frameWidth: 1280,
      frameHeight: 720,
      bytesReceived: 5000,
      framesDecoded: 25,
      packetsLost: -1,
    },
  ],
  ["C", { type: "codec", mimeType: "video/H264" }],
]);

test("the received video is found among the statistics", () => {
  expect(look(report)).toEqual({ timestamp: 1000, width: 1280, height: 720, codec: "H264", bytes: 5000, frames: 25, lost: 0 });
  expect(look(new Map())).toBeUndefined();
});

test("two looks give rates; no size, or no time between them, gives nothing", () => {
  const before = look(report)!;
  const now: Look = { ...before, timestamp: 3000, bytes: 255_000, frames: 75, lost: 2 };
  expect(figures(before, now)).toEqual({
    width: 1280,
    height: 720,
    codec: "H264",
    framesPerSecond: 25,
    kbitPerSecond: 1000,
    lost: 2,
  });
  expect(figures(before, before)).toBeUndefined();
  expect(figures(before, { ...now, width: 0 })).toBeUndefined();
});

// The life of a view against a hub of our own making: `api` is the seam, the player is replaced because no browser is here.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { StreamProfile } from "../src/gen/vidhub/v1/camera_pb";
import { SessionSchema } from "../src/gen/vidhub/v1/session_service_pb";
import type { PlayerEvents, Told, Way } from "../src/player/player";

interface Player {
  way: Way;
  events: PlayerEvents;
  play: ReturnType<typeof vi.fn>;
  close: ReturnType<typeof vi.fn>;
}

const seam = vi.hoisted(() => ({
  openSession: vi.fn(),
  renewSession: vi.fn(),
  listSessions: vi.fn(),
  closeSession: vi.fn(),
  players: [] as Player[],
  /** Thrown by the next attempts, by way. */
  refusals: {} as Partial<Record<Way, unknown>>,
  told: {} as Record<Way, Told>,
}));

vi.mock("../src/api", async (importOriginal) => ({
  ...(await importOriginal<typeof import("../src/api")>()),
  call: (work: () => Promise<unknown>) => work(),
  sessions: seam,
  closing: seam,
}));
function playerOf(way: Way) {
  return class {
    readonly way = way;
    play = vi.fn(async () => {
      if (seam.refusals[way]) throw seam.refusals[way];
      return seam.told[way];
    });
    close = vi.fn();
    look = vi.fn(async () => undefined);
    constructor(
      _video: unknown,
      readonly events: PlayerEvents,
    ) {
      seam.players.push(this);
    }
  };
}
vi.mock("../src/player/whep", () => ({ WhepPlayer: playerOf("webrtc") }));
vi.mock("../src/player/mse", () => ({ MsePlayer: playerOf("mse") }));
const can = vi.hoisted(() => ({ webrtc: true, h265: { webrtc: false, mse: false }, mimes: ["video/mp4; codecs=\"avc1.640034\""] }));
vi.mock("../src/player/ways", async (importOriginal) => ({
  ...(await importOriginal<typeof import("../src/player/ways")>()),
  abilities: () => can,
}));

const { HubError } = await import("../src/api");
const { PlayError } = await import("../src/player/player");
const { Watching, saidGoodbye } = await import("../src/watching");

const main: Told = { profile: "main", reason: "", silence: "" };
let picture: (() => void) | undefined;
let ticks = 0;
const video = {
  requestVideoFrameCallback: (callback: (now: number, metadata: object) => void) => {
    picture = () => callback(0, { rtpTimestamp: (ticks += 3600) });
    return 1;
  },
} as unknown as HTMLVideoElement;

function session(id: string, endReason = "") {
  return create(SessionSchema, { id, endReason, expireTime: timestampFromMs(Date.now() + 600_000) });
}

async function watch() {
  const watching = new Watching("36060200001322000001", { kind: "patrol", reference: "", note: "" }, video);
  await watching.start();
  return watching;
}

beforeEach(() => {
  vi.useFakeTimers();
  seam.players.length = 0;
  seam.refusals = {};
  seam.told = { webrtc: main, mse: main };
  can.h265.mse = false;
  let opened = 0;
  seam.openSession.mockReset().mockImplementation(async () => {
    opened += 1;
    return { session: session(`s${opened}`), ticket: `t${opened}`, whepUrl: "/whep/1", mseUrl: "/mse/1", watermark: "张警官" };
  });
  seam.renewSession.mockReset().mockImplementation(async () => ({ session: session("s1"), ticket: "renewed" }));
  seam.listSessions.mockReset().mockResolvedValue({ sessions: [] });
  seam.closeSession.mockReset().mockResolvedValue({});
});
afterEach(() => void vi.useRealTimers());

test("it is live with the first picture, and closing it closes the session", async () => {
  const watching = await watch();
  expect(watching.view.phase).toBe("connecting");
  expect(watching.view.watermark).toBe("张警官");
  picture!();
  expect(watching.view.phase).toBe("live");
  watching.close();
  expect(seam.closeSession).toHaveBeenCalledWith({ sessionId: "s1" });
});

test("a renewal that gives no more time says when the grant ends", async () => {
  const { view } = await watch();
  picture!();
  await vi.advanceTimersByTimeAsync(301_000);
  expect([seam.renewSession.mock.calls.length, view.endsAt]).toEqual([1, undefined]);
  const last = session("s1");
  seam.renewSession.mockImplementation(async () => ({ session: last, ticket: "renewed" }));
  await vi.advanceTimersByTimeAsync(601_000);
  expect(view.endsAt).toBe(Number(last.expireTime!.seconds) * 1000 + last.expireTime!.nanos / 1e6);
});

test("it is asked for as the stream that is wanted", async () => {
  const watching = new Watching("36060200001322000001", { kind: "patrol", reference: "", note: "" }, video, StreamProfile.SUB);
  await watching.start();
  expect(seam.openSession.mock.calls[0]![0]).toMatchObject({ profile: StreamProfile.SUB });
});

test("a refusal is final and says why", async () => {
  seam.openSession.mockRejectedValue(new HubError("NO_GRANT", "no grant", Code.PermissionDenied));
  const { view } = await watch();
  expect([view.phase, view.reason]).toEqual(["failed", "NO_GRANT"]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(seam.openSession).toHaveBeenCalledTimes(1);
});

test("a camera that is off is tried again with a new ticket, and not before the hub says", async () => {
  seam.refusals.webrtc = new PlayError(503, "CAMERA_UNREACHABLE", "", 4);
  const { view } = await watch();
  expect([view.phase, view.reason]).toEqual(["reconnecting", "CAMERA_UNREACHABLE"]);
  await vi.advanceTimersByTimeAsync(3_900);
  expect(seam.players).toHaveLength(1);
  seam.refusals = {};
  await vi.advanceTimersByTimeAsync(200);
  expect(seam.players[1]!.play.mock.calls[0]![1]).toBe("renewed");
  picture!();
  expect([view.phase, view.reason]).toEqual(["live", ""]);
});

test("a hub that has no connection left for a moment is asked again", async () => {
  for (const reason of ["LIMIT_CONNECTIONS", "LIMIT_CONNECTIONS_PER_ADDRESS"]) {
    seam.openSession.mockClear();
    seam.refusals = { webrtc: new PlayError(406, "B_FRAMES", ""), mse: new PlayError(429, reason, "") };
    const { view } = await watch();
    expect(view.phase, reason).not.toBe("failed");
    seam.refusals = { webrtc: new PlayError(406, "B_FRAMES", "") };
    await vi.advanceTimersByTimeAsync(60_000);
    picture!();
    expect(view.phase, reason).toBe("live");
  }
});

test("media that ends because the session did says why, and stays ended", async () => {
  const { view } = await watch();
  picture!();
  seam.listSessions.mockResolvedValue({ sessions: [session("s1", "GRANT_REVOKED")] });
  seam.players[0]!.events.onLost("");
  await vi.advanceTimersByTimeAsync(60_000);
  expect([view.phase, view.reason]).toEqual(["ended", "GRANT_REVOKED"]);
  expect(seam.openSession).toHaveBeenCalledTimes(1);
});

test("a session that the hub's crash ended is opened anew with the same purpose", async () => {
  const { view } = await watch();
  picture!();
  seam.listSessions.mockResolvedValue({ sessions: [session("s1", "SESSION_LOST")] });
  seam.players[0]!.events.onLost("");
  await vi.advanceTimersByTimeAsync(2_000);
  expect(seam.openSession).toHaveBeenCalledTimes(2);
  expect(seam.openSession.mock.calls[1]![0].purpose).toEqual({ kind: "patrol", reference: "", note: "" });
  picture!();
  expect([view.phase, view.reason]).toEqual(["live", ""]);
});

test("while the hub is away attempts go on, less and less often, but at least every few seconds", async () => {
  const { view } = await watch();
  picture!();
  const gone = new HubError("HUB_UNREACHABLE", "", Code.Unavailable);
  seam.listSessions.mockRejectedValue(gone);
  seam.renewSession.mockRejectedValue(gone);
  seam.players[0]!.events.onLost("");
  await vi.advanceTimersByTimeAsync(60_000);
  expect([view.phase, view.reason]).toEqual(["reconnecting", "HUB_UNREACHABLE"]);
  expect(seam.renewSession.mock.calls.length).toBeGreaterThanOrEqual(9);
  expect(seam.renewSession.mock.calls.length).toBeLessThan(25);
});

test("it renews before the session expires", async () => {
  const watching = await watch();
  picture!();
  await vi.advanceTimersByTimeAsync(301_000);
  expect(seam.renewSession).toHaveBeenCalledTimes(1);
  watching.close();
  await vi.advanceTimersByTimeAsync(900_000);
  expect(seam.renewSession).toHaveBeenCalledTimes(1);
});

test("a session that opens after the view was closed is closed at once", async () => {
  let answer: (value: unknown) => void = () => undefined;
  seam.openSession.mockReturnValue(new Promise((resolve) => (answer = resolve)));
  const watching = new Watching("1", { kind: "patrol", reference: "", note: "" }, video);
  const started = watching.start();
  watching.close();
  answer({ session: session("late"), ticket: "t", whepUrl: "/whep/1", watermark: "" });
  await started;
  expect(seam.closeSession).toHaveBeenCalledWith({ sessionId: "late" });
  expect(seam.players).toHaveLength(0);
});

test("what WebRTC can't show comes by WebSocket, and the view says why", async () => {
  seam.refusals.webrtc = new PlayError(406, "B_FRAMES", "");
  const { view } = await watch();
  expect(seam.players.map(({ way }) => way)).toEqual(["webrtc", "mse"]);
  expect(seam.players[1]!.play.mock.calls[0]!.slice(0, 2)).toEqual(["/mse/1", "t1"]);
  picture!();
  expect([view.phase, view.showing]).toEqual(["live", { way: "mse", why: "B_FRAMES", ...main }]);
});

test("where neither way plays it, the last word is the reason", async () => {
  seam.refusals.webrtc = seam.refusals.mse = new PlayError(406, "CODEC_NOT_OFFERED", "H.265");
  const { view } = await watch();
  expect(seam.players).toHaveLength(2);
  expect([view.phase, view.reason, view.detail]).toEqual(["failed", "CODEC_NOT_OFFERED", "H.265"]);
});

test("a refusal that has nothing to do with the way is not asked about twice", async () => {
  seam.refusals.webrtc = new PlayError(403, "TICKET_OTHER_CAMERA", "");
  const { view } = await watch();
  expect([view.phase, seam.players.length]).toEqual(["failed", 1]);
});

test("H.265 that plays by WebSocket alone is preferred to a sub stream, and what came of it is kept", async () => {
  can.h265.mse = true;
  seam.told.webrtc = { profile: "sub", reason: "CODEC_NOT_OFFERED", silence: "" };
  const watching = await watch();
  expect(watching.view.showing).toMatchObject({ way: "mse", why: "H265_BY_MSE", profile: "main" });
  watching.close();
  seam.refusals.mse = new PlayError(503, "LIMIT_VIEWERS", "");
  const { view } = await watch();
  expect(view.showing).toMatchObject({ way: "webrtc", why: "", profile: "sub" });
});

test("a sub stream instead is told, and what changes in mid-stream too", async () => {
  seam.told.webrtc = { profile: "sub", reason: "CODEC_NOT_OFFERED", silence: "AAC_NOT_IN_WEBRTC" };
  const { view } = await watch();
  expect(view.showing).toEqual({ way: "webrtc", why: "", ...seam.told.webrtc });
  seam.players[0]!.events.onTold!(main);
  expect(view.showing).toEqual({ way: "webrtc", why: "", ...main });
});

// Last: an unreachable port is remembered for the whole page.
test("a media port that can't be reached is gone around, at once the next time, and tried again later", async () => {
  const first = await watch();
  seam.players[0]!.events.onLost("");
  await vi.advanceTimersByTimeAsync(0);
  expect(first.view.showing).toMatchObject({ way: "mse", why: "MEDIA_BLOCKED" });
  first.close();
  await watch();
  expect(seam.players.map(({ way }) => way)).toEqual(["webrtc", "mse", "mse"]);
  await vi.advanceTimersByTimeAsync(301_000);
  await watch();
  expect(seam.players.at(-1)!.way).toBe("webrtc");
});

test("who leaves waits until the session is closed, but not for ever", async () => {
  let closed: (() => void) | undefined;
  seam.closeSession.mockImplementation(() => new Promise<void>((resolve) => (closed = resolve)));
  (await watch()).close();
  const order: string[] = [];
  const leaving = saidGoodbye().then(() => order.push("left"));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(order).toEqual([]);
  closed!();
  await leaving;
  expect(order).toEqual(["left"]);

  seam.closeSession.mockImplementation(() => new Promise<void>(() => undefined));
  (await watch()).close();
  const giving = saidGoodbye().then(() => order.push("gave up"));
  await vi.advanceTimersByTimeAsync(3_000);
  await giving;
  expect(order).toEqual(["left", "gave up"]);
});

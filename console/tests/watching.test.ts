// The life of a view against a hub of our own making: `api` is the seam, the player is replaced because no browser is here.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { SessionSchema } from "../src/gen/vidhub/v1/session_service_pb";
import type { WhepEvents } from "../src/player/whep";

interface Player {
  events: WhepEvents;
  play: ReturnType<typeof vi.fn>;
  close: ReturnType<typeof vi.fn>;
}

const seam = vi.hoisted(() => ({
  openSession: vi.fn(),
  renewSession: vi.fn(),
  listSessions: vi.fn(),
  closeSession: vi.fn(),
  players: [] as Player[],
  refusal: undefined as unknown,
}));

vi.mock("../src/api", async (importOriginal) => ({
  ...(await importOriginal<typeof import("../src/api")>()),
  call: (work: () => Promise<unknown>) => work(),
  sessions: seam,
  closing: seam,
}));
vi.mock("../src/player/whep", async (importOriginal) => ({
  ...(await importOriginal<typeof import("../src/player/whep")>()),
  WhepPlayer: class {
    play = vi.fn(async () => {
      if (seam.refusal) throw seam.refusal;
    });
    close = vi.fn();
    look = vi.fn(async () => undefined);
    constructor(
      _video: unknown,
      readonly events: WhepEvents,
    ) {
      seam.players.push(this);
    }
  },
}));

const { HubError } = await import("../src/api");
const { WhepError } = await import("../src/player/whep");
const { Watching } = await import("../src/watching");

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
  seam.refusal = undefined;
  let opened = 0;
  seam.openSession.mockReset().mockImplementation(async () => {
    opened += 1;
    return { session: session(`s${opened}`), ticket: `t${opened}`, whepUrl: "/whep/1", watermark: "张警官" };
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

test("a refusal is final and says why", async () => {
  seam.openSession.mockRejectedValue(new HubError("NO_GRANT", "no grant", Code.PermissionDenied));
  const { view } = await watch();
  expect([view.phase, view.reason]).toEqual(["failed", "NO_GRANT"]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(seam.openSession).toHaveBeenCalledTimes(1);
});

test("a camera that is off is tried again with a new ticket, and not before the hub says", async () => {
  seam.refusal = new WhepError(503, "CAMERA_UNREACHABLE", "", 4);
  const { view } = await watch();
  expect([view.phase, view.reason]).toEqual(["reconnecting", "CAMERA_UNREACHABLE"]);
  await vi.advanceTimersByTimeAsync(3_900);
  expect(seam.players).toHaveLength(1);
  seam.refusal = undefined;
  await vi.advanceTimersByTimeAsync(200);
  expect(seam.players[1]!.play.mock.calls[0]![1]).toBe("renewed");
  picture!();
  expect([view.phase, view.reason]).toEqual(["live", ""]);
});

test("media that ends because the session did says why, and stays ended", async () => {
  const { view } = await watch();
  picture!();
  seam.listSessions.mockResolvedValue({ sessions: [session("s1", "GRANT_REVOKED")] });
  seam.players[0]!.events.onLost();
  await vi.advanceTimersByTimeAsync(60_000);
  expect([view.phase, view.reason]).toEqual(["ended", "GRANT_REVOKED"]);
  expect(seam.openSession).toHaveBeenCalledTimes(1);
});

test("a session that the hub's crash ended is opened anew with the same purpose", async () => {
  const { view } = await watch();
  picture!();
  seam.listSessions.mockResolvedValue({ sessions: [session("s1", "SESSION_LOST")] });
  seam.players[0]!.events.onLost();
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
  seam.players[0]!.events.onLost();
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

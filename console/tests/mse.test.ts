// @vitest-environment node
// What a player over WebSocket leaves behind: a socket of our own making, no browser.
import { getEventListeners } from "node:events";

import { afterEach, expect, test, vi } from "vitest";

import { MsePlayer } from "../src/player/mse";
import { PlayError } from "../src/player/player";

class Socket {
  static last: Socket;
  onclose?: (event: { code: number; reason: string }) => void;
  close = vi.fn();
  constructor() {
    Socket.last = this;
  }
}

afterEach(() => void vi.unstubAllGlobals());

test("an attempt that was refused leaves nothing with its view", async () => {
  vi.stubGlobal("WebSocket", Socket);
  const view = new AbortController();
  const player = new MsePlayer({} as HTMLVideoElement, { onConnected: vi.fn(), onLost: vi.fn() }, []);
  const played = player.play("ws://hub/mse/1", "ticket", view.signal);
  expect(getEventListeners(view.signal, "abort")).toHaveLength(1);
  Socket.last.onclose?.({ code: 4503, reason: "CAMERA_SILENT" });
  await expect(played).rejects.toMatchObject({ status: 503, reason: "CAMERA_SILENT", retryAfter: 2 } as Partial<PlayError>);
  expect(getEventListeners(view.signal, "abort")).toHaveLength(0);
});

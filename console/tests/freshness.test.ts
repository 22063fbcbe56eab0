import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { FROZEN_AFTER_S, Freshness } from "../src/player/freshness";

let picture: ((timestamp?: number) => void) | undefined;
const video = {
  requestVideoFrameCallback: (callback: (now: number, metadata: { rtpTimestamp?: number }) => void) => {
    picture = (rtpTimestamp) => callback(0, { rtpTimestamp });
    return 1;
  },
} as unknown as HTMLVideoElement;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("a picture that stands still is called frozen, and no more when it moves", () => {
  const ages: number[] = [];
  const freshness = new Freshness(video, (seconds) => ages.push(seconds), () => undefined, () => Date.now());
  freshness.start();
  vi.advanceTimersByTime(FROZEN_AFTER_S * 1000 + 1000);
  expect(ages).toEqual([0, 0, FROZEN_AFTER_S, FROZEN_AFTER_S + 1]);
  picture!();
  vi.advanceTimersByTime(1000);
  expect(ages.at(-1)).toBe(0);
  freshness.stop();
  vi.advanceTimersByTime(10_000);
  expect(ages).toHaveLength(FROZEN_AFTER_S + 2);
});

test("old pictures sent again do not make a frozen picture fresh; new ones do, also where the timestamps wrap", () => {
  const ages: number[] = [];
  const freshness = new Freshness(video, (seconds) => ages.push(seconds), () => undefined, () => Date.now());
  freshness.start();
  picture!(0xffff_fff0);
  vi.advanceTimersByTime(2000);
  for (let again = 1; again <= 50; again += 1) picture!((0xffff_fff0 + again) >>> 0);
  vi.advanceTimersByTime(2000);
  expect(ages.at(-1)).toBe(4);
  picture!((0xffff_fff0 + 3600) >>> 0);
  vi.advanceTimersByTime(1000);
  expect(ages.at(-1)).toBe(0);
  freshness.stop();
});

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createApp, h, nextTick, ref } from "vue";

import { LET_GO_AFTER, useAttention } from "../src/attention";

const isInSight = ref(true);
let isHeld: ReturnType<typeof useAttention>;
let app: ReturnType<typeof createApp>;

beforeEach(() => {
  vi.useFakeTimers();
  isInSight.value = true;
  app = createApp({
    setup() {
      isHeld = useAttention(() => isInSight.value);
      return () => h("i");
    },
  });
  app.mount(document.createElement("div"));
});
afterEach(() => {
  app.unmount();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

async function page(hidden: boolean): Promise<void> {
  vi.spyOn(document, "hidden", "get").mockReturnValue(hidden);
  document.dispatchEvent(new Event("visibilitychange"));
  await nextTick();
}

test("what nobody sees for a minute is let go, and taken up again at once", async () => {
  isInSight.value = false;
  await nextTick();
  vi.advanceTimersByTime(LET_GO_AFTER - 1);
  expect(isHeld.value).toBe(true);
  vi.advanceTimersByTime(1);
  expect(isHeld.value).toBe(false);
  isInSight.value = true;
  await nextTick();
  expect(isHeld.value).toBe(true);
});

test("a page in the background counts as unseen, a short absence does not", async () => {
  await page(true);
  vi.advanceTimersByTime(LET_GO_AFTER - 1);
  await page(false);
  vi.advanceTimersByTime(LET_GO_AFTER);
  expect(isHeld.value).toBe(true);
  await page(true);
  vi.advanceTimersByTime(LET_GO_AFTER);
  expect(isHeld.value).toBe(false);
});

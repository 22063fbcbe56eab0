// What is held of the events that the hub tells of, and what is shown over the page.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { beforeEach, expect, test, vi } from "vitest";

import { letGoUnseen, seen } from "../src/attention";
import { forgetEvents, hide, severe, shown, take, waiting } from "../src/events";
import { aboutOf, titleOf } from "../src/eventwords";
import { EventSchema, EventSeverity, type Event } from "../src/gen/vidhub/v1/event_service_pb";
import { i18n } from "../src/i18n";

function event(id: string, more: MessageInitShape<typeof EventSchema> = {}): Event {
  return create(EventSchema, { id, kind: "disk.low", subject: "disk", severity: EventSeverity.WARNING, count: 1n, ...more });
}
beforeEach(() => {
  vi.useFakeTimers();
  forgetEvents();
});

test("what asks for somebody is held until somebody has acknowledged it", () => {
  take(event("1"), true);
  take(event("2", { severity: EventSeverity.SEVERE }), true);
  expect([...waiting.value.keys()]).toEqual(["1", "2"]);
  expect(severe.value).toBe(1);
  take(event("1", { acknowledgement: { by: "user/sup" } }), true);
  take(event("2", { severity: EventSeverity.INFO }), true);
  expect(waiting.value.size).toBe(0);
});

test("a severe one is shown once as it begins, not again as it grows, and goes by itself or when it is over", () => {
  const worst = { severity: EventSeverity.SEVERE };
  take(event("old", worst), false);
  expect(shown.value).toEqual([]);
  for (const count of [5n, 6n, 7n]) take(event("new", { ...worst, count }), true);
  expect(shown.value.map((one) => one.id)).toEqual(["new"]);
  take(event("new", { ...worst, endTime: timestampNow() }), true);
  expect(shown.value).toEqual([]);
  for (const id of ["a", "b", "c", "d"]) take(event(id, worst), true);
  expect(shown.value.map((one) => one.id)).toEqual(["b", "c", "d"]);
  hide("c");
  expect(shown.value.map((one) => one.id)).toEqual(["b", "d"]);
  vi.advanceTimersByTime(20_000);
  expect(shown.value).toEqual([]);
});

test("of a flood the newest are held", () => {
  for (let number = 0; number < 600; number += 1) take(event(String(number)), true);
  expect(waiting.value.size).toBe(500);
  expect(waiting.value.has("599")).toBe(true);
});

test("an event reads in words, one of a later hub by its own", () => {
  i18n.global.locale.value = "zh-CN";
  const storm = event("1", { kind: "camera.offline", subject: "unit/u1", subjectName: "第一中学", count: 40n, hubId: "yuehu" });
  expect([titleOf(storm), aboutOf(storm)]).toEqual(["摄像机离线", "第一中学 · 40 台 · 来自平台 yuehu"]);
  expect(titleOf(event("2", { kind: "moon.fell" }))).toBe("moon.fell");
  expect(aboutOf(event("3", { subject: "address/192.0.2.1", kind: "access.refused", count: 12n }))).toBe("192.0.2.1 · 12 次");
});

test("what nobody looks at for a minute is let go, and taken up when somebody does", async () => {
  let hidden = false;
  vi.spyOn(document, "hidden", "get").mockImplementation(() => hidden);
  const turn = new AbortController();
  const stop = letGoUnseen(turn);
  const show = (is: boolean) => ((hidden = !is), document.dispatchEvent(new Event("visibilitychange")));
  show(false);
  vi.advanceTimersByTime(59_000);
  show(true);
  vi.advanceTimersByTime(120_000);
  expect(turn.signal.aborted).toBe(false);
  show(false);
  vi.advanceTimersByTime(61_000);
  expect(turn.signal.aborted).toBe(true);
  stop();
  let isSeen = false;
  const waiting = seen(new AbortController().signal).then(() => (isSeen = true));
  await Promise.resolve();
  expect(isSeen).toBe(false);
  show(true);
  await waiting;
  const over = new AbortController();
  show(false);
  const ended = seen(over.signal);
  over.abort();
  await ended;
  vi.restoreAllMocks();
});

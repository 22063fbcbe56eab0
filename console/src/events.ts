// What has happened and still asks for somebody: kept up by the hub for as long as somebody is logged in.
import { Code } from "@connectrpc/connect";
import { computed, shallowRef, triggerRef } from "vue";

import { events, hubError, isRevived, me } from "./api";
import { letGoUnseen, seen } from "./attention";
import type { Revision } from "./gen/vidhub/v1/camera_pb";
import { EventSeverity, type Event } from "./gen/vidhub/v1/event_service_pb";
import { sleep } from "./times";

/** Longest pause between two attempts to watch, in milliseconds. */
const LONGEST_PAUSE = 5_000;
/** Events held; of more the oldest are left to the page. */
const MOST = 500;
/** For so long a severe one is shown over whatever page there is, in milliseconds. */
const SHOWN_FOR = 15_000;
const MOST_SHOWN = 3;

/** Those that ask for somebody, by id; the newest change last. */
export const waiting = shallowRef(new Map<string, Event>());
/** Severe ones that have just begun. */
export const shown = shallowRef<Event[]>([]);
/** Grows with each change that the hub tells of, for a page that lists. */
export const changes = shallowRef(0);
export const severe = computed(() => [...waiting.value.values()].filter((one) => one.severity === EventSeverity.SEVERE).length);

export function forgetEvents(): void {
  waiting.value = new Map();
  shown.value = [];
}

/** Watches until the signal says stop, as long as somebody looks at the page. */
export async function keepEvents(signal: AbortSignal): Promise<void> {
  const filter = { minSeverity: EventSeverity.WARNING, unacknowledged: true };
  let from: Revision | undefined;
  let pause = 500;
  while (!signal.aborted) {
    await seen(signal);
    const turn = new AbortController();
    const look = letGoUnseen(turn);
    const both = AbortSignal.any([signal, turn.signal]);
    try {
      if (!from) forgetEvents();
      for await (const { item } of events.watchEvents({ from, filter }, { signal: both, onHeader: () => (pause = 500) })) {
        if (item.case === "synced") from = item.value;
        else if (item.case === "event") take(item.value, from !== undefined);
      }
    } catch (cause) {
      if (signal.aborted) return;
      if (turn.signal.aborted) continue;
      const error = hubError(cause);
      if (error.code === Code.Unauthenticated && !(await isRevived(error)) && !me.value) return;
      if (error.code === Code.OutOfRange) from = undefined;
    } finally {
      look();
    }
    await sleep(pause * (0.75 + Math.random() / 2), signal);
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  }
}

/** isNews: not one of those that were there before somebody looked. */
export function take(event: Event, isNews: boolean): void {
  const held = waiting.value;
  const isNew = !held.has(event.id);
  held.delete(event.id);
  const asks = !event.acknowledgement && event.severity > EventSeverity.INFO;
  if (asks) held.set(event.id, event);
  for (const id of held.keys()) {
    if (held.size <= MOST) break;
    held.delete(id);
  }
  if (asks && isNew && isNews && event.severity === EventSeverity.SEVERE) show(event);
  else if (!asks || event.endTime) hide(event.id);
  triggerRef(waiting);
  changes.value += 1;
}

export function hide(id: string): void {
  if (shown.value.some((one) => one.id === id)) shown.value = shown.value.filter((one) => one.id !== id);
}

function show(event: Event): void {
  shown.value = [...shown.value, event].slice(-MOST_SHOWN);
  setTimeout(() => hide(event.id), SHOWN_FOR);
}

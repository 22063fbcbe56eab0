// One list of the hub, page by page: the hub sorts, filters and pages; only what is shown is held.
import { onBeforeUnmount, ref, shallowRef } from "vue";

import { call, hubError, type HubError } from "./api";

export interface Slice<Row> {
  rows: Row[];
  next: string;
}

/** Pages that can be gone back; of more the first are forgotten, and "first page" leads there. */
const MOST_BACK = 500;

/** `ask` gives the page of a token; the empty one is the first. What comes late, of an earlier question, is let go. */
export function usePages<Row>(ask: (pageToken: string, signal: AbortSignal) => Promise<Slice<Row>>) {
  const rows = shallowRef<Row[]>([]);
  const trouble = shallowRef<HubError>();
  const isBusy = ref(false);
  const wasAsked = ref(false);
  const next = ref("");
  /** Tokens of the pages before this one. */
  const before = ref<string[]>([]);
  const token = ref("");
  let running: AbortController | undefined;

  async function load(wanted: string): Promise<boolean> {
    running?.abort();
    const mine = (running = new AbortController());
    isBusy.value = true;
    try {
      const slice = await call(() => ask(wanted, mine.signal));
      if (mine.signal.aborted) return false;
      rows.value = slice.rows;
      next.value = slice.next;
      token.value = wanted;
      trouble.value = undefined;
      return true;
    } catch (cause) {
      if (!mine.signal.aborted) trouble.value = hubError(cause);
      return false;
    } finally {
      if (running === mine) {
        isBusy.value = false;
        wasAsked.value = true;
      }
    }
  }

  async function first(): Promise<void> {
    if (await load("")) before.value = [];
  }

  async function again(): Promise<void> {
    await load(token.value);
  }

  async function forth(): Promise<void> {
    const here = token.value;
    if (next.value && (await load(next.value))) before.value = [...before.value, here].slice(-MOST_BACK);
  }

  async function back(): Promise<void> {
    const last = before.value.at(-1);
    if (last !== undefined && (await load(last))) before.value = before.value.slice(0, -1);
  }

  onBeforeUnmount(() => running?.abort());
  return { rows, trouble, isBusy, wasAsked, next, before, first, again, forth, back };
}

export type Pages<Row> = ReturnType<typeof usePages<Row>>;

// The wall: 1, 4, 9 or 16 places for cameras; which one is chosen, which one is enlarged. Kept in the browser for each
// person and in the page's address, so that it is there again and can be handed on. It holds ids alone: what is opened, and
// for which purpose, is the view's business.
import { computed, reactive } from "vue";

import { query, setQuery } from "./address";

export const LAYOUTS = [1, 4, 9, 16] as const;
export type Layout = (typeof LAYOUTS)[number];
export const MOST_TILES = 16;

/** A camera in a place. The key changes with each opening, not with the place. */
export interface Entry {
  key: number;
  cameraId: string;
}

const IN_ADDRESS = "wall";
const KEPT = "vidhub.wall.";
const ID = /^[0-9]{20}$/;

export class Wall {
  readonly state = reactive({
    layout: 1 as Layout,
    places: [] as (Entry | undefined)[],
    selected: 0,
    /** The place that fills the wall. */
    enlarged: undefined as number | undefined,
  });
  private keys = 0;

  /** The places in sight, each with its camera or none. */
  readonly shown = computed(() =>
    Array.from({ length: this.state.layout }, (_, place) => this.state.places[place]),
  );
  readonly count = computed(() => this.shown.value.filter(Boolean).length);

  placeOf(cameraId: string): number {
    return this.shown.value.findIndex((entry) => entry?.cameraId === cameraId);
  }

  /** Puts a camera into a place, or into the chosen one, and chooses the next that is empty. */
  put(cameraId: string, at = this.state.selected): void {
    if (at < 0 || at >= this.state.layout) return;
    this.state.places[at] = this.entry(cameraId);
    this.state.selected = this.nextEmpty(at) ?? at;
  }

  /** Cameras into the empty places from the first on; the wall grows as far as it takes. How many found one. */
  fill(cameraIds: readonly string[]): number {
    const wanted = [...new Set(cameraIds)].filter((id) => this.placeOf(id) < 0).slice(0, MOST_TILES);
    const layout = LAYOUTS.find((size) => size >= this.count.value + wanted.length) ?? MOST_TILES;
    if (layout > this.state.layout) this.lay(layout);
    let filled = 0;
    for (const id of wanted) {
      const place = this.shown.value.findIndex((entry) => !entry);
      if (place < 0) break;
      this.state.places[place] = this.entry(id);
      filled += 1;
    }
    return filled;
  }

  clear(at: number): void {
    this.state.places[at] = undefined;
    if (this.state.enlarged === at) this.state.enlarged = undefined;
    this.state.selected = at;
  }

  clearAll(): void {
    this.state.places = [];
    this.state.enlarged = undefined;
    this.state.selected = 0;
  }

  /** Two places change their cameras; nothing is opened anew. */
  swap(from: number, to: number): void {
    const { places, layout } = this.state;
    if (from === to || Math.max(from, to) >= layout || Math.min(from, to) < 0) return;
    [places[from], places[to]] = [places[to], places[from]];
    this.state.selected = to;
  }

  /** Opens the same camera anew. */
  renew(at: number): void {
    const entry = this.state.places[at];
    if (entry) this.state.places[at] = this.entry(entry.cameraId);
  }

  /** Of fewer places the chosen camera keeps one; those beyond are closed. */
  lay(layout: Layout): void {
    if (this.state.selected >= layout) {
      this.swapTo(this.state.selected, layout - 1);
      this.state.selected = layout - 1;
    }
    this.state.layout = layout;
    this.state.places = this.state.places.slice(0, layout);
    this.state.enlarged = undefined;
  }

  toggleEnlarged(at: number): void {
    this.state.enlarged = this.state.enlarged === at || this.state.layout === 1 ? undefined : at;
    this.state.selected = at;
  }

  // In words: "4:ID,ID,,ID".

  toString(): string {
    const ids = this.shown.value.map((entry) => entry?.cameraId ?? "");
    while (ids.length && !ids.at(-1)) ids.pop();
    return `${this.state.layout}:${ids.join(",")}`;
  }

  /** False, with nothing changed, for what is no wall. */
  read(words: string): boolean {
    const [size, list = ""] = words.split(":");
    const layout = LAYOUTS.find((one) => String(one) === size);
    const ids = list ? list.split(",") : [];
    if (!layout || ids.length > layout || !ids.every((id) => !id || ID.test(id))) return false;
    this.state.layout = layout;
    this.state.places = ids.map((id) => (id ? this.entry(id) : undefined));
    this.state.enlarged = undefined;
    this.state.selected = this.nextEmpty(-1) ?? 0;
    return true;
  }

  /** As the address has it, else as the person left it. */
  restore(username: string): void {
    if (this.read(query(IN_ADDRESS))) return;
    if (!this.read(localStorage.getItem(KEPT + username) ?? "")) this.read("1:");
  }

  keep(username: string): void {
    localStorage.setItem(KEPT + username, this.toString());
    toAddress(this.toString());
  }

  /** The next who logs in here gets nothing of it by the address. */
  forget(): void {
    this.read("1:");
    toAddress("");
  }

  private entry(cameraId: string): Entry {
    this.keys += 1;
    return { key: this.keys, cameraId };
  }

  private nextEmpty(after: number): number | undefined {
    const { layout, places } = this.state;
    for (let step = 1; step <= layout; step += 1) {
      const place = (after + step + layout) % layout;
      if (!places[place]) return place;
    }
    return undefined;
  }

  private swapTo(from: number, to: number): void {
    const { places } = this.state;
    if (places[from]) [places[from], places[to]] = [places[to], places[from]];
  }
}

function toAddress(words: string): void {
  setQuery({ [IN_ADDRESS]: words === "1:" ? "" : words });
}

export const wall = new Wall();

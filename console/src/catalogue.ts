// The cameras that this person may know of. Few are held whole and kept up by the hub's own changes. Of many the hub counts
// regions and units, and cameras are read by branch, a page at a time: there is no copy of a hundred thousand.
import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { shallowReactive, shallowRef, triggerRef } from "vue";

import { call, cameras, hubError, isRevived, me } from "./api";
import { CameraSchema, type Camera } from "./gen/vidhub/v1/camera_pb";
import { CameraGrouping, type CameraCount, type WatchCamerasResponse } from "./gen/vidhub/v1/camera_service_pb";
import { sleep } from "./times";
import { branchKey, type Branch } from "./tree";

/** Up to so many cameras are held whole. */
export const MOST_WHOLE = 500;
const PAGE = 1_000;
/** Longest pause between two attempts to watch, in milliseconds. */
const LONGEST_PAUSE = 5_000;
const COUNT_EVERY = 5_000;
/** News come in bursts; they are followed by one count. */
const COUNT_AFTER_NEWS = 500;
/** Units whose cameras are followed, and of how many cameras each; of larger ones the pages are read again. */
const MOST_FOLLOWED = 64;
const MOST_IN_FOLLOWED = 2_000;
const FOLLOW_AFTER = 300;

export const known = shallowRef(new Map<string, Camera>());
export const status = shallowReactive({ isLoaded: false, isConnected: true });
export const isWhole = shallowRef(true);
export const regions = shallowRef<CameraCount[]>([]);
/** By region code; of regions that stand open. */
export const units = shallowRef(new Map<string, CameraCount[]>());
/** By `branchKey`; of units that stand open. */
export const branches = shallowRef(new Map<string, Branch>());
/** Cameras that are looked at wherever they are: those on the wall. */
const wanted = new Set<string>();
/** As it was when it could be known of last, for pictures that outlive that. */
const seen = new Map<string, Camera>();
let following = new AbortController();
let lastFollowed = "";
let followTimer: ReturnType<typeof setTimeout> | undefined;
let newsTimer: ReturnType<typeof setTimeout> | undefined;
let life: AbortSignal | undefined;

/** The camera as the catalogue has it now, or had it; of one that never was in sight the id alone. */
export function cameraOf(id: string): Camera {
  const camera = known.value.get(id) ?? seen.get(id) ?? create(CameraSchema, { id, name: id });
  seen.set(id, camera);
  return camera;
}

/** What one person may know of is not the next one's to see. */
export function forget(): void {
  clearTimeout(followTimer);
  clearTimeout(newsTimer);
  life = undefined;
  known.value = new Map();
  regions.value = [];
  units.value = new Map();
  branches.value = new Map();
  isWhole.value = true;
  wanted.clear();
  seen.clear();
  Object.assign(status, { isLoaded: false, isConnected: true });
}

/** Lists, counts and watches until the signal says stop. */
export async function keepCatalogue(signal: AbortSignal): Promise<void> {
  life = signal;
  const timer = setInterval(() => document.hidden || void count(), COUNT_EVERY);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  let pause = 500;
  while (!signal.aborted) {
    following = new AbortController();
    const { signal: turn } = following;
    const stop = (): void => following.abort();
    signal.addEventListener("abort", stop, { once: true });
    try {
      if (!status.isLoaded || !status.isConnected) await count(true);
      const watched = followed();
      lastFollowed = watched.join();
      const filter = isWhole.value ? {} : { unitIds: watched };
      const told: Turn = { told: new Set() };
      // The hub answers before it has anything to tell.
      const onHeader = (): void => {
        status.isConnected = true;
        pause = 500;
      };
      // Without a revision every camera that matches is told first: what is listed and what is followed leave no gap.
      for await (const { event } of cameras.watchCameras({ filter }, { signal: turn, onHeader })) apply(event, told);
    } catch (cause) {
      if (signal.aborted) return;
      // Something else is to be followed.
      if (turn.aborted) continue;
      const error = hubError(cause);
      if (error.code === Code.Unauthenticated && !(await isRevived(error)) && !me.value) return;
    } finally {
      signal.removeEventListener("abort", stop);
    }
    if (turn.aborted) continue;
    status.isConnected = false;
    await sleep(pause * (0.75 + Math.random() / 2), signal);
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  }
}

/** Counts anew what is shown. `isFirst`: also decides how the catalogue is held. Throws when it does; else stays as it was. */
async function count(isFirst = false): Promise<void> {
  const signal = life;
  if (!signal || signal.aborted) return;
  try {
    const answer = await call(() => cameras.countCameras({ groupBy: CameraGrouping.REGION }, { signal }));
    if (signal.aborted) return;
    regions.value = answer.counts;
    const isLarge = Number(answer.total?.cameras ?? 0) > MOST_WHOLE;
    // A catalogue that grows is held whole up to twice as many; one that shrinks is counted until the next login.
    if (isWhole.value && isLarge && (isFirst || known.value.size > 2 * MOST_WHOLE)) becomeLarge();
    if (!isWhole.value) {
      status.isLoaded = true;
      await Promise.all([...units.value.keys()].map((region) => countUnits(region)));
    }
  } catch (cause) {
    if (isFirst) throw cause;
  }
}

async function countUnits(region: string): Promise<void> {
  const signal = life;
  const answer = await call(() =>
    cameras.countCameras({ groupBy: CameraGrouping.UNIT, filter: { regionPrefix: region } }, { signal }),
  );
  if (!units.value.has(region)) return;
  const before = units.value.get(region);
  units.value.set(region, answer.counts);
  triggerRef(units);
  for (const one of answer.counts) {
    const branch = branches.value.get(branchKey(region, one.key));
    const old = before?.find(({ key }) => key === one.key);
    // Too large to be followed: what is shown of it is read again when its numbers have changed.
    if (branch && Number(one.cameras) > MOST_IN_FOLLOWED && old && !isSame(old, one)) void reread(branch);
  }
}

function isSame(one: CameraCount, other: CameraCount): boolean {
  const text = ({ cameras: all, stale, states }: CameraCount): string =>
    [all, stale, ...states.map((row) => `${row.state}:${row.cameras}`)].join();
  return text(one) === text(other);
}

/** There are more than can be held whole by now. */
function becomeLarge(): void {
  isWhole.value = false;
  known.value = new Map([...known.value].filter(([id]) => wanted.has(id)));
  if (status.isLoaded) following.abort();
}

// What stands open.

export async function openRegion(region: string): Promise<void> {
  if (isWhole.value || units.value.has(region)) return;
  units.value.set(region, []);
  await countUnits(region).catch(() => units.value.delete(region));
}

export async function openUnit(region: string, unit: string): Promise<void> {
  const key = branchKey(region, unit);
  if (isWhole.value || branches.value.has(key)) return;
  const branch: Branch = { region, unit, ids: [], next: "", isBusy: false, isBegun: false };
  branches.value.set(key, branch);
  await more(branch);
  followSoon();
}

/** Closed branches are let go, but for what is on the wall. */
export function closeUnit(region: string, unit: string): void {
  const branch = branches.value.get(branchKey(region, unit));
  if (!branch) return;
  branches.value.delete(branchKey(region, unit));
  for (const id of branch.ids) if (!wanted.has(id)) known.value.delete(id);
  triggerRef(branches);
  followSoon();
}

/** The next page of a branch. */
export async function more(branch: Branch): Promise<void> {
  if (branch.isBusy || (branch.isBegun && !branch.next)) return;
  branch.isBusy = true;
  try {
    await page(branch, branch.next);
  } catch {
    // It is asked for again when it is next in sight.
  } finally {
    branch.isBusy = false;
    triggerRef(branches);
  }
}

async function page(branch: Branch, pageToken: string): Promise<void> {
  const filter = { regionPrefix: branch.region, unitIds: [branch.unit] };
  const signal = life;
  const answer = await call(() => cameras.listCameras({ filter, pageSize: PAGE, pageToken }, { signal }));
  branch.isBegun = true;
  branch.next = answer.nextPageToken;
  const held = new Set(branch.ids);
  for (const camera of answer.cameras) {
    known.value.set(camera.id, camera);
    if (!held.has(camera.id)) branch.ids.push(camera.id);
  }
  branch.ids.sort();
  triggerRef(known);
}

async function reread(branch: Branch): Promise<void> {
  const pages = Math.ceil(branch.ids.length / PAGE);
  branch.ids = [];
  branch.next = "";
  branch.isBegun = false;
  for (let number = 0; number < pages; number += 1) await more(branch);
}

/** Reads the cameras of the wall that no open branch has, and follows their units. */
export async function want(ids: readonly string[]): Promise<void> {
  wanted.clear();
  for (const id of ids) wanted.add(id);
  if (isWhole.value && status.isLoaded) return;
  for (const id of ids) {
    if (known.value.has(id)) continue;
    const signal = life;
    const answer = await call(() => cameras.getCamera({ id }, { signal })).catch(() => undefined);
    if (!answer?.camera || signal?.aborted) continue;
    known.value.set(id, answer.camera);
    triggerRef(known);
  }
  if (!isWhole.value) followSoon();
}

function followed(): string[] {
  const sizes = new Map<string, number>();
  for (const list of units.value.values()) {
    for (const one of list) sizes.set(one.key, (sizes.get(one.key) ?? 0) + Number(one.cameras));
  }
  const ofWall = [...wanted].map((id) => known.value.get(id)?.unitId ?? "");
  const ofTree = [...branches.value.values()].reverse().map(({ unit }) => unit);
  const found = [...new Set([...ofWall, ...ofTree])].filter((unit) => unit && (sizes.get(unit) ?? 0) <= MOST_IN_FOLLOWED);
  // Nobody's name: a watch without news keeps telling that the hub is there.
  return found.length ? found.slice(0, MOST_FOLLOWED).sort() : ["-"];
}

function followSoon(): void {
  clearTimeout(followTimer);
  followTimer = setTimeout(() => {
    const now = followed().join();
    if (!isWhole.value && now !== lastFollowed) {
      lastFollowed = now;
      following.abort();
    }
  }, FOLLOW_AFTER);
}

// What the hub tells.

/** `told`: ids since the watch began, until everything has been told once. */
interface Turn {
  told: Set<string> | undefined;
}

function apply(event: WatchCamerasResponse["event"], turn: Turn): void {
  switch (event.case) {
    case "upserted":
      turn.told?.add(event.value.id);
      put(event.value);
      break;
    case "removedId":
      drop(event.value);
      break;
    case "state": {
      const camera = known.value.get(event.value.id);
      if (!camera) return;
      const { state, reason: stateReason, stale } = event.value;
      known.value.set(camera.id, { ...camera, state, stateReason, stale });
      break;
    }
    case "synced":
      if (turn.told) dropUntold(turn.told);
      turn.told = undefined;
      if (isWhole.value) status.isLoaded = true;
      break;
    default:
      return;
  }
  // What is told first is many and shown at once.
  if (turn.told) return;
  triggerRef(known);
  clearTimeout(newsTimer);
  newsTimer = setTimeout(() => void count(), COUNT_AFTER_NEWS);
}

function put(camera: Camera): void {
  const before = known.value.get(camera.id);
  if (before && before.unitId + before.regionCode !== camera.unitId + camera.regionCode) drop(camera.id);
  const branch = branches.value.get(branchKey(camera.regionCode, camera.unitId));
  // What lies beyond the pages that were read comes with them.
  const isShown = branch && (!branch.next || camera.id <= (branch.ids.at(-1) ?? ""));
  if (!isWhole.value && !isShown && !wanted.has(camera.id)) return;
  known.value.set(camera.id, camera);
  if (!isShown || branch.ids.includes(camera.id)) return;
  branch.ids.push(camera.id);
  branch.ids.sort();
  triggerRef(branches);
}

function drop(id: string): void {
  const camera = known.value.get(id);
  if (!camera) return;
  known.value.delete(id);
  const branch = branches.value.get(branchKey(camera.regionCode, camera.unitId));
  if (branch) branch.ids = branch.ids.filter((one) => one !== id);
  triggerRef(branches);
}

/** The watch has told everything once: what it did not name is no more to be known of. */
function dropUntold(told: ReadonlySet<string>): void {
  const units = new Set(lastFollowed.split(","));
  for (const [id, camera] of known.value) if ((isWhole.value || units.has(camera.unitId)) && !told.has(id)) drop(id);
}

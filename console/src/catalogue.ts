// The cameras that this person may know of: listed once, then kept up by the hub's own changes.
import { Code } from "@connectrpc/connect";
import { create } from "@bufbuild/protobuf";
import { shallowReactive, shallowRef, triggerRef } from "vue";

import { cameras, hubError, isRevived, me } from "./api";
import { CameraSchema, CameraState, type Camera, type Revision } from "./gen/vidhub/v1/camera_pb";

const PAGE = 1000;
/** Longest pause between two attempts to watch, in milliseconds. */
const LONGEST_PAUSE = 5_000;

export const known = shallowRef(new Map<string, Camera>());
export const status = shallowReactive({ isLoaded: false, isConnected: true });

/** As it was when it could be known of last, for pictures that outlive that. */
const seen = new Map<string, Camera>();

/** The camera as the catalogue has it now, or had it; of one that never was in sight the id alone. */
export function cameraOf(id: string): Camera {
  const camera = known.value.get(id) ?? seen.get(id) ?? create(CameraSchema, { id, name: id });
  seen.set(id, camera);
  return camera;
}

/** What one person may know of is not the next one's to see. */
export function forget(): void {
  known.value = new Map();
  seen.clear();
  Object.assign(status, { isLoaded: false, isConnected: true });
}

/** Lists and watches until the signal says stop. */
export async function keepCatalogue(signal: AbortSignal): Promise<void> {
  let from: Revision | undefined;
  let pause = 500;
  while (!signal.aborted) {
    try {
      if (!from) from = await list(signal);
      // The hub answers before it has anything to tell.
      const onHeader = (): void => {
        status.isConnected = true;
        pause = 500;
      };
      for await (const change of cameras.watchCameras({ from }, { signal, onHeader })) {
        from = apply(change.event) ?? from;
      }
    } catch (cause) {
      if (signal.aborted) return;
      const error = hubError(cause);
      if (error.code === Code.Unauthenticated && !(await isRevived(error)) && !me.value) return;
      if (error.code === Code.OutOfRange) from = undefined;
    }
    status.isConnected = false;
    await sleep(pause * (0.75 + Math.random() / 2), signal);
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  }
}

async function list(signal: AbortSignal): Promise<Revision | undefined> {
  const found = new Map<string, Camera>();
  let pageToken = "";
  let revision: Revision | undefined;
  do {
    const page = await cameras.listCameras({ pageSize: PAGE, pageToken }, { signal });
    for (const camera of page.cameras) found.set(camera.id, camera);
    // What changes while the pages are read is watched for from the first page on.
    revision ??= page.revision;
    pageToken = page.nextPageToken;
  } while (pageToken);
  known.value = found;
  status.isLoaded = true;
  status.isConnected = true;
  return revision;
}

function apply(
  event:
    | { case: "upserted"; value: Camera }
    | { case: "removedId"; value: string }
    | { case: "state"; value: { id: string; state: CameraState; reason: string; stale: boolean } }
    | { case: "synced"; value: Revision }
    | { case: undefined; value?: undefined },
): Revision | undefined {
  switch (event.case) {
    case "upserted":
      known.value.set(event.value.id, event.value);
      break;
    case "removedId":
      known.value.delete(event.value);
      break;
    case "state": {
      const camera = known.value.get(event.value.id);
      if (!camera) return undefined;
      known.value.set(camera.id, {
        ...camera,
        state: event.value.state,
        stateReason: event.value.reason,
        stale: event.value.stale,
      });
      break;
    }
    case "synced":
      return event.value;
    default:
      return undefined;
  }
  triggerRef(known);
  return undefined;
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

// One picture of a camera, for a stated purpose: a session is opened on record, the hub writes who has it into the picture.
import { call, cameras, sessions } from "./api";
import type { Purpose } from "./watching";

/** The JPEG. Throws HubError, also why the hub refuses; the session is closed either way. */
export async function takeSnapshot(cameraId: string, purpose: Purpose, signal: AbortSignal): Promise<Blob> {
  const opened = await call(() => sessions.openSession({ cameraId, purpose }, { signal }));
  const sessionId = opened.session!.id;
  try {
    const { jpeg } = await call(() => cameras.getSnapshot({ sessionId }, { signal }));
    return new Blob([new Uint8Array(jpeg)], { type: "image/jpeg" });
  } finally {
    void call(() => sessions.closeSession({ sessionId })).catch(() => undefined);
  }
}

// What a technician wants to know of a picture: its size, codec, rate and losses, from two looks at the statistics.

/** What one look at the connection's statistics gave. */
export interface Look {
  timestamp: number;
  width: number;
  height: number;
  codec: string;
  bytes: number;
  frames: number;
  /** Undefined where nothing can be lost on the way. */
  lost: number | undefined;
}

export interface Figures {
  width: number;
  height: number;
  codec: string;
  framesPerSecond: number;
  kbitPerSecond: number;
  /** Packets lost since the picture came. */
  lost: number | undefined;
}

/** The received video of a connection; undefined before there is any. */
export function look(report: Iterable<[string, unknown]>): Look | undefined {
  const entries = new Map([...report].map(([id, entry]) => [id, entry as Record<string, unknown>]));
  for (const entry of entries.values()) {
    if (entry.type !== "inbound-rtp" || entry.kind !== "video") continue;
    const codec = entries.get(String(entry.codecId ?? ""));
    return {
      timestamp: Number(entry.timestamp ?? 0),
      width: Number(entry.frameWidth ?? 0),
      height: Number(entry.frameHeight ?? 0),
      codec: String(codec?.mimeType ?? "").replace(/^video\//i, ""),
      bytes: Number(entry.bytesReceived ?? 0),
      frames: Number(entry.framesDecoded ?? 0),
      lost: Math.max(0, Number(entry.packetsLost ?? 0)),
    };
  }
  return undefined;
}

export function figures(before: Look, now: Look): Figures | undefined {
  const seconds = (now.timestamp - before.timestamp) / 1000;
  if (seconds <= 0 || !now.width) return undefined;
  return {
    width: now.width,
    height: now.height,
    codec: now.codec,
    framesPerSecond: Math.max(0, Math.round((now.frames - before.frames) / seconds)),
    kbitPerSecond: Math.max(0, Math.round(((now.bytes - before.bytes) * 8) / 1000 / seconds)),
    lost: now.lost,
  };
}

// Times as people read them: this computer's, to the second.
import { timestampDate, timestampMs, type Timestamp } from "@bufbuild/protobuf/wkt";

const DAY_MS = 86_400_000;

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/** "2026-11-26 21:14:05". */
export function clock(time: Date): string {
  const day = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join("-");
  return `${day} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":")}`;
}

/** The same for what the hub sent; empty where it sent nothing. */
export function moment(time: Timestamp | undefined): string {
  return time ? clock(timestampDate(time)) : "";
}

const WRITTEN = /^(\d{4})-(\d{2})-(\d{2})(?:[ T](\d{2}):(\d{2})(?::(\d{2}))?)?$/;

/** What `clock` writes, whole or without its end, as a time of this computer; undefined where there is no such day or hour. */
export function timeWritten(text: string): Date | undefined {
  const [, ...parts] = WRITTEN.exec(text.trim()) ?? [];
  if (!parts.length) return undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts.map((part) => Number(part ?? 0));
  const time = new Date(year, month - 1, day, hour, minute, second);
  const isSame = time.getMonth() === month - 1 && time.getDate() === day && time.getMinutes() === minute;
  return isSame && hour < 24 && second < 60 ? time : undefined;
}

/** Whole days until then, less than nothing once it has passed; undefined where there is no such time. */
export function daysUntil(time: Timestamp | undefined, now = Date.now()): number | undefined {
  return time ? Math.floor((timestampMs(time) - now) / DAY_MS) : undefined;
}

/** From one to the other as "1:02:03" or "2:03"; empty where one is missing. */
export function lasted(from: Timestamp | undefined, to: Timestamp | undefined): string {
  if (!from || !to) return "";
  const seconds = Math.max(0, Math.round((timestampMs(to) - timestampMs(from)) / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** Over after so long, or at once when the signal says stop. */
export function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

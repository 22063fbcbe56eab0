// What all players have in common, and what each says of what it plays. No player knows of cameras or grants.
import type { Look } from "./figures";

/** How the picture gets here. */
export type Way = "webrtc" | "mse";

/** What the hub says of what it sends. */
export interface Told {
  /** Which of the camera's streams. */
  profile: "main" | "sub" | "";
  /** Why that one; empty where it is the one that was asked for. */
  reason: string;
  /** Why there is no sound; empty where there is. */
  silence: string;
}

export interface PlayerEvents {
  /** Media is connected. */
  onConnected(): void;
  /** Media has ended or broken off, for a reason if the hub told one; the player is closed. */
  onLost(reason: string): void;
  /** The hub sends something else than it said at first. */
  onTold?(told: Told): void;
}

export interface Player {
  /** Plays what there is. Throws PlayError. */
  play(url: string, ticket: string, signal: AbortSignal): Promise<Told>;
  /** How the picture comes in; undefined when there is none. */
  look(): Promise<Look | undefined>;
  /** Ends it here, and at the hub unless the hub will hear of it by another way. */
  close(options?: { quietly?: boolean }): void;
}

/** Why it did not start: the hub's status and reason. */
export class PlayError extends Error {
  constructor(
    readonly status: number,
    readonly reason: string,
    message: string,
    /** Seconds after which another try makes sense; 0 when it does not. */
    readonly retryAfter = 0,
  ) {
    super(message);
  }
}

/** What the hub says of the sound: a codec, or `none; reason=AAC_NOT_IN_WEBRTC`. Empty where it says nothing. */
export function told(profile: string, reason: string, audio: string): Told {
  return {
    profile: profile === "main" || profile === "sub" ? profile : "",
    reason,
    silence: /^none; *reason=(\w+)/.exec(audio)?.[1] ?? "",
  };
}

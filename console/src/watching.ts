// One session from the purpose to its end: opened on record, renewed while it is watched, brought back after a break.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { shallowReactive } from "vue";

import { call, hubError, sessions } from "./api";
import { StreamProfile } from "./gen/vidhub/v1/camera_pb";
import type { Session } from "./gen/vidhub/v1/session_service_pb";
import { Freshness } from "./player/freshness";
import { WhepError, WhepPlayer } from "./player/whep";

export type Phase = "opening" | "connecting" | "live" | "reconnecting" | "ended" | "failed";

export interface Purpose {
  kind: string;
  reference: string;
  note: string;
}

/** Longest pause between two attempts, in milliseconds. */
const LONGEST_PAUSE = 10_000;
/** These say that another try may help; the others end the view. */
const PASSING = new Set([
  "CAMERA_UNREACHABLE",
  "CAMERA_SILENT",
  "CAMERA_NO_KEYFRAME",
  "HUB_UNREACHABLE",
  "BACKEND_UNAVAILABLE",
  "TICKET_EXPIRED",
  "MEDIA_BLOCKED",
  "HUB_DRAINING",
]);

export class Watching {
  readonly view = shallowReactive({
    phase: "opening" as Phase,
    reason: "",
    detail: "",
    watermark: "",
    frozenSeconds: 0,
  });
  private session: Session | undefined;
  private whepUrl = "";
  private ticket = "";
  private player: WhepPlayer | undefined;
  private freshness: Freshness | undefined;
  private renewal: ReturnType<typeof setTimeout> | undefined;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private pause = 500;
  private hadMedia = false;
  private readonly stopped = new AbortController();

  constructor(
    readonly cameraId: string,
    readonly purpose: Purpose,
    private readonly video: HTMLVideoElement,
  ) {}

  async start(): Promise<void> {
    try {
      const opened = await call(() =>
        sessions.openSession(
          { cameraId: this.cameraId, purpose: this.purpose, profile: StreamProfile.AUTO },
          { signal: this.stopped.signal },
        ),
      );
      this.session = opened.session;
      this.whepUrl = opened.whepUrl;
      this.ticket = opened.ticket;
      this.view.watermark = opened.watermark;
    } catch (cause) {
      if (!this.stopped.signal.aborted) this.finish("failed", hubError(cause).reason, hubError(cause).message);
      return;
    }
    // Closed while it was being opened: the session must not stay behind.
    if (this.stopped.signal.aborted) return this.closeSession();
    this.planRenewal();
    await this.connect();
  }

  /** Ends it here and on record. */
  close(): void {
    this.stopped.abort();
    this.tearDown();
    this.closeSession();
  }

  private closeSession(): void {
    const sessionId = this.session?.id;
    this.session = undefined;
    if (sessionId) void sessions.closeSession({ sessionId }).catch(() => undefined);
  }

  private async connect(): Promise<void> {
    this.view.phase = this.hadMedia ? "reconnecting" : "connecting";
    this.tearDownMedia();
    this.player = new WhepPlayer(this.video, {
      onConnected: () => {
        this.hadMedia = true;
        this.pause = 500;
      },
      onLost: () => void this.lost(),
    });
    this.freshness = new Freshness(
      this.video,
      (seconds) => (this.view.frozenSeconds = seconds),
      () => {
        if (this.view.phase !== "live") Object.assign(this.view, { phase: "live", reason: "", detail: "" });
        this.view.frozenSeconds = 0;
      },
    );
    try {
      await this.player.play(this.whepUrl, this.ticket, this.stopped.signal);
      this.freshness.start();
    } catch (cause) {
      if (this.stopped.signal.aborted) return;
      const error = cause instanceof WhepError ? cause : new WhepError(0, "MEDIA_BLOCKED", String(cause), 2);
      if (error.reason === "SESSION_UNKNOWN") return void this.lost();
      if (!PASSING.has(error.reason)) return this.finish("failed", error.reason, error.message);
      this.again(error.reason, error.message, error.retryAfter);
    }
  }

  /** Media broke off: because the session ended, or because the way there did. */
  private async lost(): Promise<void> {
    if (this.stopped.signal.aborted || !this.session) return;
    try {
      const { id } = this.session;
      const found = await call(() => sessions.listSessions({ cameraId: this.cameraId, includeEnded: true, pageSize: 100 }));
      const mine = found.sessions.find((session) => session.id === id);
      if (mine?.endReason) return this.finish("ended", mine.endReason, "");
    } catch {
      // Not to be asked now: try again below.
    }
    this.again(this.hadMedia ? "" : "MEDIA_BLOCKED", "");
  }

  private again(reason: string, detail: string, retryAfter = 0): void {
    this.tearDownMedia();
    Object.assign(this.view, { phase: "reconnecting", reason, detail });
    const wait = Math.max(retryAfter * 1000, this.pause * (0.75 + Math.random() / 2));
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
    this.retry = setTimeout(() => void this.renewAndConnect(), wait);
  }

  /** A ticket is good for its first use within a minute: a new connection wants a new one. */
  private async renewAndConnect(): Promise<void> {
    if (await this.renew()) await this.connect();
  }

  private async renew(): Promise<boolean> {
    const sessionId = this.session?.id;
    if (!sessionId) return false;
    try {
      const renewed = await call(() => sessions.renewSession({ sessionId }));
      this.session = renewed.session;
      this.ticket = renewed.ticket;
      this.planRenewal();
      return true;
    } catch (cause) {
      const error = hubError(cause);
      if (this.stopped.signal.aborted) return false;
      if (PASSING.has(error.reason)) this.again(error.reason, error.message);
      else await this.ended(error.reason, error.message);
      return false;
    }
  }

  /** The hub knows the session no more: what ended it stands on record. */
  private async ended(reason: string, detail: string): Promise<void> {
    const id = this.session?.id;
    const found = await call(() =>
      sessions.listSessions({ cameraId: this.cameraId, includeEnded: true, pageSize: 100 }),
    ).catch(() => undefined);
    const mine = found?.sessions.find((session) => session.id === id);
    this.finish("ended", mine?.endReason || reason, mine?.endReason ? "" : detail);
  }

  private planRenewal(): void {
    clearTimeout(this.renewal);
    const expires = this.session?.expireTime;
    if (!expires) return;
    const left = timestampMs(expires) - Date.now();
    this.renewal = setTimeout(() => void this.renew(), Math.max(1_000, left / 2));
  }

  private finish(phase: Phase, reason: string, detail: string): void {
    this.tearDown();
    this.session = undefined;
    Object.assign(this.view, { phase, reason, detail, frozenSeconds: 0 });
  }

  private tearDown(): void {
    clearTimeout(this.renewal);
    clearTimeout(this.retry);
    this.tearDownMedia();
  }

  private tearDownMedia(): void {
    this.freshness?.stop();
    this.player?.close();
    this.view.frozenSeconds = 0;
  }
}

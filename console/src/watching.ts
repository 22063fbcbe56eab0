// One view of a camera, from the purpose to its end: opened on record, renewed while it is watched, brought back after
// a break.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { shallowReactive } from "vue";

import { call, closing, hubError, sessions, type HubError } from "./api";
import { status } from "./catalogue";
import { StreamProfile } from "./gen/vidhub/v1/camera_pb";
import type { Session } from "./gen/vidhub/v1/session_service_pb";
import { figures, type Figures, type Look } from "./player/figures";
import { Freshness } from "./player/freshness";
import { WhepError, WhepPlayer } from "./player/whep";

export type Phase = "opening" | "connecting" | "live" | "reconnecting" | "ended" | "failed";

export interface Purpose {
  kind: string;
  reference: string;
  note: string;
}

/** Pauses between two attempts, in milliseconds. */
const SHORTEST_PAUSE = 500;
const LONGEST_PAUSE = 5_000;
const LOOK_EVERY = 1_000;
/** Seconds that a connected stream may take for its first picture. */
const FIRST_PICTURE_S = 10;
/** These say that another try may help; the others end the view. */
const PASSING = new Set([
  "CAMERA_UNREACHABLE",
  "CAMERA_SILENT",
  "CAMERA_NO_KEYFRAME",
  "HUB_UNREACHABLE",
  "TICKET_EXPIRED",
  "MEDIA_BLOCKED",
  "HUB_DRAINING",
  "STREAM_CHANGED",
  "CODEC_CHANGED",
]);
/** The hub's doing, not a decision: the same purpose opens a new session, on record like the first. */
const REOPENED = new Set(["SESSION_LOST", "HUB_DRAINING", "HUB_STOPPED"]);

export class Watching {
  readonly view = shallowReactive({
    phase: "opening" as Phase,
    reason: "",
    detail: "",
    watermark: "",
    frozenSeconds: 0,
    figures: undefined as Figures | undefined,
  });
  private session: Session | undefined;
  private whepUrl = "";
  private ticket = "";
  private player: WhepPlayer | undefined;
  private freshness: Freshness | undefined;
  private renewal: ReturnType<typeof setTimeout> | undefined;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private looks: ReturnType<typeof setInterval> | undefined;
  private pause = SHORTEST_PAUSE;
  private hadPicture = false;
  private readonly stopped = new AbortController();

  constructor(
    readonly cameraId: string,
    readonly purpose: Purpose,
    private readonly video: HTMLVideoElement,
  ) {}

  /** Opens a session and plays it. */
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
      if (this.isStopped) return;
      const error = hubError(cause);
      if (PASSING.has(error.reason)) this.again(error.reason, error.message);
      else this.finish("failed", error.reason, error.message);
      return;
    }
    // Closed while it was being opened: the session must not stay behind.
    if (this.isStopped) return this.closeSession();
    this.planRenewal();
    await this.connect();
  }

  /** Ends it here and on record. */
  close(): void {
    this.stopped.abort();
    // The session takes its connections with it.
    this.player?.close({ quietly: true });
    this.tearDown();
    this.closeSession();
  }

  private get isStopped(): boolean {
    return this.stopped.signal.aborted;
  }

  private closeSession(): void {
    const sessionId = this.session?.id;
    this.session = undefined;
    if (sessionId) void closing.closeSession({ sessionId }).catch(() => undefined);
  }

  private async connect(): Promise<void> {
    this.tearDownMedia();
    this.view.phase = this.hadPicture ? "reconnecting" : "connecting";
    const player = new WhepPlayer(this.video, {
      onConnected: () => this.watchFigures(player),
      onLost: () => void this.lost(),
    });
    this.player = player;
    this.freshness = new Freshness(
      this.video,
      (seconds) => this.onAge(seconds),
      () => this.onPicture(),
    );
    try {
      await player.play(this.whepUrl, this.ticket, this.stopped.signal);
      if (player === this.player) this.freshness.start();
    } catch (cause) {
      if (this.isStopped || player !== this.player) return;
      const error = cause instanceof WhepError ? cause : new WhepError(0, "MEDIA_BLOCKED", String(cause), 2);
      if (error.status === 401) return void this.lost();
      if (!PASSING.has(error.reason)) return this.finish("failed", error.reason, error.message);
      this.again(error.reason, error.message, error.retryAfter);
    }
  }

  private onPicture(): void {
    this.hadPicture = true;
    this.pause = SHORTEST_PAUSE;
    if (this.view.phase !== "live") Object.assign(this.view, { phase: "live", reason: "", detail: "" });
    if (this.view.frozenSeconds) this.view.frozenSeconds = 0;
  }

  private onAge(seconds: number): void {
    if (this.view.phase === "live") {
      this.view.frozenSeconds = seconds;
      // Neither pictures nor the catalogue: it is the hub that is gone, which WebRTC takes long to notice.
      if (seconds && !status.isConnected) void this.lost();
    } else if (seconds >= FIRST_PICTURE_S) this.again("MEDIA_BLOCKED", "");
  }

  private watchFigures(player: WhepPlayer): void {
    let before: Look | undefined;
    clearInterval(this.looks);
    this.looks = setInterval(async () => {
      const now = await player.look();
      if (player !== this.player) return;
      this.view.figures = before && now ? figures(before, now) : undefined;
      before = now;
    }, LOOK_EVERY);
  }

  /** Media broke off: because the session ended, or because the way there did. */
  private async lost(): Promise<void> {
    if (this.isStopped || !this.session) return;
    this.view.phase = this.hadPicture ? "reconnecting" : "connecting";
    try {
      const end = await this.endReason();
      if (this.isStopped) return;
      if (end) return this.ended(end, "");
    } catch (cause) {
      if (this.isStopped) return;
      const error = hubError(cause);
      return this.again(error.reason, error.message);
    }
    this.again(this.hadPicture ? "" : "MEDIA_BLOCKED", "");
  }

  /** What stands on record as the end of this session; empty while it has none. */
  private async endReason(): Promise<string> {
    const id = this.session?.id;
    const found = await call(() =>
      sessions.listSessions({ cameraId: this.cameraId, includeEnded: true, pageSize: 100 }),
    );
    return found.sessions.find((session) => session.id === id)?.endReason ?? "";
  }

  private ended(reason: string, detail: string): void {
    if (!REOPENED.has(reason)) return this.finish("ended", reason, detail);
    this.session = undefined;
    // It answers, so it is back.
    this.pause = SHORTEST_PAUSE;
    this.again(reason, detail);
  }

  private again(reason: string, detail: string, retryAfter = 0): void {
    this.tearDown();
    Object.assign(this.view, { phase: "reconnecting", reason, detail });
    const wait = Math.max(retryAfter * 1000, this.pause * (0.75 + Math.random() / 2));
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
    this.retry = setTimeout(() => void (this.session ? this.renewAndConnect() : this.start()), wait);
  }

  /** A ticket is good for its first use within a minute: a new connection wants a new one. */
  private async renewAndConnect(): Promise<void> {
    const error = await this.renew();
    if (this.isStopped) return;
    if (!error) await this.connect();
    else if (PASSING.has(error.reason)) this.again(error.reason, error.message);
    else await this.refused(error);
  }

  private async renew(): Promise<HubError | undefined> {
    const sessionId = this.session?.id ?? "";
    try {
      const renewed = await call(() => sessions.renewSession({ sessionId }));
      if (this.session?.id !== sessionId) return undefined;
      this.session = renewed.session;
      this.ticket = renewed.ticket;
      this.planRenewal();
      return undefined;
    } catch (cause) {
      return hubError(cause);
    }
  }

  /** The hub renews the session no more: what ended it stands on record. */
  private async refused(error: HubError): Promise<void> {
    const end = await this.endReason().catch(() => "");
    if (!this.isStopped) this.ended(end || error.reason, end ? "" : error.message);
  }

  private planRenewal(): void {
    clearTimeout(this.renewal);
    const expires = this.session?.expireTime;
    if (expires) this.renewIn((timestampMs(expires) - Date.now()) / 2);
  }

  private renewIn(milliseconds: number): void {
    this.renewal = setTimeout(async () => {
      const error = await this.renew();
      if (!error || this.isStopped || !this.session) return;
      // The picture goes on: there is time for more tries until the session expires.
      if (PASSING.has(error.reason)) this.renewIn(LONGEST_PAUSE);
      else await this.refused(error);
    }, Math.max(1_000, milliseconds));
  }

  private finish(phase: Phase, reason: string, detail: string): void {
    this.tearDown();
    this.session = undefined;
    Object.assign(this.view, { phase, reason, detail });
  }

  private tearDown(): void {
    clearTimeout(this.renewal);
    clearTimeout(this.retry);
    this.tearDownMedia();
  }

  private tearDownMedia(): void {
    clearInterval(this.looks);
    this.freshness?.stop();
    this.player?.close();
    this.player = undefined;
    Object.assign(this.view, { frozenSeconds: 0, figures: undefined });
  }
}

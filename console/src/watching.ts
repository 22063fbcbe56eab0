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
import { MsePlayer } from "./player/mse";
import { PlayError, type Player, type PlayerEvents, type Told, type Way } from "./player/player";
import { Ways, abilities } from "./player/ways";
import { WhepPlayer } from "./player/whep";

export type Phase = "opening" | "connecting" | "live" | "reconnecting" | "ended" | "failed";

export interface Purpose {
  kind: string;
  reference: string;
  note: string;
}

/** What is seen, and why so. */
export interface Showing extends Told {
  way: Way;
  /** Why this way; empty for the usual one. */
  why: string;
}

/** Pauses between two attempts, in milliseconds. */
const SHORTEST_PAUSE = 500;
const LONGEST_PAUSE = 5_000;
const LOOK_EVERY = 1_000;
/** Milliseconds between two renewals that say something about the end. */
const LEAST_ELAPSED = 1_000;
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
  "MESSAGE_TIMEOUT",
  "READER_STALLED",
  "VIEWER_SILENT",
  "LINK_DOWN",
  "LINK_TIMEOUT",
  "LINK_NO_MEDIA",
  "LINK_MEDIA_UNREACHABLE",
  "STREAM_LOST",
  "LIMIT_CONNECTIONS",
  "LIMIT_CONNECTIONS_PER_ADDRESS",
]);
const ways = new Ways(abilities());
/** The hub's doing, not a decision: the same purpose opens a new session, on record like the first. */
const REOPENED = new Set(["SESSION_LOST", "HUB_DRAINING", "HUB_STOPPED", "LINK_DOWN", "LINK_LEASE_EXPIRED"]);

/** Sessions that are being closed. */
const goodbyes = new Set<Promise<void>>();
const GOODBYE_MS = 3_000;

/** Returns when every session that is being closed is, or after three seconds: a login that ends before them takes the
 * right to close them with it. */
export async function saidGoodbye(): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const patience = new Promise<void>((resolve) => (timer = setTimeout(resolve, GOODBYE_MS)));
  await Promise.race([Promise.all(goodbyes), patience]);
  clearTimeout(timer);
}

export class Watching {
  readonly view = shallowReactive({
    phase: "opening" as Phase,
    reason: "",
    detail: "",
    /** The hub that refused, where it was another. */
    by: "",
    watermark: "",
    frozenSeconds: 0,
    figures: undefined as Figures | undefined,
    showing: undefined as Showing | undefined,
    /** When it ends, in milliseconds since 1970, once the hub renews it no further: its grant ends then. */
    endsAt: undefined as number | undefined,
  });
  private session: Session | undefined;
  private urls: Record<Way, string> = { webrtc: "", mse: "" };
  private ticket = "";
  private player: Player | undefined;
  private freshness: Freshness | undefined;
  private renewal: ReturnType<typeof setTimeout> | undefined;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private looks: ReturnType<typeof setInterval> | undefined;
  private pause = SHORTEST_PAUSE;
  private hadPicture = false;
  private renewedAt = 0;
  /** The main stream was tried by WebSocket where WebRTC gave a lesser one. */
  private isBettered = false;
  private readonly stopped = new AbortController();

  constructor(
    readonly cameraId: string,
    readonly purpose: Purpose,
    private readonly video: HTMLVideoElement,
    readonly profile = StreamProfile.AUTO,
  ) {}

  /** Opens a session and plays it. */
  async start(): Promise<void> {
    try {
      const opened = await call(() =>
        sessions.openSession(
          { cameraId: this.cameraId, purpose: this.purpose, profile: this.profile },
          { signal: this.stopped.signal },
        ),
      );
      this.session = opened.session;
      this.renewedAt = Date.now();
      this.urls = { webrtc: opened.whepUrl, mse: opened.mseUrl };
      this.ticket = opened.ticket;
      this.view.watermark = opened.watermark;
    } catch (cause) {
      if (this.isStopped) return;
      const error = hubError(cause);
      if (PASSING.has(error.reason)) this.again(error.reason, error.message);
      else this.finish("failed", error.reason, error.message);
      this.view.by = error.hub;
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
    if (!sessionId) return;
    const goodbye = closing.closeSession({ sessionId }).then(
      () => undefined,
      () => undefined,
    );
    goodbyes.add(goodbye);
    void goodbye.then(() => goodbyes.delete(goodbye));
  }

  private connect(): Promise<void> {
    this.isBettered = false;
    const { way, why } = ways.first();
    return this.playBy(way, why);
  }

  /** Asks for the picture by one way, and by the other where that is of no use. `why`: why this way. */
  private async playBy(way: Way, why: string): Promise<void> {
    this.tearDownMedia();
    this.view.phase = this.hadPicture ? "reconnecting" : "connecting";
    let isConnected = false;
    const player = this.playerOf(way, {
      onConnected: () => {
        isConnected = true;
        this.watchFigures(player);
      },
      onLost: (reason) => void this.lost(reason, isConnected ? undefined : way),
      onTold: (told) => (this.view.showing = { way, why, ...told }),
    });
    this.player = player;
    this.freshness = new Freshness(
      this.video,
      (seconds) => this.onAge(seconds),
      () => this.onPicture(),
    );
    try {
      const told = await player.play(this.urls[way], this.ticket, this.stopped.signal);
      if (player !== this.player) return;
      if (!this.isBettered && ways.betters(way, told)) {
        this.isBettered = true;
        return await this.playBy("mse", "H265_BY_MSE");
      }
      this.view.showing = { way, why, ...told };
      this.freshness.start();
    } catch (cause) {
      if (this.isStopped || player !== this.player) return;
      const error = cause instanceof PlayError ? cause : new PlayError(0, "MEDIA_BLOCKED", String(cause), 2);
      if (error.status === 401) return void this.lost("");
      const other = ways.after(way, error.reason);
      if (other) return this.playBy(other, error.reason);
      if (why === "H265_BY_MSE") return this.playBy("webrtc", "");
      if (!PASSING.has(error.reason)) return this.finish("failed", error.reason, error.message);
      this.again(error.reason, error.message, error.retryAfter);
    }
  }

  private playerOf(way: Way, events: PlayerEvents): Player {
    return way === "webrtc" ? new WhepPlayer(this.video, events) : new MsePlayer(this.video, events, ways.can.mimes);
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
      if (seconds && !status.isConnected) void this.lost("");
    } else if (seconds >= FIRST_PICTURE_S) this.again("MEDIA_BLOCKED", "");
  }

  private watchFigures(player: Player): void {
    let before: Look | undefined;
    clearInterval(this.looks);
    this.looks = setInterval(async () => {
      const now = await player.look();
      if (player !== this.player) return;
      this.view.figures = before && now ? figures(before, now) : undefined;
      before = now;
    }, LOOK_EVERY);
  }

  /** Media broke off: because the session ended, or because the way there did. `failed`: the way that never came about. */
  private async lost(reason: string, failed?: Way): Promise<void> {
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
    const other = failed && ways.after(failed, "MEDIA_BLOCKED");
    if (other) {
      ways.blocked();
      return this.playBy(other, "MEDIA_BLOCKED");
    }
    this.again(PASSING.has(reason) ? reason : this.hadPicture ? "" : "MEDIA_BLOCKED", "");
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
    Object.assign(this.view, { phase: "reconnecting", reason, detail, by: "" });
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
      this.noteEnd(this.session, renewed.session);
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

  /** A renewal that put off the end by less than the time since the last one says when the grant ends. */
  private noteEnd(before: Session | undefined, now: Session | undefined): void {
    const elapsed = Date.now() - this.renewedAt;
    if (elapsed < LEAST_ELAPSED || !before?.expireTime || !now?.expireTime) return;
    this.renewedAt = Date.now();
    const gain = timestampMs(now.expireTime) - timestampMs(before.expireTime);
    this.view.endsAt = gain < elapsed / 2 ? timestampMs(now.expireTime) : undefined;
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
    Object.assign(this.view, { phase, reason, detail, by: "", endsAt: undefined });
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
    Object.assign(this.view, { frozenSeconds: 0, figures: undefined, showing: undefined });
  }
}

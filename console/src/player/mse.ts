// A player of fMP4 over WebSocket by Media Source Extensions: one connection, one picture.
import type { Look } from "./figures";
import { PlayError, told, type Player, type PlayerEvents, type Told } from "./player";

/** Longest wait for the hub's answer: it waits for the camera itself. In milliseconds. */
const ANSWER_PATIENCE = 25_000;
/** So many seconds behind the newest picture, playback jumps; it jumps to so many behind it. */
const MOST_BEHIND = 1.5;
const JUMP_TO = 0.25;
/** Seconds that were shown and are kept: the decoder may need them, nobody looks back. */
const KEPT = 5;
const TIDY_EVERY = 1_000;
/** Octets that wait for the decoder; past them the connection is given up, and a new one begins at the newest keyframe. */
const MOST_WAITING = 32 << 20;
/** The hub's own statuses begin here: 4000 and the HTTP status. */
const STATUS = 4000;

interface Answer {
  mime: string;
  profile: string;
  reason: string;
  audio: string;
}

export class MsePlayer implements Player {
  private socket: WebSocket | undefined;
  private source: MediaSource | undefined;
  private buffer: SourceBuffer | undefined;
  private readonly waiting: (ArrayBuffer | { mime: string })[] = [];
  private waitingBytes = 0;
  private bytes = 0;
  private codec = "";
  private isTold = false;
  private tidying: ReturnType<typeof setInterval> | undefined;

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly events: PlayerEvents,
    private readonly mimes: string[],
  ) {}

  async play(url: string, ticket: string, signal: AbortSignal): Promise<Told> {
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    const answer = await this.first(socket, ticket, signal);
    await this.open();
    if (socket !== this.socket) throw new PlayError(0, "HUB_UNREACHABLE", "", 2);
    this.begin(answer.mime);
    this.events.onConnected();
    return told(answer.profile, answer.reason, answer.audio);
  }

  async look(): Promise<Look | undefined> {
    if (!this.buffer) return undefined;
    const quality = this.video.getVideoPlaybackQuality();
    return {
      timestamp: performance.now(),
      width: this.video.videoWidth,
      height: this.video.videoHeight,
      codec: this.codec,
      bytes: this.bytes,
      frames: quality.totalVideoFrames - quality.droppedVideoFrames,
      lost: undefined,
    };
  }

  close(): void {
    this.end();
  }

  /** Shows the ticket and waits for the hub's word on what comes. */
  private first(socket: WebSocket, ticket: string, signal: AbortSignal): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const patience = setTimeout(() => fail(new PlayError(0, "HUB_UNREACHABLE", "", 2)), ANSWER_PATIENCE);
      // A view outlives many connections: each lets go of its signal.
      const settled = new AbortController();
      const settle = (): void => {
        clearTimeout(patience);
        settled.abort();
      };
      const fail = (error: unknown): void => {
        settle();
        if (socket === this.socket) this.end();
        reject(error);
      };
      signal.addEventListener("abort", () => fail(signal.reason), { signal: settled.signal });
      socket.onopen = () => socket.send(JSON.stringify({ ticket, mimes: this.mimes }));
      socket.onclose = ({ code, reason }) => fail(refusal(code, reason));
      socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
        if (typeof data !== "string") return this.take(socket, data);
        if (this.isTold) return this.retold(data);
        settle();
        socket.onclose = (event) => this.lost(socket, event.reason);
        const answer = JSON.parse(data) as Answer;
        this.isTold = true;
        resolve(answer);
      };
    });
  }

  /** Another codec in mid-stream. */
  private retold(data: string): void {
    const answer = JSON.parse(data) as Answer;
    this.waiting.push({ mime: answer.mime });
    this.pump();
    this.events.onTold?.(told(answer.profile, answer.reason, answer.audio));
  }

  private async open(): Promise<void> {
    const source = new MediaSource();
    this.source = source;
    this.video.src = URL.createObjectURL(source);
    await new Promise((opened) => source.addEventListener("sourceopen", opened, { once: true }));
    URL.revokeObjectURL(this.video.src);
  }

  private begin(mime: string): void {
    const source = this.source!;
    try {
      this.buffer = source.addSourceBuffer(mime);
    } catch (cause) {
      this.end();
      throw new PlayError(406, "CODEC_NOT_OFFERED", String(cause));
    }
    source.duration = Infinity;
    this.named(mime);
    this.buffer.addEventListener("updateend", () => this.pump());
    this.tidying = setInterval(() => this.tidy(), TIDY_EVERY);
    this.pump();
  }

  /** "H264" of `video/mp4; codecs="avc1.64001f,mp4a.40.2"`, as WebRTC's statistics have it. */
  private named(mime: string): void {
    this.codec = mime.includes("hvc1") ? "H265" : "H264";
  }

  private take(socket: WebSocket, data: ArrayBuffer): void {
    if (socket !== this.socket) return;
    this.bytes += data.byteLength;
    this.waitingBytes += data.byteLength;
    this.waiting.push(data);
    if (this.waitingBytes > MOST_WAITING) this.lost(socket, "");
    else this.pump();
  }

  /** Hands the decoder what waits; one piece at a time is all it takes. */
  private pump(): void {
    const { buffer, source, socket } = this;
    if (!buffer || !socket || buffer.updating || source?.readyState !== "open") return;
    // Once the pictures since the last keyframe are in, the newest is jumped to, and not before.
    if (this.waiting.length <= 1) this.follow();
    const next = this.waiting.shift();
    if (next === undefined) return;
    try {
      if (next instanceof ArrayBuffer) {
        this.waitingBytes -= next.byteLength;
        buffer.appendBuffer(next);
      } else {
        buffer.changeType(next.mime);
        this.named(next.mime);
        this.pump();
      }
    } catch {
      // What the browser refuses to take, it has no room for or can't read: a new connection begins at a keyframe.
      this.lost(socket, "");
    }
  }

  /** Keeps at the newest picture: jumps where it is too far behind, or stands before a gap. */
  private follow(): void {
    const { video, buffer } = this;
    const buffered = buffer!.buffered;
    const last = buffered.length - 1;
    if (last < 0) return;
    const end = buffered.end(last);
    const start = buffered.start(last);
    if (end - video.currentTime > MOST_BEHIND || video.currentTime < start) {
      video.currentTime = Math.max(start, end - JUMP_TO);
    }
    if (video.paused) void video.play().catch(() => undefined);
  }

  /** Lets go of what was shown: memory is bounded whatever the browser keeps by itself. */
  private tidy(): void {
    const { video, buffer, socket } = this;
    if (video.error && socket) return this.lost(socket, "");
    if (!buffer || buffer.updating || !buffer.buffered.length) return;
    const before = video.currentTime - KEPT;
    if (buffer.buffered.start(0) < before - KEPT) buffer.remove(0, before);
  }

  private lost(socket: WebSocket, reason: string): void {
    if (socket !== this.socket) return;
    this.end();
    this.events.onLost(reason);
  }

  private end(): void {
    clearInterval(this.tidying);
    const { socket, source } = this;
    this.socket = this.source = this.buffer = undefined;
    this.waiting.length = this.waitingBytes = 0;
    socket?.close();
    if (source) {
      this.video.removeAttribute("src");
      this.video.load();
    }
  }
}

/** What a closing status says. Below the hub's own, the connection did not come about or broke. */
function refusal(code: number, reason: string): PlayError {
  if (code < STATUS) return new PlayError(0, reason || "HUB_UNREACHABLE", "", 2);
  const status = code - STATUS;
  return new PlayError(status, reason, "", status === 503 || status === 429 ? 2 : 0);
}

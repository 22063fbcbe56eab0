// Tells how long ago the last new picture came: a frozen picture must never look alive.

/** Seconds without a new picture after which it counts as frozen. */
export const FROZEN_AFTER_S = 3;

/**
 * Ticks of the 90 kHz clock by which a new picture is later than the one before. A hub that is asked for a keyframe
 * while the camera is silent sends the last pictures again, one tick apart each: they are old all the same.
 */
const STEP = 450;

export class Freshness {
  private last = 0;
  private lastTimestamp: number | undefined;
  private timer: ReturnType<typeof setInterval> | undefined;

  constructor(
    private readonly video: HTMLVideoElement,
    /** Called once a second with the seconds since the last picture (or the start), 0 while it moves. */
    private readonly onAge: (seconds: number) => void,
    private readonly onPicture: () => void,
    private readonly now: () => number = () => performance.now(),
  ) {}

  start(): void {
    this.last = this.now();
    this.timer = setInterval(() => this.check(), 1000);
    this.listen();
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  private listen(): void {
    this.video.requestVideoFrameCallback((_now, { rtpTimestamp }) => {
      if (this.timer === undefined) return;
      if (this.isNew(rtpTimestamp)) {
        this.lastTimestamp = rtpTimestamp;
        this.last = this.now();
        this.onPicture();
      }
      this.listen();
    });
  }

  /** Timestamps wrap at 32 bits; browsers that give none are believed. */
  private isNew(timestamp: number | undefined): boolean {
    if (timestamp === undefined || this.lastTimestamp === undefined) return true;
    return (timestamp - this.lastTimestamp) >>> 0 >= STEP;
  }

  private check(): void {
    // A page in the background paints nothing: that says nothing about the camera.
    if (document.hidden) this.last = this.now();
    const seconds = Math.floor((this.now() - this.last) / 1000);
    this.onAge(seconds >= FROZEN_AFTER_S ? seconds : 0);
  }
}

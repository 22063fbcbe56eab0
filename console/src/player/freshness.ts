// Tells how long ago the last new picture came: a frozen picture must never look alive.

/** Seconds without a new picture after which it counts as frozen. */
export const FROZEN_AFTER_S = 3;

export class Freshness {
  private last = 0;
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
    this.video.requestVideoFrameCallback(() => {
      if (this.timer === undefined) return;
      this.last = this.now();
      this.onPicture();
      this.listen();
    });
  }

  private check(): void {
    // A page in the background paints nothing: that says nothing about the camera.
    if (document.hidden) this.last = this.now();
    const seconds = Math.floor((this.now() - this.last) / 1000);
    this.onAge(seconds >= FROZEN_AFTER_S ? seconds : 0);
  }
}

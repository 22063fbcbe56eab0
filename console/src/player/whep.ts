// A WHEP player (draft-ietf-wish-whep): one peer connection, one picture. It knows nothing of cameras or grants.
import { look, type Look } from "./figures";
import { PlayError, told, type Player, type PlayerEvents, type Told } from "./player";

/** Longest wait for media after the answer, in milliseconds: where no port is reachable there are other ways. */
const MEDIA_PATIENCE = 4_000;
/** The browser calls a connection disconnected after seconds of silence; so much longer it may come back. */
const SILENCE_PATIENCE = 2_000;

export class WhepPlayer implements Player {
  private peer: RTCPeerConnection | undefined;
  private resource = "";
  private ticket = "";
  private patience: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly events: PlayerEvents,
  ) {}

  /** Offers to receive video and sound, and plays what is answered. */
  async play(url: string, ticket: string, signal: AbortSignal): Promise<Told> {
    const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.peer = peer;
    this.ticket = ticket;
    peer.addTransceiver("video", { direction: "recvonly" });
    peer.addTransceiver("audio", { direction: "recvonly" });
    const media = new MediaStream();
    peer.ontrack = ({ track }) => {
      media.addTrack(track);
      this.video.srcObject = media;
    };
    peer.onconnectionstatechange = () => this.onState(peer);
    await peer.setLocalDescription(await peer.createOffer());
    const answer = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/sdp", Authorization: `Bearer ${ticket}` },
      body: peer.localDescription!.sdp,
      signal,
      credentials: "omit",
    }).catch((cause: unknown) => {
      if (signal.aborted) throw cause;
      throw new PlayError(0, "HUB_UNREACHABLE", String(cause), 2);
    });
    if (answer.status !== 201) throw await problem(answer);
    this.resource = new URL(answer.headers.get("Location") ?? "", url).href;
    await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
    const { headers } = answer;
    const said = told(
      headers.get("X-Vidhub-Profile") ?? "",
      headers.get("X-Vidhub-Reason") ?? "",
      headers.get("X-Vidhub-Audio") ?? "",
    );
    if (peer !== this.peer) {
      this.leave();
      return said;
    }
    // The hub ends a session by closing DTLS; the connection's own state follows seconds later only.
    for (const { transport } of peer.getReceivers()) {
      transport?.addEventListener("statechange", () => {
        if (transport.state === "closed" || transport.state === "failed") this.lost(peer);
      });
    }
    this.wait(MEDIA_PATIENCE, peer);
    void this.video.play().catch(() => undefined);
    return said;
  }

  async look(): Promise<Look | undefined> {
    return this.peer && look((await this.peer.getStats()) as unknown as Map<string, unknown>);
  }

  close({ quietly = false } = {}): void {
    this.end();
    if (quietly) this.resource = "";
    this.leave();
  }

  private onState(peer: RTCPeerConnection): void {
    if (peer !== this.peer) return;
    switch (peer.connectionState) {
      case "connected":
        clearTimeout(this.patience);
        this.events.onConnected();
        break;
      case "disconnected":
        this.wait(SILENCE_PATIENCE, peer);
        break;
      case "failed":
      case "closed":
        this.lost(peer);
        break;
    }
  }

  private wait(milliseconds: number, peer: RTCPeerConnection): void {
    clearTimeout(this.patience);
    this.patience = setTimeout(() => this.lost(peer), milliseconds);
  }

  private lost(peer: RTCPeerConnection): void {
    if (peer !== this.peer) return;
    this.end();
    this.resource = "";
    this.events.onLost("");
  }

  private end(): void {
    clearTimeout(this.patience);
    const peer = this.peer;
    this.peer = undefined;
    peer?.close();
    this.video.srcObject = null;
  }

  private leave(): void {
    if (!this.resource) return;
    void fetch(this.resource, {
      method: "DELETE",
      headers: { Authorization: `Bearer ${this.ticket}` },
      keepalive: true,
      credentials: "omit",
    }).catch(() => undefined);
    this.resource = "";
  }
}

async function problem(answer: Response): Promise<PlayError> {
  const body: { reason?: string; detail?: string } = await answer.json().catch(() => ({}));
  const retryAfter = Number(answer.headers.get("Retry-After") ?? 0) || 0;
  return new PlayError(answer.status, body.reason ?? `HTTP_${answer.status}`, body.detail ?? "", retryAfter);
}

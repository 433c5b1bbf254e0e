/** The frames of proto/shop/v1/peers.proto as they are read and written. */

/** Each frame costs little; each message costs a turn through HTTP/2. Far enough below what a message may hold. */
const MESSAGE_BYTES_WISHED = 256 * 1024;
/** Calls of one stream at once: beyond it a node reads nothing more until half of them have ended. Well above the mailboxes' batches. */
export const IN_FLIGHT_MAX = 1_000;
/** A stream that has this much to send does not keep up. */
const UNSENT_BYTES_MAX = 1024 * 1024;

export interface Frames<Frame> {
  frames: Frame[];
}

/** Collects the frames of one turn of the event loop and writes them as one message. Keeps their order. */
export class FrameWriter<Frame> {
  readonly #stream: { write(message: Frames<Frame>, taken: () => void): unknown };
  readonly #onTaken: () => void;
  #frames: Frame[] = [];
  #bytes = 0;
  #unsentBytes = 0;

  /** `onTaken` is called whenever the connection has taken a message. */
  constructor(
    stream: { write(message: Frames<Frame>, taken: () => void): unknown },
    onTaken: () => void = () => undefined,
  ) {
    this.#stream = stream;
    this.#onTaken = onTaken;
  }

  get isFull(): boolean {
    return this.#unsentBytes >= UNSENT_BYTES_MAX;
  }

  write(frame: Frame, bytes: number): void {
    if (this.#frames.length > 0 && this.#bytes + bytes > MESSAGE_BYTES_WISHED) this.flush();
    // After all that is ready in this turn has run, and before anything else comes in.
    if (this.#frames.length === 0) process.nextTick(() => this.flush());
    this.#frames.push(frame);
    this.#bytes += bytes;
    this.#unsentBytes += bytes;
  }

  flush(): void {
    if (this.#frames.length === 0) return;
    const bytes = this.#bytes;
    const frames = this.#frames;
    this.#frames = [];
    this.#bytes = 0;
    this.#stream.write({ frames }, () => {
      this.#unsentBytes -= bytes;
      this.#onTaken();
    });
  }
}

export interface PeerCall {
  seq: number;
  call?: {
    action: string;
    params: Buffer;
    meta: Buffer;
    id: string;
    requestId: string;
    parentId: string;
    caller: string;
    level: number;
    timeoutMs: number;
    nodeId: string;
    tracing: boolean;
    headers: Buffer | undefined;
    packs: boolean;
  };
  cancel?: number;
  ping?: boolean;
}

export interface PeerAnswer {
  seq: number;
  result?: Buffer;
  error?: Buffer;
  /** This call was not begun. */
  refused?: boolean;
  /** Answers a ping. */
  echo?: boolean;
  meta?: Buffer;
}

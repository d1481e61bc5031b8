import { ProtocolViolation } from './pg-error.ts';
import { HEADER_BAD, HEADER_INCOMPLETE, HeaderScanner } from './scanner.ts';

/** Whoever currently takes a connection's bytes. Returns the position behind the last byte it consumed. */
export interface ByteReader {
  feed(chunk: Buffer, start: number, end: number): number;
}

/**
 * Gathers whole messages on the cold paths (logins, our own queries, unasked messages, the console). Bodies of types that
 * `wants` declines are skipped, however large; those it wants are capped.
 */
export class FramedReader implements ByteReader {
  readonly #scanner = new HeaderScanner();
  readonly #maxBodyBytes: number;
  readonly #wants: (type: number) => boolean;
  /** False: stop here, the owner has changed its reader. `body` is valid for the call. */
  readonly #onMessage: (type: number, body: Buffer) => boolean;
  #body: Buffer | null = null;
  #have = 0;

  constructor(
    maxBodyBytes: number,
    wants: (type: number) => boolean,
    onMessage: (type: number, body: Buffer) => boolean,
  ) {
    this.#maxBodyBytes = maxBodyBytes;
    this.#wants = wants;
    this.#onMessage = onMessage;
  }

  /** Throws ProtocolViolation on a bad header or a message over the cap. */
  feed(chunk: Buffer, start: number, end: number): number {
    const scanner = this.#scanner;
    let pos = start;
    while (pos < end || this.#isComplete()) {
      if (this.#isComplete()) {
        if (!this.#deliver()) return pos;
        continue;
      }
      if (scanner.bodyLeft === 0) {
        const body = scanner.readHeader(chunk, pos, end);
        if (body === HEADER_INCOMPLETE) return end;
        if (body === HEADER_BAD) throw new ProtocolViolation('bad pkt header');
        pos = body;
        if (this.#wants(scanner.type)) {
          if (scanner.bodyLeft > this.#maxBodyBytes) throw new ProtocolViolation('bad pkt header');
          this.#body = Buffer.allocUnsafe(scanner.bodyLeft);
          this.#have = 0;
        }
        continue;
      }
      const stop = Math.min(end, pos + scanner.bodyLeft);
      if (this.#body !== null) this.#have += chunk.copy(this.#body, this.#have, pos, stop);
      scanner.bodyLeft -= stop - pos;
      pos = stop;
    }
    return pos;
  }

  #isComplete(): boolean {
    return this.#body !== null && this.#have === this.#body.length;
  }

  #deliver(): boolean {
    const body = this.#body as Buffer;
    this.#body = null;
    return this.#onMessage(this.#scanner.type, body);
  }
}

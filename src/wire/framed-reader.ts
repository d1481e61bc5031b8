import { HEADER_BYTES } from './codes.ts';
import { ProtocolViolation } from './pg-error.ts';
import { HEADER_BAD, HEADER_INCOMPLETE, HeaderScanner } from './scanner.ts';

/** Whoever currently takes a connection's bytes. Returns the position behind the last byte it consumed. */
export interface ByteReader {
  feed(chunk: Buffer, start: number, end: number): number;
}

/** Takes bytes that nobody needs any more. */
export const DISCARD: ByteReader = { feed: (_chunk, _start, end) => end };

/**
 * Gathers whole messages on the cold paths (logins, our own queries, unasked messages, the console). Bodies of
 * types that `wants` declines are skipped, however large; those it wants are capped. `badHeaderText` words the
 * ProtocolViolation for a length that is out of bounds or over the cap; servers' reads `bad pkt header`.
 */
export class FramedReader implements ByteReader {
  readonly #scanner = new HeaderScanner();
  readonly #maxBodyBytes: number;
  readonly #wants: (type: number) => boolean;
  /** False: stop here, the owner has changed its reader. `body` is valid for the call. */
  readonly #onMessage: (type: number, body: Buffer) => boolean;
  readonly #badHeaderText: (headerHex: string) => string;
  #body: Buffer | null = null;
  #have = 0;

  constructor(
    maxBodyBytes: number,
    wants: (type: number) => boolean,
    onMessage: (type: number, body: Buffer) => boolean,
    badHeaderText: (headerHex: string) => string = () => 'bad pkt header',
  ) {
    this.#maxBodyBytes = maxBodyBytes;
    this.#wants = wants;
    this.#onMessage = onMessage;
    this.#badHeaderText = badHeaderText;
  }

  /** No message is half read: another reader may take the next byte. */
  get atBoundary(): boolean {
    return this.#scanner.atBoundary;
  }

  /** Throws ProtocolViolation on a bad header or a message over the cap: nothing may be fed after that. */
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
        if (body === HEADER_BAD) throw this.#badHeader();
        pos = body;
        if (this.#wants(scanner.type)) {
          if (scanner.bodyLeft > this.#maxBodyBytes) throw this.#badHeader();
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

  #badHeader(): ProtocolViolation {
    const header = Buffer.alloc(HEADER_BYTES, this.#scanner.type);
    header.writeInt32BE(this.#scanner.length, 1);
    return new ProtocolViolation(this.#badHeaderText(header.toString('hex')));
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

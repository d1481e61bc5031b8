import { HEADER_BYTES } from './codes.ts';

/** {@link HeaderScanner.readHeader}: the chunk ended inside the header; its bytes are kept. */
export const HEADER_INCOMPLETE = -1;
/** {@link HeaderScanner.readHeader}: the length is below 4 or above the cap. Close; never resync. */
export const HEADER_BAD = -2;

/** A message whose bytes, the type byte with them, a signed Int32 still counts. */
const MAX_LENGTH = 0x7fff_fffe;

/**
 * Finds message headers in a byte stream that arrives in chunks cut anywhere. One object per direction of a
 * connection, with plain number fields; it never needs a whole message, so a 1 GB row costs no memory.
 *
 * The caller alternates: while `bodyLeft > 0` it consumes body bytes and lowers `bodyLeft`; at 0 it calls
 * {@link readHeader}. `type`, `length` and `isSplit` hold until the next successful call (flyweight).
 *
 * ```
 *  chunk:  ....body of A | T len(4) | body of B ..........
 *                        ^ pos      ^ returned
 * ```
 */
export class HeaderScanner {
  /** Type byte of the current message. */
  type = 0;
  /** Its Int32 length as on the wire: counts itself, not the type byte. */
  length = 0;
  /** Bytes of its body that the caller has not consumed yet. */
  bodyLeft = 0;
  /** True when the header's first bytes came with an earlier chunk; all five then stand in `head`. */
  isSplit = false;
  /** With `isSplit`: how many of the five bytes came with earlier chunks. */
  earlyBytes = 0;
  /** Bytes of a header that is not complete yet (0..4), kept in `head`. */
  headHave = 0;
  #head: Buffer | null = null;
  /** Largest `length` accepted (`max_packet_size`). */
  maxLength: number;

  constructor(maxLength = MAX_LENGTH) {
    this.maxLength = Math.min(maxLength, MAX_LENGTH);
  }

  /** Made when it is needed: most connections never have a header that is cut. */
  get head(): Buffer {
    this.#head ??= Buffer.alloc(HEADER_BYTES);
    return this.#head;
  }

  /** True between two messages: no body bytes owed and no header begun. */
  get atBoundary(): boolean {
    return this.bodyLeft === 0 && this.headHave === 0;
  }

  /**
   * Reads the header that begins (or goes on) at `chunk[pos]`. Returns the position behind it,
   * {@link HEADER_INCOMPLETE} or {@link HEADER_BAD}.
   */
  readHeader(chunk: Buffer, pos: number, end: number): number {
    if (this.headHave === 0 && end - pos >= HEADER_BYTES) {
      this.type = chunk[pos] as number;
      this.length =
        ((chunk[pos + 1] as number) << 24) |
        ((chunk[pos + 2] as number) << 16) |
        ((chunk[pos + 3] as number) << 8) |
        (chunk[pos + 4] as number);
      this.isSplit = false;
      if (this.length < 4 || this.length > this.maxLength) {
        chunk.copy(this.head, 0, pos, pos + HEADER_BYTES);
        return HEADER_BAD;
      }
      this.bodyLeft = this.length - 4;
      return pos + HEADER_BYTES;
    }
    return this.#readSplit(chunk, pos, end);
  }

  /** The five header bytes as hex, for `bad packet header: '…'`. */
  headerHex(): string {
    return this.head.toString('hex');
  }

  /** Forgets a header that was read but not acted on: the caller keeps its bytes and will feed them again. */
  unread(): void {
    this.bodyLeft = 0;
    this.headHave = 0;
    this.isSplit = false;
  }

  #readSplit(chunk: Buffer, pos: number, end: number): number {
    let at = pos;
    const early = this.headHave;
    while (this.headHave < HEADER_BYTES && at < end) {
      this.head[this.headHave++] = chunk[at++] as number;
    }
    if (this.headHave < HEADER_BYTES) return HEADER_INCOMPLETE;
    this.headHave = 0;
    this.type = this.head[0] as number;
    this.length = this.head.readInt32BE(1);
    this.isSplit = true;
    this.earlyBytes = early;
    if (this.length < 4 || this.length > this.maxLength) return HEADER_BAD;
    this.bodyLeft = this.length - 4;
    return at;
  }
}

import { randomBytes } from 'node:crypto';
import { BackendType as B, HEADER_BYTES } from '../wire/codes.ts';
import type { ByteReader } from '../wire/framed-reader.ts';
import { ProtocolViolation } from '../wire/pg-error.ts';
import { HEADER_BAD, HEADER_INCOMPLETE, HeaderScanner } from '../wire/scanner.ts';
import { Writer } from '../wire/writer.ts';

/** A query whose answer cannot be mistaken for another's, not even for one that a client made up. */
export interface Fence {
  readonly sql: string;
  /** The RowDescription that begins its answer: one column whose name nobody could foresee. */
  readonly description: Buffer;
}

/** Type int4: OID and size. */
const INT4_OID = 23;
const INT4_BYTES = 4;

/** A fence for one use: clients can read a running one in `pg_stat_activity`. */
export function newFence(): Fence {
  const name = `pgweir_${randomBytes(16).toString('hex')}`;
  const description = new Writer(64)
    .begin(B.RowDescription)
    .int16(1)
    .cstring(name)
    .int32(0)
    .int16(0)
    .int32(INT4_OID)
    .int16(INT4_BYTES)
    .int32(-1)
    .int16(0)
    .end()
    .take();
  return { sql: `SELECT 1 AS ${name}`, description };
}

/**
 * Passes on what a server still answers to earlier requests, until the fence's answer begins. Its own
 * RowDescription is taken out; the rest of its answer is left to the reader that `reached` puts in charge. An error is
 * the fence's, and nobody else's: `failed` puts an end to the connection.
 *
 * ```
 *  chunk: | …answers owed… | T (fence's) | D C Z |
 *           ──▶ `owed`       dropped       ──▶ next reader
 * ```
 */
export class FenceReader implements ByteReader {
  readonly #description: Buffer;
  readonly #owed: ByteReader;
  readonly #reached: () => void;
  readonly #failed: () => void;
  readonly #scanner = new HeaderScanner();
  /** A RowDescription of the fence's length, as far as it has come. */
  #candidate: Buffer | null = null;
  #have = 0;

  /** `owed` has got all that can be an error. */
  constructor(fence: Fence, owed: ByteReader, reached: () => void, failed: () => void) {
    this.#description = fence.description;
    this.#owed = owed;
    this.#reached = reached;
    this.#failed = failed;
  }

  /** Same answers and errors as the reader of what is owed. */
  feed(chunk: Buffer, start: number, end: number): number {
    const scanner = this.#scanner;
    let pos = start;
    let run = start;
    while (pos < end) {
      if (this.#candidate !== null) {
        this.#have += chunk.copy(this.#candidate, this.#have, pos, end);
        const stop = Math.min(end, pos + scanner.bodyLeft);
        scanner.bodyLeft -= stop - pos;
        pos = stop;
        run = pos;
        if (scanner.bodyLeft > 0) return end;
        const message = this.#candidate;
        this.#candidate = null;
        if (message.equals(this.#description)) {
          this.#reached();
          return pos;
        }
        const passed = this.#owed.feed(message, 0, message.length);
        if (passed < 0) return passed;
        continue;
      }
      if (scanner.bodyLeft > 0) {
        const stop = Math.min(end, pos + scanner.bodyLeft);
        scanner.bodyLeft -= stop - pos;
        pos = stop;
        continue;
      }
      const body = scanner.readHeader(chunk, pos, end);
      const passed = run < pos ? this.#owed.feed(chunk, run, pos) : pos;
      if (passed < 0) return passed;
      // What is kept of a header until its rest comes has not been passed on.
      if (body === HEADER_INCOMPLETE) return end;
      if (body === HEADER_BAD) {
        const broken = this.#owed.feed(scanner.head, 0, HEADER_BYTES);
        if (broken < 0) return broken;
        throw new ProtocolViolation('bad pkt header');
      }
      if (scanner.type === B.ErrorResponse) {
        this.#failed();
        return end;
      }
      run = pos;
      if (scanner.type === B.RowDescription && scanner.length + 1 === this.#description.length) {
        this.#candidate = Buffer.allocUnsafe(this.#description.length);
        this.#have = HEADER_BYTES;
        if (scanner.isSplit) scanner.head.copy(this.#candidate);
        else chunk.copy(this.#candidate, 0, pos, body);
        run = body;
      } else if (scanner.isSplit) {
        const header = this.#owed.feed(Buffer.from(scanner.head), 0, HEADER_BYTES);
        if (header < 0) return header;
        run = body;
      }
      pos = body;
    }
    return run < pos ? this.#owed.feed(chunk, run, pos) : pos;
  }
}

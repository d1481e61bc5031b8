import { ProtocolViolation } from './pg-error.ts';

/**
 * Cursor over one whole message body. Every read is bounds-checked and throws {@link ProtocolViolation} when
 * the body is too short: bodies come from strangers.
 */
export class Reader {
  readonly #body: Buffer;
  #pos: number;
  readonly #end: number;

  /** Reads `body[start, end)`; the bytes are borrowed for the reader's life. */
  constructor(body: Buffer, start = 0, end: number = body.length) {
    this.#body = body;
    this.#pos = start;
    this.#end = end;
  }

  get remaining(): number {
    return this.#end - this.#pos;
  }

  byte(): number {
    this.#need(1);
    return this.#body[this.#pos++] as number;
  }

  int16(): number {
    this.#need(2);
    const value = this.#body.readInt16BE(this.#pos);
    this.#pos += 2;
    return value;
  }

  int32(): number {
    this.#need(4);
    const value = this.#body.readInt32BE(this.#pos);
    this.#pos += 4;
    return value;
  }

  /** Text up to the next zero byte, decoded as UTF-8 (a copy). */
  cstring(): string {
    const nul = this.#body.indexOf(0, this.#pos);
    if (nul < 0 || nul >= this.#end) throw new ProtocolViolation('string without terminator');
    const value = this.#body.toString('utf8', this.#pos, nul);
    this.#pos = nul + 1;
    return value;
  }

  /** A view of the next `length` bytes, valid as long as the body is. */
  bytes(length: number): Buffer {
    if (length < 0) throw new ProtocolViolation('negative length');
    this.#need(length);
    const view = this.#body.subarray(this.#pos, this.#pos + length);
    this.#pos += length;
    return view;
  }

  #need(length: number): void {
    if (this.#end - this.#pos < length) throw new ProtocolViolation('message body too short');
  }
}

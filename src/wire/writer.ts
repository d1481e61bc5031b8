/**
 * Builds protocol messages one behind the other in one growing buffer; lengths are back-patched.
 * Usage: `w.begin(type).int32(n).cstring(s).end()`, any number of times, then `take()`.
 */
export class Writer {
  #buffer: Buffer;
  #pos = 0;
  #lengthAt = -1;

  constructor(initialBytes = 256) {
    this.#buffer = Buffer.allocUnsafe(initialBytes);
  }

  /** Starts a message with a type byte. */
  begin(type: number): this {
    this.#room(5);
    this.#buffer[this.#pos++] = type;
    this.#lengthAt = this.#pos;
    this.#pos += 4;
    return this;
  }

  /** Starts a packet without a type byte (StartupMessage, SSLRequest, CancelRequest). */
  beginUntyped(): this {
    this.#room(4);
    this.#lengthAt = this.#pos;
    this.#pos += 4;
    return this;
  }

  byte(value: number): this {
    this.#room(1);
    this.#buffer[this.#pos++] = value;
    return this;
  }

  int16(value: number): this {
    this.#room(2);
    this.#pos = this.#buffer.writeInt16BE(value, this.#pos);
    return this;
  }

  int32(value: number): this {
    this.#room(4);
    this.#pos = this.#buffer.writeInt32BE(value, this.#pos);
    return this;
  }

  /** UTF-8 text and a zero byte. A zero inside the text would end it early for the peer: it is cut there. */
  cstring(value: string): this {
    const nul = value.indexOf('\0');
    const text = nul < 0 ? value : value.slice(0, nul);
    const bytes = Buffer.byteLength(text);
    this.#room(bytes + 1);
    this.#pos += this.#buffer.write(text, this.#pos, bytes, 'utf8');
    this.#buffer[this.#pos++] = 0;
    return this;
  }

  bytes(value: Uint8Array): this {
    this.#room(value.length);
    this.#buffer.set(value, this.#pos);
    this.#pos += value.length;
    return this;
  }

  /** Ends the message begun last: fills in its length. */
  end(): this {
    this.#buffer.writeInt32BE(this.#pos - this.#lengthAt, this.#lengthAt);
    this.#lengthAt = -1;
    return this;
  }

  /** All that was written, as the caller's own bytes; the writer is empty again. */
  take(): Buffer {
    const out = Buffer.from(this.#buffer.subarray(0, this.#pos));
    this.#pos = 0;
    return out;
  }

  #room(bytes: number): void {
    if (this.#pos + bytes <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#pos + bytes));
    this.#buffer.copy(grown, 0, 0, this.#pos);
    this.#buffer = grown;
  }
}

/** A message of `type` with this body, which is copied. */
export function framed(type: number, body: Buffer): Buffer {
  return new Writer(body.length + 5).begin(type).bytes(body).end().take();
}

/** More pieces than this are joined: what one costs beside its bytes is then bounded, too. */
const MAX_PIECES = 64;

/** Bytes that a client has sent and that nobody can take yet, in their order. */
export class HeldBytes {
  #pieces: Buffer[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Takes ownership of `bytes`. */
  push(bytes: Buffer): void {
    if (bytes.length === 0) return;
    // A client may send one byte at a time: many small pieces would cost a hundred times their bytes.
    if (this.#pieces.length >= MAX_PIECES) this.#pieces = [Buffer.concat(this.#pieces)];
    this.#pieces.push(bytes);
    this.#length += bytes.length;
  }

  /** All of them, which the caller owns; nothing is held then. */
  take(): Buffer {
    const [first] = this.#pieces;
    const all = first !== undefined && this.#pieces.length === 1 ? first : Buffer.concat(this.#pieces);
    this.clear();
    return all;
  }

  clear(): void {
    this.#pieces = [];
    this.#length = 0;
  }
}

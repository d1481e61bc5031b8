import { writeSync } from 'node:fs';

/** Waits of 1 ms each that one line may cost when the reader of a pipe does not keep up. */
const MAX_WAITS = 10;

const waitCell = new Int32Array(new SharedArrayBuffer(4));

/**
 * Writes whole lines to a file descriptor, at once and without throwing: what a full disk, a closed stderr or a
 * stuck reader does not take is dropped. It does not own the descriptor.
 */
export class LineSink {
  readonly #fd: number;
  #midLine = false;
  #stalled = false;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** `line` ends in a newline. False when it is lost, in whole or in part. */
  write(line: string): boolean {
    // After a cut line the next one must not be glued to its remains.
    const bytes = Buffer.from(this.#midLine ? `\n${line}` : line);
    let offset = 0;
    // A sink that just proved stuck gets no second wait: the event loop would stand still line after line.
    let waits = this.#stalled ? 0 : MAX_WAITS;
    while (offset < bytes.length) {
      try {
        offset += writeSync(this.#fd, bytes, offset);
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        if (code === 'EINTR') continue;
        if (code === 'EAGAIN' && waits > 0) {
          waits--;
          Atomics.wait(waitCell, 0, 0, 1);
          continue;
        }
        if (code === 'EAGAIN') this.#stalled = true;
        if (offset > 0) this.#midLine = bytes[offset - 1] !== 0x0a;
        return false;
      }
    }
    this.#midLine = false;
    this.#stalled = false;
    return true;
  }
}

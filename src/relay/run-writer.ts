import { allocPinned } from '../net/pinned.ts';
import type { Outlet } from './link.ts';

/**
 * Pieces that take turns with runs of a chunk are put together here, for one write. Shared by all connections of
 * the event loop: it is empty whenever no stream is being fed.
 */
const BUFFER = allocPinned(64 * 1024);

/** Writes runs of a borrowed chunk as they are, and what is put between them, in as few writes as there can be. */
export class RunWriter {
  /** Bytes written so far. */
  writtenBytes = 0;
  /** The outlet holds more than it should. */
  isCongested = false;
  #used = 0;
  #outlet: Outlet | null = null;

  /** Whose bytes these are; null drops them. Nothing may be left from before. */
  start(outlet: Outlet | null): void {
    this.#outlet = outlet;
  }

  /** `bytes[start, end)`, copied: something else comes before or behind it. */
  put(bytes: Buffer, start = 0, end = bytes.length): void {
    if (end - start > BUFFER.length - this.#used) {
      this.flush();
      if (end - start > BUFFER.length) {
        this.#send(bytes, start, end);
        return;
      }
    }
    bytes.copy(BUFFER, this.#used, start, end);
    this.#used += end - start;
  }

  /** A last run, `chunk[start, end)`, and all that was put ahead of it. */
  finish(chunk: Buffer, start: number, end: number): void {
    if (this.#used > 0) {
      if (end > start) this.put(chunk, start, end);
      this.flush();
    } else if (end > start) {
      this.#send(chunk, start, end);
    }
  }

  flush(): void {
    const used = this.#used;
    this.#used = 0;
    if (used > 0) this.#send(BUFFER, 0, used);
  }

  #send(bytes: Buffer, start: number, end: number): void {
    if (this.#outlet === null) return;
    this.writtenBytes += end - start;
    if (!this.#outlet.forward(bytes, start, end)) this.isCongested = true;
  }
}

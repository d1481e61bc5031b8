import type { Native } from './native.ts';
import type { ConnSocket } from './raw-socket.ts';
import type { Readiness } from './readiness.ts';
import { isPeerGone } from './socket-error.ts';
import type { TlsLayer } from './tls-layer.ts';
import type { BatchWriter } from './write-batch.ts';

/**
 * The half of a connection that writes: straight to the kernel, behind the turns of all that are ready together where that
 * is cheaper, and through the socket's queue from the moment that the kernel doesn't take all until that is empty.
 */
export abstract class ConnWrites implements BatchWriter {
  batched = -1;
  /** The event loop's; null without native calls and over TLS. */
  protected direct: Readiness | null = null;
  /** Descriptor for direct reads and writes; -1 while there is none (not connected yet, no native calls). */
  protected fd = -1;
  /** The socket may hold bytes that must go first. */
  protected mayQueue = true;
  /** `end` was called: nothing more may be written. */
  protected ended = false;
  /** What encrypts, where that is not the socket. */
  protected layer: TlsLayer | null = null;
  protected readonly native: Native | null;
  protected current: ConnSocket;

  protected constructor(socket: ConnSocket, native: Native | null) {
    this.current = socket;
    this.native = native;
  }

  abstract get isClosed(): boolean;
  /** Writes have shown that the peer is gone. True: its last words can still be read, and then its end. */
  protected abstract peerIsGone(): boolean;

  /** The socket itself, for the native calls and for addresses only. */
  get socket(): ConnSocket {
    return this.current;
  }

  /** Bytes that were written and that the kernel has not taken yet. */
  get pendingBytes(): number {
    this.settle();
    return this.current.writableLength;
  }

  /** True while more than the high-water mark waits for the peer. */
  get isCongested(): boolean {
    return this.mayQueue && this.current.writableNeedDrain;
  }

  /**
   * Sends bytes that the caller gives away: nobody may write to them any more. False asks the caller to stop
   * until `onDrain`. On a closed connection the bytes are dropped.
   */
  write(bytes: Buffer): boolean {
    if (this.current.destroyed || this.ended) return true;
    if (this.layer !== null) return this.layer.send(bytes, 0, bytes.length);
    const taken = this.#writeNow(bytes, 0, bytes.length);
    if (taken === bytes.length) return true;
    this.mayQueue = true;
    return this.current.write(taken === 0 ? bytes : bytes.subarray(taken));
  }

  /** Sends `chunk[start, end)` of a borrowed chunk; same answer as {@link write}. */
  forward(chunk: Buffer, start: number, end: number): boolean {
    if (this.current.destroyed || this.ended) return true;
    if (this.layer !== null) return this.layer.send(chunk, start, end);
    return this.#forward(chunk, start, end);
  }

  /** What `call` writes goes out by one call, where that is possible. */
  together(call: () => void): void {
    const writes = this.direct?.writes ?? null;
    if (writes === null || writes.isOpen) {
      call();
      return;
    }
    writes.begin();
    try {
      call();
    } finally {
      writes.end();
    }
  }

  tlsSealed(chunk: Buffer, end: number): boolean {
    return this.current.destroyed || this.ended || this.#forward(chunk, 0, end);
  }

  tlsFailed(error: Error): void {
    this.settle();
    this.current.destroy(error);
  }

  wroteLess(count: number, bytes: Buffer, start: number, end: number): void {
    const taken = this.#takenOf(count, start, end);
    if (taken === end - start) return;
    this.mayQueue = true;
    this.current.write(Buffer.from(bytes.subarray(start + taken, end)));
  }

  /** Cuts the connection now; buffered bytes are lost. */
  destroy(): void {
    this.settle();
    this.current.destroy();
  }

  /** Cuts the connection as soon as what was written (and `last`) has been taken by the kernel. */
  endAndDestroy(last?: Buffer): void {
    if (this.isClosed) return;
    if (!this.ended) this.writeLast(last);
    this.current.destroySoon();
  }

  /** Sends `last`, behind which nothing may be written. */
  protected writeLast(last: Buffer | undefined): void {
    this.settle();
    if (this.layer === null) {
      if (last !== undefined) this.current.write(last);
    } else {
      if (last !== undefined) this.layer.send(last, 0, last.length);
      this.layer.finish();
      this.settle();
    }
    this.ended = true;
  }

  /** What waits to be written with others' goes out: before anything else is done to the socket than to write. */
  protected settle(): void {
    if (this.batched >= 0) this.direct?.writes?.flush();
  }

  #forward(chunk: Buffer, start: number, end: number): boolean {
    const taken = this.#writeNow(chunk, start, end);
    if (taken === end - start) return true;
    this.mayQueue = true;
    return this.current.write(Buffer.from(chunk.subarray(start + taken, end)));
  }

  /**
   * Hands bytes to the kernel at once, or behind this turn; returns how many it took, 0 when they must queue. The caller has
   * checked that the socket isn't destroyed: only then is the descriptor still ours.
   */
  #writeNow(bytes: Buffer, start: number, end: number): number {
    if (this.fd < 0 || this.native === null) return 0;
    if (this.mayQueue) {
      if (this.current.writableLength > 0) return 0;
      this.mayQueue = false;
    }
    const writes = this.direct?.writes;
    if (writes?.isOpen === true) {
      if (writes.add(this, this.fd, bytes, start, end)) return end - start;
      // What waited of this connection has been written, and may have shown something.
      if (this.isClosed) return end - start;
      if (this.mayQueue) return 0;
    }
    return this.#takenOf(this.native.write(this.fd, bytes, start, end), start, end);
  }

  /** How much of `[start, end)` is not to be queued, by what the kernel has answered. */
  #takenOf(count: number, start: number, end: number): number {
    // A write of the socket's own would close the connection at once, over what the peer has said before it went.
    if (isPeerGone(count) && this.peerIsGone()) return end - start;
    // What the kernel refuses is queued; an error comes back from the socket's own write, where it is dealt with.
    return Math.max(0, count);
  }
}

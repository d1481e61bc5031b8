import type { Socket } from 'node:net';

/**
 * What a connection's owner hears. Calls come one at a time, never from inside a call to `Conn.write`.
 */
export interface ConnHandler {
  /** `chunk[0, end)` just arrived. The bytes are borrowed until the callback returns: copy what must outlive it. */
  onBytes(chunk: Buffer, end: number): void;
  /** The peer finished sending (FIN). Writing is still possible. */
  onEnd(): void;
  /** What was buffered for the peer is below the high-water mark again. */
  onDrain(): void;
  /** The socket is gone; the last call. `error` is the reason when it was not an orderly close. */
  onClosed(error: Error | null): void;
}

/**
 * One byte stream, client or server side: bytes in and out, back-pressure, no SQL. TLS will sit below this
 * interface. Whoever owns the connection sets `handler`, and sets another one when its own state changes.
 */
export class Conn {
  handler: ConnHandler;
  readonly #socket: Socket;
  #error: Error | null = null;
  #closed = false;
  #paused = false;
  /** Bytes that came out of the kernel. */
  bytesRead = 0;

  constructor(socket: Socket, handler: ConnHandler) {
    this.#socket = socket;
    this.handler = handler;
    socket.on('data', (chunk: Buffer) => {
      this.bytesRead += chunk.length;
      this.handler.onBytes(chunk, chunk.length);
    });
    socket.on('end', () => this.handler.onEnd());
    socket.on('drain', () => this.handler.onDrain());
    socket.on('error', (error: Error) => {
      this.#error = error;
    });
    socket.on('close', () => {
      this.#closed = true;
      this.handler.onClosed(this.#error);
    });
  }

  /** The socket itself, for the native calls and for addresses only. */
  get socket(): Socket {
    return this.#socket;
  }

  get isClosed(): boolean {
    return this.#closed || this.#socket.destroyed;
  }

  get isPaused(): boolean {
    return this.#paused;
  }

  /** Bytes accepted by `write` that the kernel has not taken yet. */
  get pendingBytes(): number {
    return this.#socket.writableLength;
  }

  /** True while more than the high-water mark waits for the peer. */
  get isCongested(): boolean {
    return this.#socket.writableNeedDrain;
  }

  /**
   * Sends bytes that the caller gives away: nobody may write to them any more. False asks the caller to stop
   * until `onDrain`. On a closed connection the bytes are dropped.
   */
  write(bytes: Buffer): boolean {
    if (this.isClosed || this.#socket.writableEnded) return true;
    return this.#socket.write(bytes);
  }

  /**
   * Sends `chunk[start, end)` of a borrowed chunk; same answer as {@link write}. Node hands out a fresh chunk
   * per read, so no copy is needed here; a reader with a reused buffer must copy what the kernel did not take.
   */
  forward(chunk: Buffer, start: number, end: number): boolean {
    if (this.isClosed || this.#socket.writableEnded) return true;
    if (start === 0 && end === chunk.length) return this.#socket.write(chunk);
    return this.#socket.write(chunk.subarray(start, end));
  }

  /** Stops reading. The peer's end is then not noticed until `resume`. */
  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket.resume();
  }

  /** Sends `last` and FIN, keeps reading; `onClosed` follows when the peer has finished too. */
  end(last?: Buffer): void {
    if (this.isClosed || this.#socket.writableEnded) return;
    if (last === undefined) this.#socket.end();
    else this.#socket.end(last);
  }

  /** Cuts the connection now; buffered bytes are lost. */
  destroy(): void {
    this.#socket.destroy();
  }

  /** Cuts the connection as soon as what was written (and `last`) has been taken by the kernel. */
  endAndDestroy(last?: Buffer): void {
    if (this.isClosed) return;
    const socket = this.#socket;
    if (last !== undefined && !socket.writableEnded) socket.write(last);
    socket.destroySoon();
  }
}

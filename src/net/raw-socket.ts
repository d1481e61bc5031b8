import { Socket } from 'node:net';
import { getDefaultHighWaterMark } from 'node:stream';
import type { SocketName } from './native-address.ts';
import { Interest } from './native-io.ts';
import type { Native, NativeTheme } from './native.ts';
import { allocPinned } from './pinned.ts';
import { Ahead } from './read-ahead.ts';
import { READ_BUFFER, type Reader, type Readiness, readinessOf } from './readiness.ts';
import { socketError } from './socket-error.ts';

/** What a connection stands on. */
export type ConnSocket = Socket | RawSocket;

/** A stream holds bytes that have come out of the kernel. */
export function hasUnread(socket: ConnSocket): boolean {
  return !(socket instanceof RawSocket) && socket.readableLength > 0;
}

/** What a {@link RawSocket}'s owner hears. Calls come one at a time, never from inside a call to the socket. */
export interface SocketOwner {
  /** `chunk[0, end)` just arrived: borrowed until the call returns. */
  socketBytes(chunk: Buffer, end: number): void;
  /** The peer finished sending. */
  socketEnded(): void;
  /** `write` has answered false, and nothing waits for the peer any more. */
  socketDrained(): void;
  /** It is gone; the last call. */
  socketClosed(error: Error | null): void;
}

/** As that of Node's sockets. */
const HIGH_WATER_MARK = getDefaultHighWaterMark(false);

/** Where small chunks that are queued come together, to be sent at once. */
const SEND_BUFFER = allocPinned(64 * 1024);

/** How many chunks a connection that has failed or ended gives away at a time. */
const READS_PER_HANGUP = 16;

/** Without one of these a connection is Node's. */
const NEEDED: readonly NativeTheme[] = ['io', 'listen', 'options', 'hangUp', 'credentials'];

/** What raw sockets are watched by; null where there are none. */
export function rawReadiness(native: Native): Readiness | null {
  return NEEDED.some((theme) => native.missing.has(theme)) ? null : readinessOf(native);
}

/**
 * A connected socket without Node's: a descriptor that was accepted, read and written by system calls, in as much memory
 * as that takes. It begins paused and half-open, and behaves as a `net.Socket` with `allowHalfOpen` does: back-pressure
 * with the same high-water mark, the same errors, closed by itself once both sides have finished.
 *
 * The descriptor is this object's alone, from the constructor until {@link destroy}, {@link release} or {@link toNodeSocket}, each of which
 * leaves -1 behind before it gives the number away: nothing here can reach a number that may be somebody else's.
 */
export class RawSocket implements Reader {
  /** Set before anything can be heard: while it is paused. Null: nobody listens. */
  owner: SocketOwner | null = null;
  /** Called once the connection is over, whatever socket it is on by then. */
  whenOver: (() => void) | null = null;
  readonly ahead = new Ahead();
  readonly #readiness: Readiness;
  readonly #peer: SocketName | null;
  #fd: number;
  /** What the set watches for; 0 = not in it. */
  #interest = 0;
  /** What the kernel had no room for, in order; null when that is nothing. */
  #queue: Buffer[] | null = null;
  #queuedBytes = 0;
  #needsDrain = false;
  #isReading = false;
  #hasPeerEnded = false;
  /** `end` was called. */
  #isEnding = false;
  /** FIN is sent. */
  #isFinished = false;
  #destroysSoon = false;
  #error: Error | null = null;

  /** Takes over a connected stream socket that doesn't block. `peer` as it was accepted. */
  constructor(readiness: Readiness, fd: number, peer: SocketName | null) {
    this.#readiness = readiness;
    this.#fd = fd;
    this.#peer = peer;
  }

  /** The descriptor; -1 once it is destroyed. */
  get fd(): number {
    return this.#fd;
  }

  get destroyed(): boolean {
    return this.#fd < 0;
  }

  /** It is connected from the beginning. */
  get connecting(): boolean {
    return false;
  }

  get remoteAddress(): string | undefined {
    return this.#peer?.ip;
  }

  get remotePort(): number | undefined {
    return this.#peer?.port;
  }

  get localAddress(): string | undefined {
    return this.#localName()?.ip;
  }

  get localPort(): number | undefined {
    return this.#localName()?.port;
  }

  /** Bytes that the kernel has not taken yet. */
  get writableLength(): number {
    return this.#queuedBytes;
  }

  /** `write` has answered false, and `socketDrained` is still to come. */
  get writableNeedDrain(): boolean {
    return this.#needsDrain && !this.#isEnding && this.#fd >= 0;
  }

  /** Begins to read, or goes on. */
  resume(): void {
    this.#isReading = true;
    this.#watch();
  }

  /** Stops reading. The peer's end is not noticed then. */
  pause(): void {
    this.#isReading = false;
    this.#watch();
  }

  /** Sends bytes that nobody may write to any more. False asks the caller to stop until `socketDrained`. */
  write(bytes: Buffer): boolean {
    if (this.#fd < 0 || this.#isEnding) return false;
    let taken = 0;
    if (this.#queue === null) {
      taken = this.#send(bytes, 0, bytes.length);
      if (taken === bytes.length) return true;
      if (this.#fd < 0) return false;
      this.#queue = [];
    }
    this.#queue.push(taken === 0 ? bytes : bytes.subarray(taken));
    this.#queuedBytes += bytes.length - taken;
    this.#watch();
    if (this.#queuedBytes < HIGH_WATER_MARK) return true;
    this.#needsDrain = true;
    return false;
  }

  /** Sends `last` and FIN. */
  end(last?: Buffer): void {
    if (this.#fd < 0 || this.#isEnding) return;
    if (last !== undefined) this.write(last);
    this.#isEnding = true;
    if (this.#fd >= 0 && this.#queue === null) this.#finish();
  }

  /** Closes it as soon as the kernel has what was written. */
  destroySoon(): void {
    this.#destroysSoon = true;
    if (this.#isFinished) this.destroy();
    else this.end();
  }

  /** Closes it now; what the kernel has not taken is lost. Its owner hears later. */
  destroy(error: Error | null = null): void {
    const fd = this.#fd;
    if (fd < 0) return;
    this.#error = error;
    this.#letGo(false);
    this.#readiness.close(fd);
    this.#readiness.soon(() => {
      this.whenOver?.();
      this.owner?.socketClosed(this.#error);
    });
  }

  /** Gives its descriptor away, of which nothing was read or written: this one is destroyed then, and says no more. */
  release(): number {
    const fd = this.#fd;
    this.owner = null;
    this.#letGo(true);
    return fd;
  }

  /**
   * Makes a socket of Node's of it, paused, which gets what is queued; this one is destroyed then, and says no more.
   * Throws what Node says against it: then it is as it was, but unwatched.
   */
  toNodeSocket(): Socket {
    this.#unwatch();
    // The option to begin paused is missing in the type declarations.
    const options = {
      fd: this.#fd,
      allowHalfOpen: true,
      pauseOnCreate: true,
      readable: true,
      writable: true,
    };
    const { native } = this.#readiness;
    native.spareAtEnd(this.#fd);
    let socket: Socket;
    try {
      socket = new Socket(options);
    } catch (error) {
      native.closeAtEnd(this.#fd);
      throw error;
    }
    if (this.whenOver !== null) socket.once('close', this.whenOver);
    const queue = this.#queue;
    this.owner = null;
    this.#letGo(true);
    if (queue !== null) for (const bytes of queue) socket.write(bytes);
    const unread = this.#readiness.takeAhead(this);
    if (unread !== null) socket.unshift(unread);
    return socket;
  }

  readable(): void {
    this.#read();
  }

  get mayRead(): boolean {
    return this.#isReading && !this.#hasPeerEnded && this.#fd >= 0;
  }

  took(chunk: Buffer, count: number): void {
    this.#take(chunk, count);
  }

  hungUp(): void {
    // Unread, it is known of its writes alone that it has failed.
    if (!this.#isReading) this.writable();
    else for (let i = 0; i < READS_PER_HANGUP && this.#read(); i++);
  }

  writable(): void {
    while (this.#queue !== null) if (!this.#sendQueued(this.#queue)) return;
    if (this.#fd < 0) return;
    this.#watch();
    if (this.#isEnding) {
      this.#finish();
      return;
    }
    if (!this.#needsDrain) return;
    this.#needsDrain = false;
    this.owner?.socketDrained();
  }

  #localName(): SocketName | null {
    return this.#fd < 0 ? null : this.#readiness.native.localName(this.#fd);
  }

  /** True when there may be more. */
  #read(): boolean {
    return this.mayRead && this.#take(READ_BUFFER, this.#readiness.receive(this, this.#fd, READ_BUFFER));
  }

  /** `count` as `receive` answers; true when there may be more. */
  #take(chunk: Buffer, count: number): boolean {
    if (count > 0) {
      this.owner?.socketBytes(chunk, count);
      return true;
    }
    if (count === 0) this.#peerEnded();
    else if (count < -1) this.destroy(socketError('read', -count));
    return false;
  }

  #peerEnded(): void {
    this.#hasPeerEnded = true;
    this.#watch();
    this.owner?.socketEnded();
    if (this.#isFinished) this.destroy();
  }

  /** Returns how many bytes the kernel took. It may be destroyed then. */
  #send(bytes: Buffer, start: number, end: number): number {
    const count = this.#readiness.native.write(this.#fd, bytes, start, end);
    if (count < -1) this.destroy(socketError('write', -count));
    return Math.max(0, count);
  }

  /** Sends from the head of the queue; true when all that was tried is gone. */
  #sendQueued(queue: Buffer[]): boolean {
    let first = queue[0] as Buffer;
    let size = first.length;
    let count = 1;
    if (queue.length > 1 && size < SEND_BUFFER.length) {
      size = 0;
      for (count = 0; count < queue.length; count++) {
        const chunk = queue[count] as Buffer;
        if (size + chunk.length > SEND_BUFFER.length) break;
        size += chunk.copy(SEND_BUFFER, size);
      }
      first = SEND_BUFFER;
    }
    const taken = this.#send(first, 0, size);
    if (this.#fd < 0) return false;
    this.#queuedBytes -= taken;
    if (taken === size) {
      if (count === queue.length) this.#queue = null;
      else queue.splice(0, count);
      return true;
    }
    let left = taken;
    let whole = 0;
    for (; left >= (queue[whole] as Buffer).length; whole++) left -= (queue[whole] as Buffer).length;
    queue.splice(0, whole);
    queue[0] = (queue[0] as Buffer).subarray(left);
    return false;
  }

  /** Nothing is queued and nothing more will be. */
  #finish(): void {
    this.#isFinished = true;
    // Closing it says the same.
    if (this.#hasPeerEnded || this.#destroysSoon) this.destroy();
    else this.#readiness.native.shutdownWrite(this.#fd);
  }

  /** Has the set watch for what is wanted now. */
  #watch(): void {
    if (this.#fd < 0) return;
    const interest =
      (this.#isReading && !this.#hasPeerEnded ? Interest.read : 0) |
      (this.#queue === null ? 0 : Interest.write);
    if (interest === this.#interest) return;
    if (interest === 0) {
      this.#unwatch();
      return;
    }
    if (this.#interest !== 0) this.#readiness.change(this.#fd, interest);
    else if (!this.#readiness.add(this.#fd, this, interest)) {
      this.destroy(new Error('the kernel does not watch any more connections'));
      return;
    }
    this.#interest = interest;
  }

  /** `isOpen`: it stays so; closing it takes it out of the set as well. */
  #unwatch(isOpen = true): void {
    if (this.#interest === 0) return;
    this.#interest = 0;
    this.#readiness.remove(this.#fd, this, isOpen);
  }

  /** From here on the descriptor is out of reach. */
  #letGo(isOpen: boolean): void {
    this.#unwatch(isOpen);
    this.#fd = -1;
    this.#queue = null;
    this.#queuedBytes = 0;
  }
}

/** The same connection on a socket of Node's; null: there is none to be had, and the connection has failed. */
export function nodeSocketOf(socket: ConnSocket): Socket | null {
  if (!(socket instanceof RawSocket)) return socket;
  try {
    return socket.toNodeSocket();
  } catch (error) {
    socket.destroy(error instanceof Error ? error : new Error(String(error)));
    return null;
  }
}

/** Calls `call` once the connection is over. Once for a socket. */
export function whenOver(socket: ConnSocket, call: () => void): void {
  if (socket instanceof RawSocket) socket.whenOver = call;
  else socket.once('close', call);
}

/** Tells a connection that a listener has just accepted `last`, and closes it. */
export function turnAway(accepted: ConnSocket, last: Buffer): void {
  if (!(accepted instanceof RawSocket)) accepted.on('error', () => {});
  accepted.end(last);
  accepted.destroySoon();
}

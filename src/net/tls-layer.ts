import { PLAIN, RECORD_BYTES, SEALED, SEALED_RECORD_BYTES, type TlsSession } from './native-tls.ts';
import type { RawSocket, SocketOwner } from './raw-socket.ts';

/** The connection that a {@link TlsLayer} is for: what it hears as its socket's owner is in the clear. */
export interface TlsHost extends SocketOwner {
  /** Nothing is told to it any more, but that its socket is closed. */
  readonly isClosed: boolean;
  /** It wants to hear what comes, and the end. */
  readonly isReading: boolean;
  /** TLS has failed for good: what was given to {@link tlsSealed} goes out, and the socket is closed. */
  tlsFailed(error: Error): void;
  /** Sends `chunk[0, end)`, which is encrypted, and borrowed; false asks to stop. */
  tlsSealed(chunk: Buffer, end: number): boolean;
}

/** How much of what nobody has asked for (answers to key updates) waits at most for a peer that doesn't read. */
const MOST_UNREAD = 16 * 1024;

/** What takes no more than this leaves OpenSSL's memory as it is. */
const SMALL_BYTES = 4 * 1024;

/**
 * TLS between a raw socket and its connection, without Node's streams. All that one read has brought is decrypted and told
 * at once, so that nothing is held back from a connection which is paused then; all that is written is encrypted at once,
 * and the socket's from then on. The session is freed with the socket. See docs/decisions/0016-tls-in-place.md.
 */
export class TlsLayer implements SocketOwner {
  readonly #session: TlsSession;
  readonly #host: TlsHost;
  /** Called once the handshake is over; null from then on. */
  #secured: (() => void) | null;
  /** The peer has finished, or TLS has failed: what else comes is nothing. */
  #isOver = false;
  #isFreed = false;
  /** Bytes that came out of the kernel, since the handshake's beginning or end, less those that came out of here. */
  #hidden = 0;
  #unreadBytes = 0;

  constructor(session: TlsSession, socket: Pick<RawSocket, 'owner'>, host: TlsHost, secured: () => void) {
    this.#session = session;
    this.#host = host;
    this.#secured = secured;
    socket.owner = this;
  }

  /** What the peer has sent beside what was encrypted; see `Conn.hiddenBytes`. */
  get hiddenBytes(): number {
    return Math.max(0, this.#hidden);
  }

  /** The peer has said that it sends no more, and perhaps nobody has been told. */
  get hasEnded(): boolean {
    return this.#session.hasEnded;
  }

  /** Tells of the peer's end, unless the connection doesn't read: it has to call this when it goes on. */
  tellEnd(): void {
    if (!this.#isFreed && this.hasEnded && !this.#host.isClosed && this.#host.isReading) this.socketEnded();
  }

  /** Takes the beginning of the handshake, which the connection has read in the clear. */
  begin(seen: Buffer): void {
    this.#take(seen, seen.length);
  }

  socketBytes(chunk: Buffer, end: number): void {
    this.#hidden += end;
    this.#take(chunk, end);
  }

  socketEnded(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#host.socketEnded();
  }

  socketDrained(): void {
    this.#host.socketDrained();
  }

  socketClosed(error: Error | null): void {
    if (this.#isFreed) return;
    this.#isFreed = true;
    this.#session.free();
    this.#host.socketClosed(error);
  }

  /** Sends `bytes[start, end)`, borrowed, once the handshake is over; false asks to stop. */
  send(bytes: Buffer, start: number, end: number): boolean {
    if (this.#isFreed || !this.#isSecured) return true;
    let isOpen = true;
    let filled = 0;
    for (let at = start; at < end && this.#session.failure === null; at += RECORD_BYTES) {
      if (SEALED.length - filled < SEALED_RECORD_BYTES) {
        isOpen = this.#host.tlsSealed(SEALED, filled);
        filled = 0;
      }
      this.#session.seal(bytes, at, Math.min(end, at + RECORD_BYTES));
      filled = this.#session.drain(filled);
    }
    if (filled > 0) isOpen = this.#host.tlsSealed(SEALED, filled);
    if (this.#session.failure !== null) this.#fail(this.#session.failure);
    else if (end - start > SMALL_BYTES) this.#session.shrink();
    return isOpen;
  }

  get #isSecured(): boolean {
    return this.#secured === null;
  }

  /** Says to the peer that nothing more comes. */
  finish(): void {
    if (this.#isFreed || !this.#isSecured) return;
    this.#session.finish();
    this.#flush();
  }

  #take(chunk: Buffer, end: number): void {
    if (this.#isOver || this.#isFreed) return;
    const isLarge = end > SMALL_BYTES || !this.#isSecured;
    const session = this.#session;
    let opened = 0;
    for (let at = 0; at < end && !session.hasEnded && session.failure === null; at += RECORD_BYTES) {
      session.feed(chunk, at, Math.min(end, at + RECORD_BYTES));
      if (this.#isSecured || this.#shakeHands()) opened = session.open(opened);
    }
    // The answer to a key update, or what is wrong.
    if (session.hasSealed) this.#flush();
    const failure = this.#unreadBytes > MOST_UNREAD ? new Error('the peer does not read') : session.failure;
    if (isLarge && this.#isSecured && failure === null) session.shrink();
    this.#hidden -= opened;
    this.#tell(opened, failure);
  }

  /** True once the handshake is over. */
  #shakeHands(): boolean {
    const isDone = this.#session.handshake();
    this.#flush();
    if (!isDone) return false;
    const secured = this.#secured;
    this.#secured = null;
    this.#hidden = 0;
    secured?.();
    return true;
  }

  #flush(): void {
    for (let end = this.#session.drain(0); end > 0; end = this.#session.drain(0))
      this.#unreadBytes = this.#host.tlsSealed(SEALED, end) ? 0 : this.#unreadBytes + end;
  }

  /** What a read has come to, in the peer's order. */
  #tell(opened: number, failure: Error | null): void {
    const host = this.#host;
    if (opened > 0 && !host.isClosed) host.socketBytes(PLAIN, opened);
    if (failure !== null) this.#fail(failure);
    else this.tellEnd();
  }

  #fail(error: Error): void {
    this.#isOver = true;
    this.#host.tlsFailed(error);
  }
}

import { connect, type Socket } from 'node:net';
import type { ConnectOptions, ConnHandler } from './conn-handler.ts';
import { ConnWrites } from './conn-writes.ts';
import { NOBODY, peerLeft } from './descriptor.ts';
import type { Native } from './native.ts';
import { socketFd } from './native-sockets.ts';
import { type ConnSocket, hasUnread, nodeSocketOf, RawSocket } from './raw-socket.ts';
import { Ahead } from './read-ahead.ts';
import { READ_BUFFER, type Readiness, type Reader, readinessOf } from './readiness.ts';
import { type TlsHost, TlsLayer } from './tls-layer.ts';
import type { TlsUpgrade } from './tls-upgrade.ts';
import { socketError } from './socket-error.ts';

/**
 * One byte stream, client or server side: bytes in and out, back-pressure, no SQL. TLS sits below this
 * interface. Whoever owns the connection sets `handler`, and sets another one when its own state changes.
 *
 * Plain sockets are used past Node's streams where that makes no difference: reads land in one shared buffer, writes
 * go straight to the kernel, which takes a copy. What the kernel doesn't take at once is copied and queued by the
 * stream as usual, and so is everything after it until the queue is empty again. How a connection ends, the stream
 * finds out: it reads from the moment that the peer has finished or the connection has failed. A raw socket does without
 * a stream altogether, over TLS, too, where there is a session for it. Otherwise, from {@link startTls} on a connection is
 * its TLS stream, and nothing goes past that.
 */
export class Conn extends ConnWrites implements Reader, TlsHost {
  handler: ConnHandler;
  readonly ahead: Ahead;
  /** The event loop's, as long as it tells when there is something to read; null when a stream or a raw socket reads. */
  #readiness: Readiness | null = null;
  /** `#readiness` has been asked to tell. */
  #isWatched = false;
  #error: Error | null = null;
  #closed = false;
  #paused = false;
  /** Asked before {@link suspend} takes effect, until {@link wake}; null = not to be suspended. */
  #maySuspend: (() => boolean) | null = null;
  #isSuspended = false;
  #isSecuring = false;
  /** Whose bytes TLS takes. */
  #below: Socket | null = null;
  /** How many it had taken beyond {@link bytesRead} when {@link hiddenBytes} began. */
  #hiddenFrom = 0;
  /** {@link readNow} has found nothing more, nor the end. */
  #isCaughtUp = false;
  /** Bytes that came out of the kernel. */
  bytesRead = 0;

  private constructor(socket: ConnSocket, native: Native | null, handler: ConnHandler) {
    super(socket, native);
    this.handler = handler;
    this.ahead = socket instanceof RawSocket ? socket.ahead : new Ahead();
    if (socket instanceof RawSocket) socket.owner = this;
    else this.#listenTo(socket);
  }

  /** Connects; `onConnect` is called once that has succeeded. Without `native` every write is queued. */
  static connect(
    options: ConnectOptions,
    handler: ConnHandler,
    onConnect: () => void,
    native: Native | null = null,
  ): Conn {
    const socket = connect(options);
    // So that it doesn't begin to read by itself when it is connected.
    socket.pause();
    const conn = new Conn(socket, native, handler);
    socket.once('connect', () => {
      conn.#open();
      conn.#guard(onConnect);
    });
    return conn;
  }

  /**
   * Takes over a socket that a listener has just accepted. With `pauseOnConnect` nothing has been read from it yet,
   * so that it can be read directly; without, it stays a stream on that side.
   */
  static accept(accepted: ConnSocket, native: Native, handler: ConnHandler): Conn {
    const conn = new Conn(accepted, native, handler);
    conn.#open();
    return conn;
  }

  get isClosed(): boolean {
    return this.#closed || this.current.destroyed;
  }

  /** A TLS handshake is under way: nothing can be said to the peer. Stays true when it came to nothing. */
  get isSecuring(): boolean {
    return this.#isSecuring;
  }

  /**
   * Bytes that TLS has taken out of the kernel and that do not count in {@link bytesRead}: of the handshake under way, and
   * once that is over, what has come since beside what was encrypted.
   */
  get hiddenBytes(): number {
    if (this.layer !== null) return this.layer.hiddenBytes;
    if (this.#below === null) return 0;
    // What came together with the handshake's end is read after it.
    return Math.max(0, this.#below.bytesRead - this.bytesRead - this.#hiddenFrom);
  }

  get isPaused(): boolean {
    return this.#paused;
  }

  get isReading(): boolean {
    return !this.#paused && !this.#isSuspended;
  }

  /** {@link suspend} has taken effect: nothing is read. */
  get isSuspended(): boolean {
    return this.#isSuspended;
  }

  /**
   * Goes over to TLS, at a moment when what was read is dealt with, but for `seen`: the beginning of the handshake
   * (a view). What was written before goes out in the clear. A handshake that fails closes the connection with an
   * error; its owner bounds the time that it may take.
   */
  startTls(upgrade: TlsUpgrade, seen: Buffer | null): void {
    if (this.current.destroyed) return;
    this.settle();
    if (this.current instanceof RawSocket && this.#layTls(this.current, upgrade, seen)) return;
    this.#unwatch();
    const plain = nodeSocketOf(this.current);
    if (plain === null) return;
    // Its errors are still heard.
    if (plain !== this.current) this.#listenTo(plain);
    plain.pause();
    this.#giveUnread(plain);
    this.#readiness = null;
    this.direct = null;
    this.fd = -1;
    this.mayQueue = true;
    if (seen !== null) plain.unshift(Buffer.from(seen));
    const socket = upgrade.wrap(plain);
    this.current = socket;
    this.#isSecuring = true;
    this.#below = plain;
    this.#hiddenFrom = plain.bytesRead - this.bytesRead;
    this.#listenTo(socket);
    // A server's TLS socket tells what breaks after the handshake in no other way.
    socket.on('_tlsError', (error: Error) => socket.destroy(error));
    socket.once(upgrade.readyEvent, () => {
      if (socket.destroyed) return;
      this.#isSecuring = false;
      this.#hiddenFrom = plain.bytesRead - this.bytesRead;
      this.#guard(() => upgrade.secured(socket));
    });
    if (!this.isReading) socket.pause();
  }

  /** Stops reading. The peer's end is then not noticed until `resume`. */
  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#stopReading();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (!this.#isSuspended) this.#startReading();
  }

  /**
   * Stops reading until {@link wake}, whatever {@link pause} and {@link resume} say meanwhile: as soon as nothing waits
   * to be sent and `may` agrees. That is asked now, behind each chunk, and whenever it is called again.
   */
  suspend(may: () => boolean): void {
    this.#maySuspend = may;
    this.#trySuspend();
  }

  wake(): void {
    this.#maySuspend = null;
    if (!this.#isSuspended) return;
    this.#isSuspended = false;
    if (!this.#paused) this.#startReading();
  }

  /**
   * Sends `last` and FIN, keeps reading; `onClosed` follows when the peer has finished too. In a handshake, in which
   * nothing can be sent, it cuts the connection.
   */
  end(last?: Buffer): void {
    if (this.isClosed || this.ended) return;
    this.wake();
    if (this.#isSecuring) {
      this.destroy();
      return;
    }
    this.writeLast(last);
    this.current.end();
  }

  /**
   * Reads what has come by now, up to a few chunks. Without native calls, or over TLS, it comes later. False: that was
   * the end of the connection, which its owner hears of later.
   */
  readNow(): boolean {
    this.#isCaughtUp = false;
    // Somebody may be amid a chunk in the buffer that all share.
    const chunk = Buffer.allocUnsafe(READ_BUFFER.length);
    for (let round = 0; round < 4; round++) {
      // What the stream holds would be overtaken.
      if (this.isClosed) return false;
      if (!this.isReading || hasUnread(this.current)) return true;
      if (this.fd < 0 || this.native === null || this.layer !== null) return true;
      const end = this.direct?.receive(this, this.fd, chunk) ?? this.native.receive(this.fd, chunk);
      this.#isCaughtUp = end === -1;
      if (this.#isCaughtUp) return true;
      // Its end a stream sees again, an error nobody does.
      if (end !== 0 || this.#isWatched) this.took(chunk, end);
      if (end <= 0) return false;
    }
    return true;
  }

  /**
   * Right behind {@link readNow}: lets go without a word to the peer, and gives another descriptor, for `socketOf` in
   * whichever thread, where the unread is read. Null: it cannot be had now, and nothing has changed.
   */
  detach(): number | null {
    this.settle();
    if (!this.#isCaughtUp || this.pendingBytes > 0 || this.ended || this.isClosed) return null;
    const fd = this.native?.listen.duplicate(this.fd) ?? null;
    if (fd === null) return null;
    // Not when the descriptor is closed: the set would go on watching what the other one stands for.
    this.#unwatch();
    this.handler = NOBODY;
    this.current.destroy();
    return fd;
  }

  socketBytes(chunk: Buffer, end: number): void {
    this.#received(chunk, end);
  }

  socketEnded(): void {
    if (this.#isSecuring) this.current.destroy(peerLeft());
    else this.#guard(() => this.handler.onEnd());
  }

  socketDrained(): void {
    this.#guard(() => this.handler.onDrain());
  }

  socketClosed(error: Error | null): void {
    this.#closed = true;
    this.#error ??= error;
    this.#guard(() => this.handler.onClosed(this.#error));
  }

  readable(): void {
    if (this.#readiness === null || !this.mayRead) return;
    this.took(READ_BUFFER, this.#readiness.receive(this, this.fd, READ_BUFFER));
  }

  /** It is watched for bytes alone; Node closes its descriptor before we hear of it. */
  get mayRead(): boolean {
    return !this.current.destroyed;
  }

  took(chunk: Buffer, count: number): void {
    if (count > 0) this.#received(chunk, count);
    else if (count === 0) this.hungUp();
    // The kernel tells an error once.
    else if (count < -1) this.current.destroy(socketError('read', -count));
  }

  hungUp(): void {
    this.settle();
    this.#unwatch();
    if (!this.current.destroyed) this.#giveUnread(this.current as Socket);
    this.#readiness = null;
    if (!this.current.destroyed) this.current.resume();
  }

  protected peerIsGone(): boolean {
    if (!this.isReading) return false;
    if (this.#isWatched) this.hungUp();
    return true;
  }

  /** TLS on the socket as it is; false: it takes Node's. */
  #layTls(socket: RawSocket, upgrade: TlsUpgrade, seen: Buffer | null): boolean {
    const { inPlace } = upgrade;
    const session = inPlace?.session() ?? null;
    if (inPlace === undefined || session === null) return false;
    this.#isSecuring = true;
    this.layer = new TlsLayer(session, socket, this, () => {
      this.#isSecuring = false;
      this.#guard(() => inPlace.secured(session));
    });
    if (seen !== null) this.layer.begin(seen);
    return true;
  }

  /** The plain socket below a TLS one is not listened to any more: its bytes are none of ours. */
  #listenTo(socket: Socket): void {
    socket.on('data', (chunk: Buffer) => {
      if (socket === this.current) this.#received(chunk, chunk.length);
    });
    socket.on('end', () => {
      if (socket === this.current) this.socketEnded();
    });
    socket.on('drain', () => {
      if (socket === this.current) this.socketDrained();
    });
    socket.on('error', (error: Error) => {
      this.#error ??= error;
      // TLS sockets tell of errors without being closed by them.
      socket.destroy();
    });
    socket.on('close', () => {
      if (socket !== this.current) return;
      this.#unwatch();
      this.socketClosed(null);
    });
  }

  /** The socket is connected. */
  #open(): void {
    const native = this.native;
    const socket = this.current;
    if (native !== null) {
      this.fd = socketFd(socket);
      if (this.fd >= 0) this.direct = readinessOf(native);
    }
    // A stream that has begun to read goes on: it may hold bytes already. A raw socket sees to its reading itself.
    if (!(socket instanceof RawSocket) && socket.isPaused()) this.#readiness = this.direct;
    if (this.isReading) this.#startReading();
  }

  #stopReading(): void {
    if (this.#readiness === null) this.current.pause();
    else this.#unwatch();
  }

  #trySuspend(): void {
    if (this.#maySuspend === null || this.#isSuspended) return;
    if (this.pendingBytes > 0 || !this.#maySuspend()) return;
    this.#isSuspended = true;
    if (!this.#paused) this.#stopReading();
  }

  #startReading(): void {
    if (this.current.destroyed || this.current.connecting) return;
    this.#isWatched = this.#readiness?.add(this.fd, this) === true;
    if (this.#isWatched) return;
    if (this.#readiness !== null) this.#giveUnread(this.current as Socket);
    this.#readiness = null;
    this.current.resume();
    const { layer } = this;
    if (layer?.hasEnded === true) this.direct?.soon(() => layer.tellEnd());
  }

  #unwatch(): void {
    if (!this.#isWatched) return;
    this.#isWatched = false;
    this.#readiness?.remove(this.fd, this, !this.current.destroyed);
  }

  #received(chunk: Buffer, end: number): void {
    this.bytesRead += end;
    try {
      this.handler.onBytes(chunk, end);
    } catch (error) {
      this.#fault(error);
    }
    if (this.#maySuspend !== null) this.#trySuspend();
  }

  #guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#fault(error);
    }
  }

  /** Whatever a handler throws stays with its connection. */
  #fault(error: unknown): void {
    this.handler.onFault(error);
    this.destroy();
  }

  /** What was taken ahead is for the stream that reads on. */
  #giveUnread(stream: Socket): void {
    const unread = this.direct?.takeAhead(this) ?? null;
    if (unread !== null) stream.unshift(unread);
  }
}

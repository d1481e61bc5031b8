import type { Native } from './native.ts';
import { RawSocket, rawReadiness } from './raw-socket.ts';
import type { Reader, Readiness } from './readiness.ts';

/** What an {@link Acceptor} comes to. */
export interface AcceptorHost {
  accepted(socket: RawSocket): void;
  /** accept(2) has failed; unless it is told to rest or closed, the acceptor goes on. */
  failed(error: NodeJS.ErrnoException): void;
}

/** How many connections are taken at a time, so that those which are there already get their turn. */
const ACCEPTS_AT_A_TIME = 8;

const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_DEFER_ACCEPT = 9;

/** Takes connections from a listening descriptor, which is its own, as raw sockets. It begins at rest. */
export class Acceptor implements Reader {
  readonly ahead = null;
  readonly mayRead = false;
  readonly #native: Native;
  readonly #readiness: Readiness;
  readonly #host: AcceptorHost;
  /** Connections have no delay from the listening socket, but for those that came before it had none. */
  readonly #isInherited: boolean;
  #fd: number;
  #isWatched = false;
  /** Some of these may be left. */
  #mayLack = true;
  /** Connections come with their first bytes. Null: not known of a socket that another process may have had. */
  #isDeferred: boolean | null = null;
  /** How often the set had been asked when it told of this last. */
  #lastAsked = -1;

  private constructor(native: Native, readiness: Readiness, fd: number, host: AcceptorHost) {
    this.#native = native;
    this.#readiness = readiness;
    this.#fd = fd;
    this.#host = host;
    this.#isInherited = native.setFdOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  }

  /** For what `listening` stands for, which may be closed then. Null where there are no raw sockets. */
  static open(native: Native, listening: number, host: AcceptorHost): Acceptor | null {
    const readiness = rawReadiness(native);
    const fd = readiness === null ? null : native.listen.duplicate(listening);
    return readiness === null || fd === null ? null : new Acceptor(native, readiness, fd, host);
  }

  /** -1 when it is closed. */
  get fd(): number {
    return this.#fd;
  }

  /** Begins to accept, or goes on. False when the kernel refuses. */
  watch(): boolean {
    if (!this.#isWatched && this.#fd >= 0) this.#isWatched = this.#readiness.add(this.#fd, this);
    return this.#isWatched;
  }

  /** Whoever comes waits in the kernel's queue until {@link watch}. */
  rest(): void {
    if (!this.#isWatched) return;
    this.#isWatched = false;
    this.#readiness.remove(this.#fd, this, true);
  }

  close(): void {
    this.rest();
    const fd = this.#fd;
    this.#fd = -1;
    if (fd >= 0) this.#readiness.close(fd);
  }

  /**
   * Has the kernel keep TCP connections back until they have sent something, or have been silent for about a second.
   * Source: PgBouncer's `tcp_defer_accept`.
   */
  defer(on: boolean): void {
    if (on === this.#isDeferred || this.#fd < 0) return;
    if (this.#native.setFdOption(this.#fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, on ? 1 : 0)) this.#isDeferred = on;
  }

  /** Takes everybody who has connected. */
  takeAll(): void {
    while (this.#fd >= 0 && this.#takeOne());
  }

  readable(): void {
    const { asked } = this.#readiness;
    // One alone is mostly that: to ask for another would cost as much as its accept. Of a crowd the set tells again.
    const isCrowd = this.#mayLack || asked === this.#lastAsked + 1;
    this.#lastAsked = asked;
    const most = isCrowd ? ACCEPTS_AT_A_TIME : 1;
    for (let i = 0; i < most && this.#isWatched; i++) if (!this.#takeOne()) return;
  }

  took(): void {}

  /** Somebody else who has the listening socket has shut it down: accept(2) says so. */
  hungUp(): void {
    this.readable();
  }

  /** False when there was nobody, or it has failed. */
  #takeOne(): boolean {
    let socket: RawSocket;
    try {
      const accepted = this.#native.listen.accept(this.#fd);
      if (accepted === null) {
        // The queue is first in, first out.
        this.#mayLack &&= !this.#isInherited;
        return false;
      }
      socket = new RawSocket(this.#readiness, accepted.fd, accepted.peer);
      if (accepted.peer !== null && this.#mayLack)
        this.#native.setOption(socket, IPPROTO_TCP, TCP_NODELAY, 1);
    } catch (error) {
      this.#host.failed(error as NodeJS.ErrnoException);
      return false;
    }
    this.#host.accepted(socket);
    // It has sent something, which the set would tell in a turn of its own.
    if (this.#isDeferred === true && socket.mayRead) socket.readable();
    return true;
  }
}

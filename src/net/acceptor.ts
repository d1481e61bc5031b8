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

  /** Takes everybody who has connected. */
  takeAll(): void {
    while (this.#fd >= 0 && this.#takeOne());
  }

  readable(): void {
    for (let i = 0; i < ACCEPTS_AT_A_TIME && this.#isWatched; i++) if (!this.#takeOne()) return;
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
    return true;
  }
}

import { randomBytes } from 'node:crypto';
import { closeSync, renameSync } from 'node:fs';
import type { ListenOptions as NodeListenOptions, Server, ServerOpts } from 'node:net';
import { dirname, join } from 'node:path';
import type { Logger } from '../base/log.ts';
import { Acceptor } from './acceptor.ts';
import { FdWarning } from './fd-warning.ts';
import { formatHostPort } from './address.ts';
import type { Native } from './native.ts';
import { socketFd } from './native-sockets.ts';
import { firstInfo, type ListenTarget } from './listen-target.ts';
import type { ConnSocket } from './raw-socket.ts';
import { systemErrorText } from './socket-error.ts';
import {
  applySocketPermissions,
  checkPlace,
  inUse,
  isAbstractPath,
  isSameFile,
  keepSocketFile,
  removeName,
  removeStaleSocket,
  type SocketFileIdentity,
  socketFileIdentity,
} from './unix-socket.ts';

/** What a listener is bound to. For a unix socket `address` is its path (`@…` when abstract). */
export interface ListenerInfo {
  readonly kind: 'tcp' | 'unix';
  readonly address: string;
  /** The port really bound; for a unix socket the number in its file name. */
  readonly port: number;
}

/** A listener that is bound now, and its file descriptor. */
export interface ListenerFd {
  readonly info: ListenerInfo;
  readonly fd: number;
}

/** Calls `run` once after `delayMs`; the returned function takes that back. Injected so that tests can step it. */
export type Schedule = (delayMs: number, run: () => void) => () => void;

/** What all listeners of a process share. */
export interface ListenContext {
  readonly backlog: number;
  readonly log: Logger;
  readonly onConnection: (socket: ConnSocket, listener: ListenerInfo) => void;
  readonly schedule: Schedule;
  /** Soft limit of open files, Infinity when unknown; accepted sockets close below it are worth a warning. */
  readonly fdLimit: number;
  /** `net.createServer`, or a test's stand-in. */
  readonly createServer: (options: ServerOpts) => Server;
  readonly native: Native;
}

/** Delay of the retry after accept() failed for lack of resources. */
export const ACCEPT_RETRY_MS = 5000;

/**
 * How long a listener that others stand beside is still there after it takes no more: handshakes that had begun are
 * over by then. Less than the second after which the kernel asks again for a connection that was not answered.
 */
export const RETIRE_MS = 250;

/**
 * accept() errors that another try at once would only repeat; the rest concern one connection. EINVAL: somebody else who
 * has the socket, too, has shut it down.
 */
const LASTING_ERRORS: ReadonlySet<string | undefined> = new Set([
  'EMFILE',
  'ENFILE',
  'ENOBUFS',
  'ENOMEM',
  'EINVAL',
]);

/**
 * One bound socket and its accept loop. States: closed -> open -> (suspended -> open)* -> closed. Node binds it; where there
 * are raw sockets, an acceptor has it from then on.
 */
export class ListeningSocket {
  readonly #target: ListenTarget;
  readonly #context: ListenContext;
  /** Node's, while that accepts. */
  #server: Server | null = null;
  /** Ours, while that accepts, or rests. */
  #acceptor: Acceptor | null = null;
  #file: SocketFileIdentity | null = null;
  /** Where the unix socket was bound, if that is not where it is to be found. */
  #bindPath: string | null = null;
  /** It has taken the other's place: from then on it is one like any. */
  #hasPlace = false;
  #cancelRetry: (() => void) | null = null;
  #cancelRetirement: (() => void) | null = null;
  #closed = false;
  #isDeferred = false;
  readonly #fdWarning: FdWarning;
  /** The descriptor that was passed to us is not ours any more. */
  #isPassedOn = false;
  /** What is bound; the port of a target with port 0 becomes known by `open`. */
  info: ListenerInfo;

  constructor(target: ListenTarget, context: ListenContext) {
    this.#target = target;
    this.#context = context;
    this.#fdWarning = new FdWarning(context);
    this.info = firstInfo(target);
  }

  /** The address as log lines show it. */
  get display(): string {
    const { kind, address, port } = this.info;
    return kind === 'tcp' ? formatHostPort(address, port) : `unix:${address}`;
  }

  /** File descriptor of the bound socket, -1 while there is none. */
  get fd(): number {
    if (this.#acceptor !== null) return this.#acceptor.fd;
    return this.#server === null ? -1 : socketFd(this.#server);
  }

  /**
   * Binds and begins to accept. Rejects with the system's error; nothing is left bound then. One that replaces another is
   * not found before {@link takePlace}.
   */
  async open(): Promise<void> {
    const server = this.#context.createServer({
      allowHalfOpen: true,
      noDelay: true,
      pauseOnConnect: true,
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.once('listening', () => {
        server.off('error', reject);
        resolve();
      });
      this.#listen(server);
    });
    server.on('error', (error: NodeJS.ErrnoException) => this.#onAcceptError(error));
    server.on('connection', (socket) => this.#onConnection(socket));
    this.#server = server;
    // A close that came while we were binding.
    if (this.#closed) {
      this.#release();
      return;
    }
    this.#afterBind(server);
    this.#acceptOurselves(server);
  }

  /** Puts a unix socket that replaces another in its place, in one step. Throws the system's error. */
  takePlace(): void {
    const target = this.#target;
    if (target.kind !== 'unix' || this.#bindPath === null) return;
    checkPlace(target.path, target.before);
    renameSync(this.#bindPath, target.path);
    this.#hasPlace = true;
  }

  /** Stops accepting and removes the socket file, unless another process has put its own there. */
  close(): void {
    this.#closed = true;
    this.#cancelRetry?.();
    this.#cancelRetirement?.();
    this.#cancelRetirement = null;
    this.#release();
    if (this.#target.kind !== 'passed' || this.#isPassedOn) return;
    this.#isPassedOn = true;
    closeSync(this.#target.fd);
  }

  /** As `Acceptor.defer`, which Node's own accepting has no call for. */
  defer(on: boolean): void {
    this.#isDeferred = on;
    this.#acceptor?.defer(on);
  }

  /**
   * Stops accepting without losing anybody whose connection the kernel has accepted already. Where other processes
   * listen on the same port, new ones go to them first and `done` is called later; else it is closed on return.
   */
  retire(done: () => void): void {
    // Whom the kernel keeps back it drops when the socket is closed.
    this.defer(false);
    const target = this.#target;
    const { native, schedule } = this.#context;
    const isShared = target.kind === 'tcp' && target.reusePort;
    if (isShared && this.fd >= 0 && native.listen.takeNoMore(this.fd)) {
      this.#cancelRetirement = schedule(RETIRE_MS, () => {
        // Nothing may run between this and the close, or there would be somebody in the queue again.
        this.#acceptor?.takeAll();
        this.close();
        done();
      });
      return;
    }
    // A passed one goes on without us: its queue is for the next process.
    if (target.kind === 'tcp') this.#acceptor?.takeAll();
    this.close();
    done();
  }

  /** The unix socket's file is another process's by now: whoever comes has connected before that. */
  get isReplaced(): boolean {
    if (this.#target.kind !== 'unix' || this.#file === null) return false;
    const now = socketFileIdentity(this.#target.path);
    return now !== null && !isSameFile(now, this.#file);
  }

  #listen(server: Server): void {
    const target = this.#target;
    const { backlog } = this.#context;
    if (target.kind === 'tcp') {
      const options: NodeListenOptions = {
        host: target.ip,
        port: this.info.port,
        backlog,
        // Else [::] would claim the IPv4 port too, and the listener on 0.0.0.0 would fail.
        ipv6Only: target.ip.includes(':'),
        reusePort: target.reusePort,
      };
      server.listen(options);
      return;
    }
    if (target.kind === 'passed') {
      // Node closes what it listens on; the original stays for when it is to listen again.
      const copy = this.#context.native.listen.duplicate(target.fd);
      this.#isPassedOn = copy === null;
      server.listen({ fd: copy ?? target.fd, backlog });
      return;
    }
    if (target.replaces && !this.#hasPlace)
      this.#bindPath = join(dirname(target.path), `.pgw.${randomBytes(4).toString('hex')}`);
    else this.#bindPath = null;
    if (!target.replaces && target.before !== null) removeStaleSocket(target.path, target.before);
    // The file comes to life by bind(), which runs inside listen(): nobody but us may connect until the
    // permissions are set.
    const umask = process.umask(0o777);
    try {
      server.listen({ path: this.#bindPath ?? target.path, backlog });
    } finally {
      process.umask(umask);
    }
  }

  #afterBind(server: Server): void {
    const target = this.#target;
    if (target.kind === 'unix') {
      if (isAbstractPath(target.path)) return;
      try {
        const path = this.#bindPath ?? target.path;
        applySocketPermissions(path, target.mode, target.gid);
        this.#file = socketFileIdentity(path);
        if (this.#bindPath !== null) checkPlace(target.path, target.before);
      } catch (error) {
        this.#release();
        throw error;
      }
      return;
    }
    const bound = server.address();
    if (bound === null || typeof bound !== 'object') {
      if (target.kind === 'passed') this.info = this.#passedUnix(server, target.port);
      return;
    }
    // One that was passed may listen on any address.
    this.info = { kind: 'tcp', address: bound.address, port: bound.port };
  }

  /** Takes the accepting over from Node, if we can, before anybody can have been accepted. */
  #acceptOurselves(server: Server): void {
    const acceptor = Acceptor.open(this.#context.native, socketFd(server), {
      accepted: (socket) => this.#onConnection(socket),
      failed: (error) => this.#onAcceptError(error),
    });
    if (acceptor === null) return;
    const path = this.#target.kind === 'unix' && this.#file !== null ? this.#target.path : null;
    // Closing it unlinks the name that it was bound under.
    const close = (): void => {
      this.#acceptor = acceptor;
      acceptor.defer(this.#isDeferred);
      this.#server = null;
      server.close();
    };
    let isClosed = acceptor.watch();
    try {
      if (isClosed && path !== null) isClosed = keepSocketFile(this.#bindPath ?? path, close);
      else if (isClosed) close();
    } catch (error) {
      this.#file = null;
      this.#release();
      throw (error as NodeJS.ErrnoException).code === 'EEXIST' ? inUse() : error;
    }
    if (!isClosed) acceptor.close();
  }

  #passedUnix(server: Server, port: number): ListenerInfo {
    const path = this.#context.native.listen.unixPath(socketFd(server)) ?? '';
    const ownPort = /\.s\.PGSQL\.(\d{1,5})$/.exec(path)?.[1];
    return { kind: 'unix', address: path, port: ownPort === undefined ? port : Number(ownPort) };
  }

  #onConnection(socket: ConnSocket): void {
    if (this.fd < 0) {
      socket.destroy();
      return;
    }
    this.#fdWarning.check(socketFd(socket));
    this.#context.onConnection(socket, this.info);
  }

  #onAcceptError(error: NodeJS.ErrnoException): void {
    const { log } = this.#context;
    const text = `accept() failed on ${this.display}: ${systemErrorText(error)}`;
    if (!LASTING_ERRORS.has(error.code)) {
      log.log('WARNING', text);
      return;
    }
    if (this.fd < 0) return;
    if (this.#isPassedOn) {
      log.log('ERROR', text);
      return;
    }
    log.log('ERROR', `${text}, suspending the listener for ${ACCEPT_RETRY_MS / 1000} s`);
    if (this.#acceptor !== null) {
      this.#acceptor.rest();
      this.#watchLater(this.#acceptor);
      return;
    }
    // Node cannot stop accepting without closing the socket; left open it would fail over and over.
    this.#release();
    this.#retryLater();
  }

  #watchLater(acceptor: Acceptor): void {
    this.#cancelRetry?.();
    this.#cancelRetry = this.#context.schedule(ACCEPT_RETRY_MS, () => {
      this.#cancelRetry = null;
      if (acceptor.watch()) this.#context.log.log('LOG', `listening on ${this.display} again`);
      else this.#watchLater(acceptor);
    });
  }

  #retryLater(): void {
    this.#cancelRetry = this.#context.schedule(ACCEPT_RETRY_MS, () => {
      this.#cancelRetry = null;
      this.open().then(
        () => {
          if (!this.#closed) this.#context.log.log('LOG', `listening on ${this.display} again`);
        },
        (error: NodeJS.ErrnoException) => {
          if (this.#closed) return;
          this.#context.log.log('ERROR', `cannot listen on ${this.display}: ${systemErrorText(error)}`);
          this.#retryLater();
        },
      );
    });
  }

  #release(): void {
    const file = this.#file;
    this.#file = null;
    if (this.#acceptor !== null) {
      this.#acceptor.close();
      this.#acceptor = null;
      if (this.#target.kind !== 'unix' || file === null) return;
      // It has one of the two.
      for (const path of [this.#target.path, this.#bindPath]) {
        const now = path === null ? null : socketFileIdentity(path);
        if (path !== null && now !== null && isSameFile(now, file)) removeName(path);
      }
      return;
    }
    const server = this.#server;
    if (server === null) return;
    this.#server = null;
    if (this.#target.kind === 'unix' && file !== null) {
      const { path } = this.#target;
      const now = socketFileIdentity(path);
      const isOurs = now !== null && isSameFile(now, file);
      if (now !== null && !isOurs && this.#bindPath === null) {
        // Closing unlinks whatever stands at the path, and that is another process's socket by now. Ours has
        // no name any more, so nobody reaches it; it goes with the process.
        server.unref();
        return;
      }
      // Closing unlinks the name that it was bound under, which it has lost.
      if (isOurs && this.#bindPath !== null) removeName(path);
    }
    server.close();
  }
}

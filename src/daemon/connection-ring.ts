import type { ListenerInfo } from '../net/listening-socket.ts';
import type { SocketName } from '../net/native-address.ts';

/** An accepted connection on its way to the thread that is to serve it. */
export interface GivenConnection {
  /** The thread's own, once it has taken it. */
  readonly fd: number;
  /** The other end; null for a unix socket. */
  readonly peer: SocketName | null;
  /** By what it has come. */
  readonly listener: Pick<ListenerInfo, 'kind' | 'port'>;
  /** Another process's unix socket stands where ours did. */
  readonly isUnixReplaced: boolean;
}

/** How many may be on their way to one thread. */
export const RING_CONNECTIONS = 1024;

// Words: what each side writes is on a cache line of its own.
const TAKEN = 0;
const PUT = 16;
const IS_RUNG = 32;
const RECORDS = 48;

// Words of a record; the address is text.
const FD = 0;
const FLAGS = 1;
const LISTENER_PORT = 2;
const PEER_PORT = 3;
const IP_BYTES = 4;
const IP = 5;
const RECORD_WORDS = 24;
/** An address with its scope has 62 characters at most. */
const MAX_IP_BYTES = 4 * (RECORD_WORDS - IP);

const BY_TCP = 1;
const IS_UNIX_REPLACED = 2;

/**
 * Connections that the main thread has accepted for one worker, in order, in memory that both share: a message for each
 * would cost both threads more than the connection's login. One puts, the other takes; what that has not taken when it
 * dies, nobody has read from. Counts go on from 0 and wrap at 32 bits.
 */
export class ConnectionRing {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #bytes: Buffer;

  /** `memory`: another thread's ring; a new one by default. */
  constructor(memory = new SharedArrayBuffer(4 * (RECORDS + RECORD_WORDS * RING_CONNECTIONS))) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
    this.#bytes = Buffer.from(memory);
  }

  /** How many were ever put. */
  get putCount(): number {
    return Atomics.load(this.#words, PUT);
  }

  get takenCount(): number {
    return Atomics.load(this.#words, TAKEN);
  }

  /** How many are there to be taken. */
  get length(): number {
    return (this.putCount - this.takenCount) | 0;
  }

  /** Of the main thread. False: there is no room now. */
  put({ fd, peer, listener, isUnixReplaced }: GivenConnection): boolean {
    const words = this.#words;
    const count = Atomics.load(words, PUT);
    if (this.length >= RING_CONNECTIONS) return false;
    const at = recordAt(count);
    words[at + FD] = fd;
    words[at + FLAGS] = (listener.kind === 'tcp' ? BY_TCP : 0) | (isUnixReplaced ? IS_UNIX_REPLACED : 0);
    words[at + LISTENER_PORT] = listener.port;
    words[at + PEER_PORT] = peer?.port ?? 0;
    words[at + IP_BYTES] =
      peer === null ? 0 : this.#bytes.write(peer.ip, 4 * (at + IP), MAX_IP_BYTES, 'latin1');
    Atomics.store(words, PUT, (count + 1) | 0);
    return true;
  }

  /** Of the main thread, behind what it has put: whether the worker is to be woken for it, and not about to look anyway. */
  mustWake(): boolean {
    return Atomics.exchange(this.#words, IS_RUNG, 1) === 0;
  }

  /** Of the worker, ahead of looking: from here on it has to be woken again. */
  beginLooking(): void {
    Atomics.store(this.#words, IS_RUNG, 0);
  }

  /** Of the worker, and of the main thread when that has ended: the next one, whose descriptor is its own then; null for none. */
  take(): GivenConnection | null {
    const words = this.#words;
    const count = Atomics.load(words, TAKEN);
    if (count === Atomics.load(words, PUT)) return null;
    const at = recordAt(count);
    const flags = words[at + FLAGS] as number;
    const ipBytes = words[at + IP_BYTES] as number;
    const ip = this.#bytes.toString('latin1', 4 * (at + IP), 4 * (at + IP) + ipBytes);
    const taken: GivenConnection = {
      fd: words[at + FD] as number,
      peer: ipBytes === 0 ? null : { ip, port: words[at + PEER_PORT] as number },
      listener: {
        kind: (flags & BY_TCP) === 0 ? 'unix' : 'tcp',
        port: words[at + LISTENER_PORT] as number,
      },
      isUnixReplaced: (flags & IS_UNIX_REPLACED) !== 0,
    };
    // Last: the thread may be ended where a function or the next round of a loop begins, and what it has taken is nobody else's.
    Atomics.store(words, TAKEN, (count + 1) | 0);
    return taken;
  }
}

function recordAt(count: number): number {
  return RECORDS + (count & (RING_CONNECTIONS - 1)) * RECORD_WORDS;
}

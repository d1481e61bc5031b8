import { createRequire } from 'node:module';
import type { Server, Socket } from 'node:net';
import { isMainThread } from 'node:worker_threads';
import { datagramCalls, type OpenDatagram } from './native-datagram.ts';
import { type ListenCalls, listenCalls, noListenCalls } from './native-listen.ts';
import { noProcessCalls, type ProcessCalls, processCalls } from './native-process.ts';

/** Who holds the other end of a unix socket, as the kernel recorded it when that end connected. */
export interface PeerCredentials {
  /** 0 when the peer lives in a pid namespace that we cannot see. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * System calls that Node has no API for. Every member works without the library too, with null for an answer,
 * so callers must treat "unknown" as "not trusted".
 */
export interface Native {
  /** False when the library could not load or the platform is not Linux. */
  readonly available: boolean;
  /** Why it is not available, for one line in the log; null when it is. */
  readonly unavailableReason: string | null;
  /** SO_PEERCRED of an accepted unix socket; null for TCP, a closed socket or without the library. */
  peerCredentials(socket: Socket): PeerCredentials | null;
  /** A new, empty set; null without the library. */
  epoll(): EpollSet | null;
  /**
   * recv(2) into `buffer` from its start, without waiting. Returns how many bytes came, 0 at the peer's end, -1
   * when there is nothing or the connection has failed.
   */
  receive(fd: number, buffer: Buffer): number;
  /**
   * Whether the peer has closed its end or the connection has failed, unread bytes or not: what Node doesn't
   * notice on a paused socket. False when unknown.
   */
  hasPeerLeft(socket: Socket): boolean;
  /**
   * send(2) without waiting: `bytes[start, end)`, copied by the kernel before the call returns. Returns how many
   * bytes it took, -1 when none, whatever the reason. `fs.writeSync` does the same at three times the cost, and
   * throws when the peer is slow.
   */
  write(fd: number, bytes: Buffer, start: number, end: number): number;
  /**
   * setsockopt(2) with an int. False when the kernel refuses, the socket has no descriptor (any more), or without the
   * library.
   */
  setOption(socket: Socket, level: number, name: number, value: number): boolean;
  /** The group database's id of `name`; null when there is no such group or without the library. */
  groupId(name: string): number | null;
  /** About the process itself. */
  readonly process: ProcessCalls;
  /** To the system's log and to systemd; null without the library. */
  readonly datagram: OpenDatagram;
  /** About listening sockets. */
  readonly listen: ListenCalls;
  /** The user database's name of `uid`; null when there is no such user or without the library. */
  userName(uid: number): string | null;
}

/** An epoll set, level-triggered, for reading. Its `…At` methods speak of what the last `wait` has fetched. */
export interface EpollSet {
  /** False when the kernel refuses. */
  add(fd: number): boolean;
  remove(fd: number): void;
  /** Fetches what is ready, without waiting; returns how many, or less than 1. */
  wait(): number;
  fdAt(index: number): number;
  /** The peer has finished sending, or the connection has failed; bytes may have come before. */
  isHungUpAt(index: number): boolean;
  /** `callback` is called in every turn of the event loop in which something is ready, or may be. One per set. */
  onReady(callback: () => void): void;
  /** Whether waiting for the set keeps the process alive; it doesn't at first. */
  keepAlive(on: boolean): void;
}

type Koffi = typeof import('koffi');

/** Buffers of which the address is handed to calls, once it is known; 0 before. */
const pinned = new Map<Uint8Array, number>();

/**
 * Memory that is there for as long as the process: {@link Native.receive} and {@link Native.write} are given its
 * address, which is a quarter cheaper than to have the library find out where a buffer lies.
 */
export function allocPinned(bytes: number): Buffer {
  const buffer = Buffer.allocUnsafeSlow(bytes);
  pinned.set(buffer, 0);
  return buffer;
}

const SOL_SOCKET = 1;
/** MSG_DONTWAIT and MSG_NOSIGNAL. */
const NO_WAIT_NO_SIGNAL = 0x40 | 0x4000;
const POLLERR = 0x8;
const POLLHUP = 0x10;
const POLLRDHUP = 0x2000;
/** `struct pollfd`: int32 fd, int16 events, int16 revents. */
const POLLFD_BYTES = 8;
const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLLIN = 0x1;
const EPOLLRDHUP = 0x2000;
/** EPOLLERR, EPOLLHUP and EPOLLRDHUP. */
const EPOLL_GONE = 0x8 | 0x10 | EPOLLRDHUP;
/** How many ready descriptors one `wait` fetches at most. */
const EVENTS_PER_WAIT = 256;
/** libuv's `uv_handle_type` and `uv_poll_event`. */
const UV_POLL = 8;
const UV_READABLE = 1;
/** `struct ucred`: int32 pid, uint32 uid, uint32 gid, in the machine's byte order. */
const UCRED_BYTES = 12;

function requireKoffi(): Koffi {
  return createRequire(import.meta.url)('koffi') as Koffi;
}

/** The file descriptor below a socket, -1 when it has none any more. Node keeps it on an internal handle only. */
export function socketFd(socket: Socket | Server): number {
  const handle: unknown = Reflect.get(socket, '_handle');
  if (typeof handle !== 'object' || handle === null) return -1;
  const fd: unknown = Reflect.get(handle, 'fd');
  return typeof fd === 'number' ? fd : -1;
}

function unavailable(reason: string): Native {
  return {
    available: false,
    unavailableReason: reason,
    peerCredentials: () => null,
    epoll: () => null,
    receive: () => -1,
    hasPeerLeft: () => false,
    write: () => -1,
    setOption: () => false,
    groupId: () => null,
    process: noProcessCalls,
    datagram: () => null,
    listen: noListenCalls,
    userName: () => null,
  };
}

/**
 * Opens the native calls, once, at start. Never throws: a machine without a prebuilt library (or with another
 * system than Linux) gets a {@link Native} that answers null. The parameters exist for tests.
 */
export function openNative(
  load: () => Koffi = requireKoffi,
  platform: NodeJS.Platform = process.platform,
): Native {
  // Option numbers and structure layouts below are Linux's.
  if (platform !== 'linux') return unavailable(`not supported on ${platform}`);
  try {
    return linuxNative(load());
  } catch (error) {
    return unavailable(error instanceof Error ? error.message : String(error));
  }
}

function linuxNative(koffi: Koffi): Native {
  const libc = koffi.load(null);
  const getsockopt = libc.func('int getsockopt(int, int, int, void *, void *)');
  const setsockopt = libc.func('int setsockopt(int, int, int, const void *, unsigned int)');
  const send = libc.func('int send(int, const void *, size_t, int)');
  const sendAt = libc.func('int send(int, uintptr_t, size_t, int)');
  const recv = libc.func('int recv(int, void *, size_t, int)');
  const recvAt = libc.func('int recv(int, uintptr_t, size_t, int)');
  const poll = libc.func('int poll(void *, unsigned long, int)');
  const getgrnam = libc.func('void *getgrnam(const char *)');
  const getpwuid = libc.func('void *getpwuid(uint32_t)');
  const user = koffi.struct({ name: 'const char *' });
  const group = koffi.struct({ name: 'void *', password: 'void *', gid: 'uint32_t' });
  // The option's number is the same everywhere but on PowerPC.
  const soPeercred = process.arch === 'ppc64' ? 21 : 17;

  return {
    available: true,
    unavailableReason: null,
    peerCredentials(socket) {
      const fd = socketFd(socket);
      if (fd < 0) return null;
      const ucred = Buffer.alloc(UCRED_BYTES);
      const view = new DataView(ucred.buffer, ucred.byteOffset, UCRED_BYTES);
      const length = Buffer.alloc(4);
      const lengthView = new DataView(length.buffer, length.byteOffset, 4);
      const little = isLittleEndian();
      lengthView.setUint32(0, UCRED_BYTES, little);
      const result: unknown = getsockopt(fd, SOL_SOCKET, soPeercred, ucred, length);
      if (result !== 0 || lengthView.getUint32(0, little) !== UCRED_BYTES) return null;
      const pid = view.getInt32(0, little);
      const uid = view.getUint32(4, little);
      const gid = view.getUint32(8, little);
      // (uid_t) -1 means that the kernel does not know: it answers so for a TCP socket.
      return uid === 0xffffffff ? null : { pid, uid, gid };
    },
    epoll: () => epollSet(koffi, libc),
    receive(fd, buffer) {
      const address = addressOf(koffi, buffer);
      return address === 0
        ? (recv(fd, buffer, buffer.length, NO_WAIT_NO_SIGNAL) as number)
        : (recvAt(fd, address, buffer.length, NO_WAIT_NO_SIGNAL) as number);
    },
    hasPeerLeft(socket) {
      const fd = socketFd(socket);
      if (fd < 0) return false;
      const pollfd = Buffer.alloc(POLLFD_BYTES);
      const view = new DataView(pollfd.buffer, pollfd.byteOffset, POLLFD_BYTES);
      const little = isLittleEndian();
      view.setInt32(0, fd, little);
      view.setInt16(4, POLLRDHUP, little);
      const result: unknown = poll(pollfd, 1, 0);
      return result === 1 && (view.getInt16(6, little) & (POLLERR | POLLHUP | POLLRDHUP)) !== 0;
    },
    write(fd, bytes, start, end) {
      const address = addressOf(koffi, bytes);
      if (address !== 0) return sendAt(fd, address + start, end - start, NO_WAIT_NO_SIGNAL) as number;
      return send(fd, start === 0 ? bytes : bytes.subarray(start), end - start, NO_WAIT_NO_SIGNAL) as number;
    },
    setOption(socket, level, name, value) {
      const fd = socketFd(socket);
      return fd >= 0 && setsockopt(fd, level, name, Int32Array.of(value), 4) === 0;
    },
    groupId(name) {
      const found: unknown = getgrnam(name);
      if (found === null) return null;
      const entry: unknown = koffi.decode(found, group);
      const gid: unknown = typeof entry === 'object' && entry !== null ? Reflect.get(entry, 'gid') : null;
      return typeof gid === 'number' ? gid : null;
    },
    process: processCalls(koffi, libc),
    datagram: datagramCalls(koffi, libc),
    listen: listenCalls(koffi, libc),
    userName(uid) {
      const found: unknown = getpwuid(uid);
      if (found === null) return null;
      const entry: unknown = koffi.decode(found, user);
      const name: unknown = typeof entry === 'object' && entry !== null ? Reflect.get(entry, 'name') : null;
      return typeof name === 'string' && name !== '' ? name : null;
    },
  };
}

/** Of memory that is pinned; 0: it is not. */
function addressOf(koffi: Koffi, bytes: Uint8Array): number {
  const known = pinned.get(bytes);
  if (known === undefined) return 0;
  if (known !== 0) return known;
  const address = Number(koffi.address(bytes));
  pinned.set(bytes, address);
  return address;
}

function isLittleEndian(): boolean {
  return new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
}

function epollSet(koffi: Koffi, libc: ReturnType<Koffi['load']>): EpollSet | null {
  const create = libc.func('int epoll_create1(int)');
  const control = libc.func('int epoll_ctl(int, int, int, void *)');
  const wait = libc.func('int epoll_wait(int, uintptr_t, int, int)');
  const set: unknown = create(EPOLL_CLOEXEC);
  if (typeof set !== 'number' || set < 0) return null;
  // struct epoll_event in 32-bit words: events, padding (it is packed on x86-64), the descriptor, unused.
  const words = process.arch === 'x64' ? 3 : 4;
  const fdWord = words - 2;
  const wanted = new Int32Array(words);
  wanted[0] = EPOLLIN | EPOLLRDHUP;
  const ready = new Int32Array(words * EVENTS_PER_WAIT);
  // Too large to lie on the heap, where it could move.
  const readyAt = Number(koffi.address(ready));
  let watcher: Watcher | null = null;
  return {
    add(fd) {
      wanted[fdWord] = fd;
      return control(set, EPOLL_CTL_ADD, fd, wanted) === 0;
    },
    remove(fd) {
      control(set, EPOLL_CTL_DEL, fd, wanted);
    },
    wait: () => wait(set, readyAt, EVENTS_PER_WAIT, 0) as number,
    fdAt: (index) => ready[index * words + fdWord] as number,
    isHungUpAt: (index) => ((ready[index * words] as number) & EPOLL_GONE) !== 0,
    onReady(callback) {
      watcher = quietWatcher(koffi, libc, set, callback) ?? plainWatcher(koffi, set, callback);
      watcher.unref();
    },
    keepAlive(on) {
      if (on) watcher?.ref();
      else watcher?.unref();
    },
  };
}

/** Wakes the event loop. */
interface Watcher {
  ref(): void;
  unref(): void;
}

/** The library's own watcher makes an object for JavaScript at each wake-up. */
function plainWatcher(koffi: Koffi, fd: number, callback: () => void): Watcher {
  // Node runs the next tick's work behind its own callbacks, of which the watcher's is none.
  return koffi.node.poll(fd, () => setImmediate(callback));
}

/**
 * A `uv_poll_t` whose callback does nothing: that the loop wakes up is enough, for an immediate that keeps nothing
 * awake is due in each turn. Null where the loop cannot be reached so.
 */
function quietWatcher(
  koffi: Koffi,
  libc: ReturnType<Koffi['load']>,
  fd: number,
  callback: () => void,
): Watcher | null {
  // A worker's loop must be empty when its thread ends.
  if (!isMainThread) return null;
  let ref: (handle: bigint) => void;
  let unref: (handle: bigint) => void;
  let handle: bigint;
  try {
    const getLoop = libc.func('int napi_get_uv_event_loop(void *, _Out_ void **)');
    const symbol = libc.func('void *dlsym(void *, const char *)');
    const sizeOf = libc.func('size_t uv_handle_size(int)');
    const calloc = libc.func('void *calloc(size_t, size_t)');
    const init = libc.func('int uv_poll_init(void *, void *, int)');
    const start = libc.func('int uv_poll_start(void *, int, void *)');
    ref = libc.func('void uv_ref(void *)');
    unref = libc.func('void uv_unref(void *)');
    // It takes what the loop passes and looks at the pointer's value alone.
    const nothing: unknown = symbol(null, 'labs');
    const loop: [bigint | null] = [null];
    if (nothing === null || getLoop(koffi.node.env, loop) !== 0 || loop[0] === null) return null;
    handle = calloc(1, sizeOf(UV_POLL)) as bigint;
    if (init(loop[0], handle, fd) !== 0 || start(handle, UV_READABLE, nothing) !== 0) return null;
  } catch {
    return null;
  }
  const turn = () => {
    setImmediate(turn).unref();
    callback();
  };
  setImmediate(turn).unref();
  return { ref: () => ref(handle), unref: () => unref(handle) };
}

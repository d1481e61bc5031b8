import { createRequire } from 'node:module';
import type { Server, Socket } from 'node:net';

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
  /** The group database's id of `name`; null when there is no such group or without the library. */
  groupId(name: string): number | null;
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
  /** `callback` is called once a turn of the event loop as long as something is ready. One per set. */
  onReady(callback: () => void): void;
  /** Whether waiting for the set keeps the process alive; it doesn't at first. */
  keepAlive(on: boolean): void;
}

type Koffi = typeof import('koffi');

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
    groupId: () => null,
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
  const send = libc.func('int send(int, const void *, size_t, int)');
  const recv = libc.func('int recv(int, void *, size_t, int)');
  const poll = libc.func('int poll(void *, unsigned long, int)');
  const getgrnam = libc.func('void *getgrnam(const char *)');
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
      return recv(fd, buffer, buffer.length, NO_WAIT_NO_SIGNAL) as number;
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
      return send(fd, start === 0 ? bytes : bytes.subarray(start), end - start, NO_WAIT_NO_SIGNAL) as number;
    },
    groupId(name) {
      const found: unknown = getgrnam(name);
      if (found === null) return null;
      const entry: unknown = koffi.decode(found, group);
      const gid: unknown = typeof entry === 'object' && entry !== null ? Reflect.get(entry, 'gid') : null;
      return typeof gid === 'number' ? gid : null;
    },
  };
}

function isLittleEndian(): boolean {
  return new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
}

function epollSet(koffi: Koffi, libc: ReturnType<Koffi['load']>): EpollSet | null {
  const create = libc.func('int epoll_create1(int)');
  const control = libc.func('int epoll_ctl(int, int, int, void *)');
  const wait = libc.func('int epoll_wait(int, void *, int, int)');
  const set: unknown = create(EPOLL_CLOEXEC);
  if (typeof set !== 'number' || set < 0) return null;
  // struct epoll_event in 32-bit words: events, padding (it is packed on x86-64), the descriptor, unused.
  const words = process.arch === 'x64' ? 3 : 4;
  const fdWord = words - 2;
  const wanted = new Int32Array(words);
  wanted[0] = EPOLLIN | EPOLLRDHUP;
  const ready = new Int32Array(words * EVENTS_PER_WAIT);
  let watcher: ReturnType<Koffi['node']['poll']> | null = null;
  return {
    add(fd) {
      wanted[fdWord] = fd;
      return control(set, EPOLL_CTL_ADD, fd, wanted) === 0;
    },
    remove(fd) {
      control(set, EPOLL_CTL_DEL, fd, wanted);
    },
    wait: () => wait(set, ready, EVENTS_PER_WAIT, 0) as number,
    fdAt: (index) => ready[index * words + fdWord] as number,
    isHungUpAt: (index) => ((ready[index * words] as number) & EPOLL_GONE) !== 0,
    onReady(callback) {
      watcher = koffi.node.poll(set, callback);
      watcher.unref();
    },
    keepAlive(on) {
      if (on) watcher?.ref();
      else watcher?.unref();
    },
  };
}

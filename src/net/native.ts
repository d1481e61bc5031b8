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
  /** A second descriptor for the socket's connection; -1 without the library or when there is none. */
  duplicate(socket: Socket): number;
  /**
   * Whether the peer has closed its end or the connection has failed, unread bytes or not: what Node doesn't
   * notice on a paused socket. False when unknown.
   */
  hasPeerLeft(socket: Socket): boolean;
  /**
   * write(2) on a non-blocking descriptor: `bytes[start, end)`, copied by the kernel before the call returns.
   * Returns how many bytes it took, -1 when none, whatever the reason. `fs.writeSync` does the same at three
   * times the cost, and throws when the peer is slow.
   */
  write(fd: number, bytes: Buffer, start: number, end: number): number;
  /** The group database's id of `name`; null when there is no such group or without the library. */
  groupId(name: string): number | null;
}

type Koffi = typeof import('koffi');

const SOL_SOCKET = 1;
const F_DUPFD_CLOEXEC = 1030;
const POLLERR = 0x8;
const POLLHUP = 0x10;
const POLLRDHUP = 0x2000;
/** `struct pollfd`: int32 fd, int16 events, int16 revents. */
const POLLFD_BYTES = 8;
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
    duplicate: () => -1,
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
  const write = libc.func('int64_t write(int, const void *, size_t)');
  const poll = libc.func('int poll(void *, unsigned long, int)');
  const fcntl = libc.func('int fcntl(int, int, int)');
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
    duplicate(socket) {
      const fd = socketFd(socket);
      if (fd < 0) return -1;
      const copy: unknown = fcntl(fd, F_DUPFD_CLOEXEC, 0);
      return typeof copy === 'number' ? copy : -1;
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
      const taken: unknown = write(fd, start === 0 ? bytes : bytes.subarray(start), end - start);
      return typeof taken === 'number' ? taken : -1;
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

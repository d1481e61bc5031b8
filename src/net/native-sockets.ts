import type { Server, Socket } from 'node:net';
import { addressOf, allocPinned } from './pinned.ts';
import { type ConnSocket, RawSocket } from './raw-socket.ts';

/** Who holds the other end of a unix socket, as the kernel recorded it when that end connected. */
export interface PeerCredentials {
  /** 0 when the peer lives in a pid namespace that we cannot see. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Who is at the other end. Without the library nobody knows. */
export interface CredentialCalls {
  /** SO_PEERCRED of an accepted unix socket; null for TCP, a closed socket or when it is unknown. */
  peerCredentials(socket: ConnSocket): PeerCredentials | null;
}

/** Whether there is anybody. Without the library it looks so. */
export interface HangUpCalls {
  /**
   * Whether the peer has closed its end or the connection has failed, unread bytes or not: what Node doesn't
   * notice on a paused socket. False when unknown.
   */
  hasPeerLeft(socket: ConnSocket): boolean;
}

/** Without the library nothing is set. */
export interface OptionCalls {
  /** setsockopt(2) with an int. False when the kernel refuses, or the socket has no descriptor (any more). */
  setOption(socket: ConnSocket, level: number, name: number, value: number): boolean;
  /** The same of a descriptor. */
  setFdOption(fd: number, level: number, name: number, value: number): boolean;
}

type Koffi = typeof import('koffi');

const SOL_SOCKET = 1;
const POLLERR = 0x8;
const POLLHUP = 0x10;
const POLLRDHUP = 0x2000;
/** `struct pollfd`: int32 fd, int16 events, int16 revents. */
const POLLFD_BYTES = 8;
/** `struct ucred`: int32 pid, uint32 uid, uint32 gid, in the machine's byte order. */
const UCRED_BYTES = 12;

export const noCredentialCalls: CredentialCalls = { peerCredentials: () => null };
export const noHangUpCalls: HangUpCalls = { hasPeerLeft: () => false };
export const noOptionCalls: OptionCalls = { setOption: () => false, setFdOption: () => false };

/** The file descriptor below a socket, -1 when it has none any more. Node keeps it on an internal handle only. */
export function socketFd(socket: Socket | Server | RawSocket): number {
  if (socket instanceof RawSocket) return socket.fd;
  const handle: unknown = Reflect.get(socket, '_handle');
  if (typeof handle !== 'object' || handle === null) return -1;
  const fd: unknown = Reflect.get(handle, 'fd');
  return typeof fd === 'number' ? fd : -1;
}

/** Linux's, through a library that `openNative` has loaded. Throws where it is missing. */
export function credentialCalls(libc: ReturnType<Koffi['load']>): CredentialCalls {
  const getsockopt = libc.func('int getsockopt(int, int, int, void *, void *)');
  // The option's number is the same everywhere but on PowerPC.
  const soPeercred = process.arch === 'ppc64' ? 21 : 17;
  return {
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
  };
}

/** As {@link credentialCalls}. */
export function hangUpCalls(libc: ReturnType<Koffi['load']>): HangUpCalls {
  const poll = libc.func('int poll(void *, unsigned long, int)');
  return {
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
  };
}

/** As {@link credentialCalls}. */
export function optionCalls(libc: ReturnType<Koffi['load']>, koffi: Koffi): OptionCalls {
  const setsockopt = libc.func('int setsockopt(int, int, int, uintptr_t, unsigned int)');
  const memory = allocPinned(4);
  const value = new Int32Array(memory.buffer, memory.byteOffset, 1);
  const address = addressOf(koffi, memory);
  const setFdOption = (fd: number, level: number, name: number, wanted: number): boolean => {
    value[0] = wanted;
    return fd >= 0 && setsockopt(fd, level, name, address, 4) === 0;
  };
  return {
    setFdOption,
    setOption: (socket, level, name, wanted) => setFdOption(socketFd(socket), level, name, wanted),
  };
}

function isLittleEndian(): boolean {
  return new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
}

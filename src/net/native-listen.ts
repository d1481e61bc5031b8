import { constants, endianness } from 'node:os';
import { type SocketName, socketNames } from './native-address.ts';
import { socketError } from './socket-error.ts';

/** Calls about listening sockets. Without the library they answer null or "no". */
export interface ListenCalls {
  /** Another descriptor for what `fd` stands for, not passed on to programs that we start. */
  duplicate(fd: number): number | null;
  /**
   * The path that a unix socket is bound to, with `@` in front in the abstract namespace; empty when it has none, null
   * when it is no unix socket or unknown.
   */
  unixPath(fd: number): string | null;
  /** The same of the other end of a connected one. */
  unixPeerPath(fd: number): string | null;
  /**
   * The kernel takes no further TCP connection for this listener, but finishes those that have begun. Whoever comes is
   * neither refused nor answered, and asks again a second later; by then the port should be somebody else's. For good.
   * False when that could not be had.
   */
  takeNoMore(fd: number): boolean;
  /**
   * A connection out of the listener's queue, which never waits and is not passed on to programs that we start; null when
   * there is none. Throws the system's error.
   */
  accept(fd: number): Accepted | null;
}

/** A connection that was accepted. */
export interface Accepted {
  readonly fd: number;
  /** The other end; null for a unix socket. */
  readonly peer: SocketName | null;
}

type Koffi = typeof import('koffi');

const AF_UNIX = 1;
const F_DUPFD_CLOEXEC = 1030;
/** `struct sockaddr_un`: uint16 family, 108 bytes of path. */
const SOCKADDR_UN_BYTES = 110;

export const noListenCalls: ListenCalls = {
  duplicate: () => null,
  unixPath: () => null,
  unixPeerPath: () => null,
  takeNoMore: () => false,
  accept: () => null,
};

const SOCK_CLOEXEC_NONBLOCK = 0o2000000 | 0o4000;
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;

/**
 * A classic BPF program, which the kernel runs on each TCP segment for the listener, from the TCP header on. Words of
 * `struct sock_filter`: code, jump if true, jump if false, operand.
 */
const DROP_SYN: readonly (readonly [number, number, number, number])[] = [
  // Load the byte of flags.
  [0x30, 0, 0, 13],
  // SYN set? A listener gets no other segment with it than a first one.
  [0x45, 0, 1, 0x02],
  // Drop.
  [0x06, 0, 0, 0],
  // Keep all of it.
  [0x06, 0, 0, 0xffffffff],
];

/** Linux's, through a library that `openNative` has loaded. Throws where one of them is missing. */
export function listenCalls(libc: ReturnType<Koffi['load']>, koffi: Koffi): ListenCalls {
  const setsockopt = libc.func('int setsockopt(int, int, int, const void *, uint32_t)');
  const accept4 = libc.func('int accept4(int, void *, void *, int)');
  const fcntl = libc.func('int fcntl(int, int, int)');
  const getsockname = libc.func('int getsockname(int, void *, void *)');
  const getpeername = libc.func('int getpeername(int, void *, void *)');
  const peerOf = socketNames(libc);
  const { EAGAIN, EINTR } = constants.errno;
  return {
    duplicate(fd) {
      const copy: number = fcntl(fd, F_DUPFD_CLOEXEC, 3);
      return copy < 0 ? null : copy;
    },
    unixPath: (fd) => unixPathBy(getsockname, fd),
    unixPeerPath: (fd) => unixPathBy(getpeername, fd),
    takeNoMore(fd) {
      const program = bpf(DROP_SYN);
      // struct sock_fprog: uint16 length, padding, pointer.
      const fprog = Buffer.alloc(16);
      const head = new Uint16Array(fprog.buffer, fprog.byteOffset, 1);
      head[0] = DROP_SYN.length;
      new BigUint64Array(fprog.buffer, fprog.byteOffset + 8, 1)[0] = BigInt(koffi.address(program));
      return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, fprog, fprog.length) === 0;
    },
    accept(fd) {
      let errno = 0;
      const { result, name } = peerOf((address, length) => {
        const accepted: number = accept4(fd, address, length, SOCK_CLOEXEC_NONBLOCK);
        if (accepted < 0) errno = koffi.errno();
        return accepted;
      });
      if (result >= 0) return { fd: result, peer: name };
      if (errno === EAGAIN || errno === EINTR) return null;
      throw socketError('accept', errno);
    },
  };
}

function unixPathBy(call: ReturnType<ReturnType<Koffi['load']>['func']>, fd: number): string | null {
  const name = Buffer.alloc(SOCKADDR_UN_BYTES);
  const length = new Uint32Array([name.length]);
  if (call(fd, name, length) !== 0) return null;
  if (new Uint16Array(name.buffer, name.byteOffset, 1)[0] !== AF_UNIX) return null;
  const path = name.subarray(2, Math.min(length[0] ?? 0, name.length));
  if (path.length === 0) return '';
  if (path[0] === 0) return `@${path.toString('utf8', 1)}`;
  const end = path.indexOf(0);
  return path.toString('utf8', 0, end < 0 ? path.length : end);
}

/** In memory that does not move. */
function bpf(program: typeof DROP_SYN): Uint8Array {
  const bytes = Buffer.allocUnsafeSlow(program.length * 8);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const little = endianness() === 'LE';
  program.forEach(([code, jumpTrue, jumpFalse, operand], index) => {
    view.setUint16(index * 8, code, little);
    view.setUint8(index * 8 + 2, jumpTrue);
    view.setUint8(index * 8 + 3, jumpFalse);
    view.setUint32(index * 8 + 4, operand, little);
  });
  return bytes;
}

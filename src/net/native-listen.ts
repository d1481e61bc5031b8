/** Calls about listening sockets. Without the library they answer null or "no". */
export interface ListenCalls {
  /** Another descriptor for what `fd` stands for, not passed on to programs that we start. */
  duplicate(fd: number): number | null;
  /**
   * The path that a unix socket is bound to, with `@` in front in the abstract namespace; empty when it has none, null
   * when it is no unix socket or unknown.
   */
  unixPath(fd: number): string | null;
}

type Koffi = typeof import('koffi');

const AF_UNIX = 1;
const F_DUPFD_CLOEXEC = 1030;
/** `struct sockaddr_un`: uint16 family, 108 bytes of path. */
const SOCKADDR_UN_BYTES = 110;

export const noListenCalls: ListenCalls = { duplicate: () => null, unixPath: () => null };

/** Linux's, through a library that `openNative` has loaded. */
export function listenCalls(libc: ReturnType<Koffi['load']>): ListenCalls {
  const fcntl = libc.func('int fcntl(int, int, int)');
  const getsockname = libc.func('int getsockname(int, void *, void *)');
  return {
    duplicate(fd) {
      const copy: number = fcntl(fd, F_DUPFD_CLOEXEC, 3);
      return copy < 0 ? null : copy;
    },
    unixPath(fd) {
      const name = Buffer.alloc(SOCKADDR_UN_BYTES);
      const length = new Uint32Array([name.length]);
      if (getsockname(fd, name, length) !== 0) return null;
      if (new Uint16Array(name.buffer, name.byteOffset, 1)[0] !== AF_UNIX) return null;
      const path = name.subarray(2, Math.min(length[0] ?? 0, name.length));
      if (path.length === 0) return '';
      if (path[0] === 0) return `@${path.toString('utf8', 1)}`;
      const end = path.indexOf(0);
      return path.toString('utf8', 0, end < 0 ? path.length : end);
    },
  };
}

import { closeSync } from 'node:fs';

/** A socket that sends datagrams to one unix address, which need not be there yet. */
export interface DatagramSender {
  /** Never waits. The system's error code (`ENOENT`: nobody listens there; `EAGAIN`: its queue is full), 0 when sent. */
  send(bytes: Buffer): number;
  close(): void;
}

/** Opens a sender to `address`, a path or `@name` in the abstract namespace; null where that is not possible. */
export type OpenDatagram = (address: string) => DatagramSender | null;

type Koffi = typeof import('koffi');

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
/** MSG_DONTWAIT and MSG_NOSIGNAL. */
const NO_WAIT_NO_SIGNAL = 0x40 | 0x4000;
/** `struct sockaddr_un`: uint16 family in the machine's order, then up to 108 bytes of path. */
const MAX_PATH_BYTES = 107;

/** Linux's, through a library that `openNative` has loaded. Throws where one of them is missing. */
export function datagramCalls(libc: ReturnType<Koffi['load']>, koffi: Koffi): OpenDatagram {
  const socket = libc.func('int socket(int, int, int)');
  const sendto = libc.func('long sendto(int, const void *, size_t, int, const void *, uint32_t)');
  return (address) => {
    const to = unixAddress(address);
    if (to === null) return null;
    // It is not connected: who listens there may be restarted at any time.
    let fd: number = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return null;
    return {
      send: (bytes) =>
        Number(sendto(fd, bytes, bytes.length, NO_WAIT_NO_SIGNAL, to, to.length)) < 0 ? koffi.errno() : 0,
      close() {
        const open = fd;
        fd = -1;
        if (open >= 0) closeSync(open);
      },
    };
  };
}

/** The `sockaddr_un` of a path, or of a name in the abstract namespace with `@` in front; null when it is none. */
export function unixAddress(address: string): Buffer | null {
  const isAbstract = address.startsWith('@');
  const path = Buffer.from(isAbstract ? `\0${address.slice(1)}` : address);
  if (path.length < 2 || path.length > MAX_PATH_BYTES) return null;
  const family = Buffer.from(new Uint16Array([AF_UNIX]).buffer);
  // A path ends in a NUL, an abstract name with the length.
  return Buffer.concat(isAbstract ? [family, path] : [family, path, Buffer.alloc(1)]);
}

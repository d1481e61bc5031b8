import { closeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { unixAddress } from '../../src/net/native-datagram.ts';

const AF_INET = 2;
const SOCK_STREAM = 1;

/**
 * A socket that listens and that nobody accepts from: what a service manager holds for the programs that it starts.
 * Linux only.
 */
export class RawListener implements Disposable {
  readonly fd: number;
  /** 0 for a unix socket. */
  readonly port: number;

  /** On a free port of 127.0.0.1, or on a unix socket (a path, or a name with `@` in front). */
  constructor(path: string | null = null) {
    const libc = (createRequire(import.meta.url)('koffi') as typeof import('koffi')).load(null);
    const socket = libc.func('int socket(int, int, int)');
    const bind = libc.func('int bind(int, const void *, uint32_t)');
    const listen = libc.func('int listen(int, int)');
    const getsockname = libc.func('int getsockname(int, void *, void *)');
    const address = path === null ? loopback() : unixAddress(path);
    this.fd = socket(path === null ? AF_INET : 1, SOCK_STREAM | 0o2000000, 0);
    if (address === null || bind(this.fd, address, address.length) !== 0 || listen(this.fd, 16) !== 0) {
      throw new Error(`cannot listen on ${path ?? '127.0.0.1'}`);
    }
    const bound = Buffer.alloc(128);
    getsockname(this.fd, bound, new Uint32Array([bound.length]));
    this.port = path === null ? bound.readUInt16BE(2) : 0;
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

/** `struct sockaddr_in` of 127.0.0.1, port 0. */
function loopback(): Buffer {
  const address = Buffer.alloc(16);
  address.set(new Uint8Array(new Uint16Array([AF_INET]).buffer));
  address.set([127, 0, 0, 1], 4);
  return address;
}

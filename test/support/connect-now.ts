import { createRequire } from 'node:module';
import { unixAddress } from '../../src/net/native-datagram.ts';

/** Connects before it returns, so that the connection is in the listener's queue and no turn of the loop was. */
export function connectNow(where: { port: number } | { path: string }): { fd: number; close: () => void } {
  const libc = (createRequire(import.meta.url)('koffi') as typeof import('koffi')).load(null);
  const [socket, connectTo, close] = [
    libc.func('int socket(int, int, int)'),
    libc.func('int connect(int, const void *, uint32_t)'),
    libc.func('int close(int)'),
  ];
  let address: Buffer;
  if ('port' in where) {
    address = Buffer.alloc(16);
    address.set(new Uint8Array(new Uint16Array([2]).buffer));
    address.writeUInt16BE(where.port, 2);
    address.set([127, 0, 0, 1], 4);
  } else address = unixAddress(where.path) as Buffer;
  const fd = socket('port' in where ? 2 : 1, 1 | 0o2000000, 0) as number;
  if (connectTo(fd, address, address.length) !== 0) throw new Error('cannot connect');
  return { fd, close: () => void close(fd) };
}

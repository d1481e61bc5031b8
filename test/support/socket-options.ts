import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { ConnSocket } from '../../src/net/raw-socket.ts';
import { socketFd } from '../../src/net/native-sockets.ts';
import type { TcpOptions } from '../../src/net/tcp-options.ts';

/** Levels and names of Linux. */
const SENT_BUFFER = [1, 7] as const;
const RECEIVED_BUFFER = [1, 8] as const;
const KEEPALIVE = [1, 9] as const;
const TCP_KEEPIDLE = [6, 4] as const;
const TCP_KEEPINTVL = [6, 5] as const;
const TCP_KEEPCNT = [6, 6] as const;
const TCP_USER_TIMEOUT = [6, 18] as const;
const TCP_NODELAY = [6, 1] as const;

/** What the kernel has for a TCP connection; of its buffers in each direction. */
export interface KernelOptions extends Omit<TcpOptions, 'bufferBytes'> {
  /** Nothing is held back so that it goes out with more. */
  readonly noDelay: boolean;
  readonly buffers: readonly [sent: number, received: number];
}

export function kernelOptionsOf(socket: ConnSocket): KernelOptions {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  const getsockopt = koffi.load(null).func('int getsockopt(int, int, int, void *, void *)');
  const read = (level: number, name: number): number => {
    const value = new Int32Array(1);
    const failed: unknown = getsockopt(socketFd(socket), level, name, value, Int32Array.of(4));
    if (failed !== 0) throw new Error(`getsockopt(${level}, ${name}) failed`);
    return value[0] as number;
  };
  return {
    keepAlive: read(...KEEPALIVE) !== 0,
    keepIdleSec: read(...TCP_KEEPIDLE),
    keepIntervalSec: read(...TCP_KEEPINTVL),
    keepCount: read(...TCP_KEEPCNT),
    userTimeoutMs: read(...TCP_USER_TIMEOUT),
    noDelay: read(...TCP_NODELAY) !== 0,
    buffers: [read(...SENT_BUFFER), read(...RECEIVED_BUFFER)],
  };
}

/** What the system has for connections that nothing is asked for. */
export function systemKeepAlive(): Pick<TcpOptions, 'keepIdleSec' | 'keepIntervalSec' | 'keepCount'> {
  const read = (name: string) => Number(readFileSync(`/proc/sys/net/ipv4/tcp_keepalive_${name}`, 'latin1'));
  return { keepIdleSec: read('time'), keepIntervalSec: read('intvl'), keepCount: read('probes') };
}

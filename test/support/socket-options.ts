import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { socketFd } from '../../src/net/native.ts';

/** Levels and names of Linux. */
const KEEPALIVE = [1, 9] as const;
const TCP_KEEPIDLE = [6, 4] as const;

/** Whether the kernel probes this connection when it is idle, and after how many seconds. */
export function keepAliveOf(socket: Socket): { isOn: boolean; idleSec: number } {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  const getsockopt = koffi.load(null).func('int getsockopt(int, int, int, void *, void *)');
  const read = (level: number, name: number): number => {
    const value = new Int32Array(1);
    const failed: unknown = getsockopt(socketFd(socket), level, name, value, Int32Array.of(4));
    if (failed !== 0) throw new Error(`getsockopt(${level}, ${name}) failed`);
    return value[0] as number;
  };
  return { isOn: read(...KEEPALIVE) !== 0, idleSec: read(...TCP_KEEPIDLE) };
}

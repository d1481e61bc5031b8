/** A thread that echoes what comes by an epoll set, until it ends as it is told. */
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import { acceptedSocket } from '../../src/net/accepted.ts';
import { openNative } from '../../src/net/native.ts';
import { RawSocket } from '../../src/net/raw-socket.ts';
import { readinessOf } from '../../src/net/readiness.ts';

/** What it begins with. */
export interface EndingStart {
  /** `told`: by `terminate` alone. */
  readonly end: 'told' | 'error' | 'heap';
  /** Chunks until then. */
  readonly chunks: number;
  /** What the C library lacks, as declarations begin; `deaf`: libuv closes no loop that has a handle. */
  readonly lacking: string | null;
  /** What it batches reads in. */
  readonly context: number | null;
}

type Koffi = typeof import('koffi');
const koffi = createRequire(import.meta.url)('koffi') as Koffi;
const { end, chunks, lacking, context } = workerData as EndingStart;

function lame(name: string): Koffi {
  const load: Koffi['load'] = (...args) => {
    const lib = koffi.load(...args);
    const func = (text: string) => {
      if (name === 'deaf' && text.includes('uv_loop_close')) return () => -16;
      if (text.includes(name)) throw new Error(`no such function: ${text}`);
      return lib.func(text);
    };
    return new Proxy(lib, { get: (of, key) => (key === 'func' ? func : Reflect.get(of, key)) });
  };
  return new Proxy(koffi, { get: (of, key) => (key === 'load' ? load : Reflect.get(of, key)) });
}

const native = lacking === null ? openNative() : openNative(() => lame(lacking));
readinessOf(native, context);
const kept: object[] = [];
let seen = 0;

function fillHeap(): void {
  kept.push(new Array(50_000).fill({}));
  setImmediate(fillHeap);
}

function count(): void {
  seen++;
  if (seen !== chunks) return;
  if (end === 'error') throw new Error('told to end');
  if (end === 'heap') setImmediate(fillHeap);
}

parentPort?.on('message', (fd: number) => {
  native.closeAtEnd(fd);
  const socket = acceptedSocket(native, fd, null);
  if (socket === null) throw new Error('no socket');
  parentPort?.postMessage(socket instanceof RawSocket ? 'raw' : 'stream');
  if (socket instanceof RawSocket) {
    socket.owner = {
      socketBytes(chunk, length) {
        socket.write(Buffer.from(chunk.subarray(0, length)));
        count();
      },
      socketEnded: () => socket.end(),
      socketDrained() {},
      socketClosed() {},
    };
    socket.resume();
    return;
  }
  socket.on('data', (chunk: Buffer) => {
    socket.write(chunk);
    count();
  });
  socket.on('error', () => {});
  socket.resume();
});

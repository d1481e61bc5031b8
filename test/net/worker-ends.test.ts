import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openNative } from '../../src/net/native.ts';
import { socketFd } from '../../src/net/native-sockets.ts';
import { withSeed } from '../support/random.ts';
import { waitFor } from '../support/wait-for.ts';
import type { EndingStart } from './ending-worker.ts';
import { byEffort, isFull } from '../support/effort.ts';

const ENDS = byEffort({ wide: 12, full: 600 });
const CLIENTS = 4;
const native = openNative();
const fds = () => readdirSync('/proc/self/fd').length;

let server: Server;
beforeAll(async () => {
  server = createServer({ pauseOnConnect: true, allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterAll(() => {
  server.close();
});

/** A client that sends each chunk again that comes back to it. */
interface Client {
  readonly socket: Socket;
  isClosed: boolean;
  echoes: number;
}

/** Connects, and gives the other end to the worker. */
async function join(worker: Worker): Promise<Client> {
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const client: Client = { socket, isClosed: false, echoes: 0 };
  socket.on('error', () => {});
  socket.on('close', () => {
    client.isClosed = true;
  });
  socket.on('data', (chunk) => {
    client.echoes++;
    socket.write(chunk);
  });
  const [other] = await accepted;
  const fd = native.listen.duplicate(socketFd(other));
  other.destroy();
  worker.postMessage(fd);
  socket.write('echo');
  return client;
}

class Thread {
  readonly worker: Worker;
  readonly heard: unknown[] = [];
  failure: unknown = null;
  hasEnded = false;

  constructor(start: Omit<EndingStart, 'context'>) {
    const context = native.batch.newContext();
    this.worker = new Worker(new URL('./ending-worker.ts', import.meta.url), {
      workerData: { ...start, context } satisfies EndingStart,
      resourceLimits: { maxOldGenerationSizeMb: 40 },
      trackUnmanagedFds: false,
    });
    this.worker.on('message', (message) => this.heard.push(message));
    this.worker.on('error', (error) => {
      this.failure = error;
    });
    this.worker.on('exit', () => {
      this.hasEnded = true;
      if (context !== null) native.batch.endContext(context);
    });
  }
}

describe.runIf(process.platform === 'linux')('a thread with an epoll set of its own', () => {
  it(
    'ends in any way without the process, its clients are cut off, and no descriptor is left',
    async () => {
      await withSeed(async (random) => {
        let before = 0;
        for (let i = 0; i < ENDS; i++) {
          const end = random.pick(['told', 'error', 'heap'] as const);
          const chunks = 1 + random.below(60);
          const thread = new Thread({ end, chunks, lacking: null });
          const clients: Client[] = [];
          for (let n = 0; n < CLIENTS && !thread.hasEnded; n++) clients.push(await join(thread.worker));
          if (end === 'told') {
            const echoes = () => clients.reduce((sum, client) => sum + client.echoes, 0);
            await waitFor(() => echoes() >= chunks, { what: 'echoes' });
            await thread.worker.terminate();
          }
          await waitFor(() => thread.hasEnded, { what: `the thread's end (${end})` });
          // What is still on its way to a dead thread nobody takes; there is none once all have been heard of.
          expect(thread.failure === null).toBe(end === 'told');
          if (thread.heard.length < clients.length) {
            for (const { socket } of clients) socket.destroy();
            before += clients.length - thread.heard.length;
          }
          expect(new Set(thread.heard)).toEqual(new Set(['raw']));
          await waitFor(() => clients.every(({ isClosed }) => isClosed), { what: 'the end of the clients' });
          if (i === 4) before += fds();
        }
        await waitFor(() => fds() <= before, { what: `descriptors: ${before} before, ${fds()} now` });
      });
    },
    isFull ? 1_200_000 : 60_000,
  );
});

describe.each([
  'uv_loop_init',
  'napi_add_env_cleanup_hook',
  'deaf',
])('a thread whose loop could not be closed (%s)', (lacking) => {
  it('reads by streams', async () => {
    const thread = new Thread({ end: 'told', chunks: 0, lacking });
    const client = await join(thread.worker);
    await waitFor(() => client.echoes >= 3);
    expect(thread.heard).toEqual(['stream']);
    await thread.worker.terminate();
    await waitFor(() => client.isClosed);
  });
});

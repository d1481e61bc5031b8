import { connect, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { openNative } from '../../src/net/native.ts';
import { beyondNode, type TcpOptions, tuneTcp } from '../../src/net/tcp-options.ts';
import { kernelOptionsOf, systemKeepAlive } from '../support/socket-options.ts';
import { waitFor } from '../support/wait-for.ts';
import { withoutNative } from '../support/without-native.ts';

const NOTHING: TcpOptions = {
  keepAlive: false,
  keepIdleSec: 0,
  keepIntervalSec: 0,
  keepCount: 0,
  userTimeoutMs: 0,
  bufferBytes: 0,
};
const ALL = { keepAlive: true, keepIdleSec: 33, keepIntervalSec: 7, keepCount: 5, userTimeoutMs: 4321 };
const native = openNative();
const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

async function connected(): Promise<Socket> {
  const server = createServer((accepted) => cleanups.push(() => accepted.destroy()));
  cleanups.push(() => server.close());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const socket = connect({ port: typeof address === 'object' ? (address?.port ?? 0) : 0, host: '127.0.0.1' });
  cleanups.push(() => socket.destroy());
  await waitFor(() => !socket.connecting);
  return socket;
}

/** What the kernel has for a new socket after `options` were asked for. */
async function tuned(options: Partial<TcpOptions>, by = native) {
  const socket = await connected();
  const before = kernelOptionsOf(socket);
  tuneTcp(by, socket, { ...NOTHING, ...options });
  return { before, after: kernelOptionsOf(socket) };
}

describe.runIf(process.platform === 'linux')('a TCP connection', () => {
  it.each([
    ['by native calls', native],
    ['by Node', withoutNative],
  ])('of which nothing is asked keeps what the system has, %s', async (_how, by) => {
    const { before, after } = await tuned({}, by);
    expect(after).toEqual(before);
    expect(after).toMatchObject({ keepAlive: false, userTimeoutMs: 0, ...systemKeepAlive() });
  });

  it.each([
    ['by native calls', native],
    ['by Node', withoutNative],
  ])('is probed at the system\u2019s times unless others are asked for, %s', async (_how, by) => {
    const { before, after } = await tuned({ keepAlive: true }, by);
    expect(after).toEqual({ ...before, keepAlive: true });
  });

  it('is probed as asked, and ends unconfirmed as asked', async () => {
    const { before, after } = await tuned(ALL);
    expect(after).toEqual({ ...before, ...ALL });
  });

  it('is probed as asked without native calls; the rest is told to be out of reach', async () => {
    const { before, after } = await tuned({ ...ALL, bufferBytes: 50_000 }, withoutNative);
    expect(after).toEqual({ ...before, ...ALL, userTimeoutMs: 0 });
    expect(beyondNode({ ...NOTHING, ...ALL, bufferBytes: 50_000 })).toEqual([
      'tcp_user_timeout',
      'tcp_socket_buffer',
    ]);
    expect(beyondNode({ ...NOTHING, ...ALL, userTimeoutMs: 0 })).toEqual([]);
  });

  it.each([
    ['keepIdleSec', 33],
    ['keepIntervalSec', 7],
    ['keepCount', 5],
  ] as const)('keeps the system\u2019s other times when only %s is asked for', async (name, value) => {
    const { before, after } = await tuned({ keepAlive: true, [name]: value });
    expect(after).toEqual({ ...before, keepAlive: true, [name]: value });
  });

  it.each([
    ['keepIdleSec', 33],
    ['keepIntervalSec', 7],
    ['keepCount', 5],
  ] as const)('has Linux\u2019s usual other times when only %s is asked for by Node', async (name, value) => {
    const { before, after } = await tuned({ keepAlive: true, [name]: value }, withoutNative);
    const usual = { keepIdleSec: 7200, keepIntervalSec: 75, keepCount: 9 };
    expect(after).toEqual({ ...before, keepAlive: true, ...usual, [name]: value });
  });

  it('is not probed with times alone', async () => {
    expect((await tuned({ keepIdleSec: 5 })).after.keepAlive).toBe(false);
    expect((await tuned({ keepIdleSec: 5 }, withoutNative)).after.keepAlive).toBe(false);
  });

  it('has buffers of the size asked for, which the kernel doubles', async () => {
    expect((await tuned({ bufferBytes: 50_000 })).after.buffers).toEqual([100_000, 100_000]);
  });

  it('that is closed is left alone', async () => {
    const socket = await connected();
    socket.destroy();
    expect(native.setOption(socket, 1, 9, 1)).toBe(false);
    for (const by of [native, withoutNative]) tuneTcp(by, socket, { ...NOTHING, ...ALL });
  });

  it('and a value that the kernel refuses', async () => {
    const socket = await connected();
    expect(native.setOption(socket, 6, 4, 32_767)).toBe(true);
    expect(native.setOption(socket, 6, 4, 32_768)).toBe(false);
    expect(native.setOption(socket, 6, 6, 127)).toBe(true);
    expect(native.setOption(socket, 6, 6, 128)).toBe(false);
  });
});

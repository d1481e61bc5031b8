import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { openNative, socketFd } from '../../src/net/native.ts';

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** Listens, connects to it, and gives both ends. */
async function socketPair(listen: (server: Server) => void): Promise<{ accepted: Socket; client: Socket }> {
  const server = createServer();
  cleanups.push(() => server.close());
  await new Promise<void>((resolve) => {
    server.once('listening', resolve);
    listen(server);
  });
  const address = server.address();
  const client = typeof address === 'string' ? connect(address) : connect(address?.port ?? 0, '127.0.0.1');
  cleanups.push(() => client.destroy());
  const accepted = await new Promise<Socket>((resolve) => server.once('connection', resolve));
  cleanups.push(() => accepted.destroy());
  return { accepted, client };
}

function unixPair(): Promise<{ accepted: Socket; client: Socket }> {
  const dir = mkdtempSync(join(tmpdir(), 'pgweir-native-'));
  cleanups.push(() => rmSync(dir, { recursive: true, force: true }));
  return socketPair((server) => server.listen(join(dir, 's')));
}

const isLinux = process.platform === 'linux';

describe('the native calls', () => {
  it('tell who connected to a unix socket', async () => {
    const { accepted } = await unixPair();
    const native = openNative();
    const self = { pid: process.pid, uid: process.geteuid?.(), gid: process.getegid?.() };
    expect(native.available).toBe(isLinux);
    expect(native.unavailableReason).toBe(isLinux ? null : `not supported on ${process.platform}`);
    expect(native.peerCredentials(accepted)).toEqual(isLinux ? self : null);
  });

  it('know no credentials of a TCP peer', async () => {
    const { accepted } = await socketPair((server) => server.listen(0, '127.0.0.1'));
    expect(openNative().peerCredentials(accepted)).toBe(null);
  });

  it('know no credentials of a socket that is closed', async () => {
    const { accepted } = await unixPair();
    accepted.destroy();
    expect(socketFd(accepted)).toBe(-1);
    expect(openNative().peerCredentials(accepted)).toBe(null);
  });

  it('look a group up by its name', () => {
    const native = openNative();
    expect(native.groupId('root')).toBe(isLinux ? 0 : null);
    expect(native.groupId('no-such-group-here')).toBe(null);
  });
});

describe('without the native library', () => {
  it('every answer is null and the reason is kept for the log', async () => {
    const { accepted } = await unixPair();
    const native = openNative(() => {
      throw new Error('Cannot find the native Koffi module');
    });
    expect(native.available).toBe(false);
    expect(native.unavailableReason).toBe('Cannot find the native Koffi module');
    expect(native.peerCredentials(accepted)).toBe(null);
    expect(native.groupId('root')).toBe(null);
    expect(native.epoll()).toBe(null);
    expect(native.receive(0, Buffer.alloc(1))).toBe(-1);
  });

  it('another platform than Linux does not even try to load it', () => {
    const native = openNative(() => {
      throw new Error('must not be called');
    }, 'darwin');
    expect(native.unavailableReason).toBe('not supported on darwin');
    expect(native.peerCredentials(new Socket())).toBe(null);
  });
});

import { userInfo } from 'node:os';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect, createServer, type Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { allocPinned, openNative, socketFd } from '../../src/net/native.ts';
import { waitFor } from '../support/wait-for.ts';

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** Listens, connects to it, and gives both ends. */
async function socketPair(listen: (server: Server) => void): Promise<{ accepted: Socket; client: Socket }> {
  const server = createServer({ pauseOnConnect: true });
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

const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');

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

  it('look a user up by its id', () => {
    const native = openNative();
    expect(native.userName(process.getuid?.() ?? 0)).toBe(isLinux ? userInfo().username : null);
    expect(native.userName(2_000_000_001)).toBe(null);
  });
});

/** The library, with some of the event loop's own functions missing. */
function withoutLoopFunctions(): typeof koffi {
  const load: typeof koffi.load = (...args) => {
    const lib = koffi.load(...args);
    const func = (text: string) => {
      if (text.includes(' uv_')) throw new Error(`no such function: ${text}`);
      return lib.func(text);
    };
    return new Proxy(lib, { get: (of, name) => (name === 'func' ? func : Reflect.get(of, name)) });
  };
  return new Proxy(koffi, { get: (of, name) => (name === 'load' ? load : Reflect.get(of, name)) });
}

describe.runIf(isLinux).each([
  ['woken by the event loop alone', openNative],
  ['woken by the library', () => openNative(withoutLoopFunctions)],
])('an epoll set, %s', (_how, open) => {
  it('is told of bytes once they are there, turn after turn until they are taken, and sleeps otherwise', async () => {
    const native = open();
    const { accepted, client } = await socketPair((server) => server.listen(0, '127.0.0.1'));
    const set = native.epoll();
    if (set === null) throw new Error('no epoll set');
    const fd = socketFd(accepted);
    let found = 0;
    set.onReady(() => {
      const count = set.wait();
      if (count < 1) return;
      expect([count, set.fdAt(0), set.isHungUpAt(0)]).toEqual([1, fd, false]);
      found++;
    });
    set.keepAlive(true);
    cleanups.push(() => set.keepAlive(false));
    expect(set.add(fd)).toBe(true);
    client.write('ab');
    await waitFor(() => found >= 3);
    const buffer = Buffer.alloc(10);
    expect(native.receive(fd, buffer)).toBe(2);
    expect(buffer.toString('latin1', 0, 2)).toBe('ab');
    const before = found;
    let turns = 0;
    client.once('data', () => {});
    accepted.write('x', () => {
      turns++;
    });
    await waitFor(() => turns > 0);
    expect(found).toBe(before);
    client.write('c');
    await waitFor(() => found > before);
    set.remove(fd);
  });
});

describe.runIf(isLinux)('pinned memory', () => {
  it('is read into and written from as any other is', async () => {
    const native = openNative();
    const { accepted, client } = await socketPair((server) => server.listen(0, '127.0.0.1'));
    const pinned = allocPinned(64);
    pinned.write('..sent');
    let got = '';
    client.on('data', (chunk: Buffer) => {
      got += chunk.toString('latin1');
    });
    expect(native.write(socketFd(accepted), pinned, 2, 6)).toBe(4);
    expect(native.write(socketFd(accepted), Buffer.from('..too'), 2, 5)).toBe(3);
    await waitFor(() => got === 'senttoo');
    client.write('back');
    await waitFor(() => native.receive(socketFd(accepted), pinned) === 4);
    expect(pinned.toString('latin1', 0, 6)).toBe('backnt');
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
    expect(native.userName(0)).toBe(null);
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

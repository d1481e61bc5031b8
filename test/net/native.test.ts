import { userInfo } from 'node:os';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, Socket } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Interest } from '../../src/net/native-io.ts';
import { allocPinned } from '../../src/net/pinned.ts';
import { type Native, NATIVE_THEMES, type NativeTheme, openNative } from '../../src/net/native.ts';
import { noProcessCalls } from '../../src/net/native-process.ts';
import { socketFd } from '../../src/net/native-sockets.ts';
import { readinessOf } from '../../src/net/readiness.ts';
import { makeCertificate } from '../support/certificates.ts';
import { lacking, refusing } from '../support/lacking.ts';
import { contextParts } from '../support/tls-context.ts';
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

const isLinux = process.platform === 'linux';

describe('the native calls', () => {
  it('tell who connected to a unix socket', async () => {
    const { accepted } = await unixPair();
    const native = openNative();
    const self = { pid: process.pid, uid: process.geteuid?.(), gid: process.getegid?.() };
    expect([...native.missing.keys()]).toEqual(isLinux ? [] : NATIVE_THEMES);
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

  it('know a user’s ids as the user database has them, and nobody who is not there', () => {
    const { userIds } = openNative();
    const [uid, gid] = ['-u', '-g'].map((flag) =>
      Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' })),
    );
    expect(userIds('nobody')).toEqual({ uid, gid });
    expect(userIds('root')).toEqual({ uid: 0, gid: 0 });
    expect(userIds('no-such-user-here')).toBe(null);
    expect(userIds('')).toBe(null);
  });
});

describe.runIf(isLinux).each([
  ['woken by the event loop alone', openNative],
  ['woken by the library', () => openNative(() => lacking(' uv_'))],
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
      expect([count, set.fdAt(0), set.tokenAt(0)]).toEqual([1, fd, -5]);
      expect([set.isReadableAt(0), set.isWritableAt(0), set.isHungUpAt(0)]).toEqual([true, false, false]);
      found++;
    });
    set.keepAlive(true);
    cleanups.push(() => set.keepAlive(false));
    expect(set.add(fd, Interest.read, -5)).toBe(true);
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

describe.runIf(isLinux)('a bell', () => {
  it('is heard once for each time it was rung since, and by nobody otherwise', () => {
    const native = openNative();
    const [bell, set] = [native.newBell(), native.epoll()];
    if (bell === null || set === null) throw new Error('no bell, or nobody to hear it');
    cleanups.push(() => native.closeFd(bell));
    expect(set.add(bell, Interest.read | Interest.edge, 3)).toBe(true);
    expect(set.wait()).toBe(0);
    for (const rings of [1, 2, 1]) {
      for (let i = 0; i < rings; i++) native.ringBell(bell);
      expect([set.wait(), set.fdAt(0), set.tokenAt(0), set.isReadableAt(0)]).toEqual([1, bell, 3, true]);
      expect(set.wait()).toBe(0);
    }
  });

  it('wakes the event loop that watches the set', async () => {
    const native = openNative();
    const bell = native.newBell();
    const readiness = readinessOf(native);
    if (bell === null || readiness === null) throw new Error('no bell, or nobody to hear it');
    let heard = 0;
    const reader = { ahead: null, mayRead: false, readable: () => void heard++, took() {}, hungUp() {} };
    readiness.add(bell, reader, Interest.read | Interest.edge);
    cleanups.push(() => {
      readiness.remove(bell, reader, true);
      native.closeFd(bell);
    });
    for (let ring = 1; ring <= 3; ring++) {
      native.ringBell(bell);
      await waitFor(() => heard === ring);
    }
  });
});

describe.runIf(isLinux)('a kernel that gives no context for batches', () => {
  it('is told of with its error, and connections are read and written one by one', () => {
    const native = openNative(() => refusing('long syscall(long, long, void *)', constants.errno.EPERM));
    expect([...native.missing]).toEqual([['batch', 'io_setup: EPERM']]);
    expect(native.batch.newContext()).toBe(null);
    expect(readinessOf(native)?.writes).toBe(null);
    expect(readinessOf(openNative())?.writes).not.toBe(null);
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
    const reason = 'Cannot find the native Koffi module';
    expect([...native.missing]).toEqual(NATIVE_THEMES.map((theme) => [theme, reason]));
    expect(native.peerCredentials(accepted)).toBe(null);
    expect(native.groupId('root')).toBe(null);
    expect(native.userName(0)).toBe(null);
    expect(native.epoll()).toBe(null);
    expect(native.newBell()).toBe(null);
    native.ringBell(0);
    expect(native.receive(0, Buffer.alloc(1))).toBe(-1);
    native.yieldProcessor();
    expect(native.userIds('root')).toBe(null);
    expect(native.datagram('@x')).toBe(null);
  });

  it('another platform than Linux does not even try to load it', () => {
    const native = openNative(() => {
      throw new Error('must not be called');
    }, 'darwin');
    expect([...native.missing]).toEqual(NATIVE_THEMES.map((theme) => [theme, 'not supported on darwin']));
    expect(native.peerCredentials(new Socket())).toBe(null);
  });
});

/** What answers that a theme is there: the same calls as its fallback's, which answer otherwise. */
const answers: Readonly<Record<NativeTheme, (native: Native, socket: Socket) => unknown>> = {
  credentials: (native, socket) => native.peerCredentials(socket)?.uid,
  hangUp: (native, socket) => native.hasPeerLeft(socket),
  options: (native, socket) => native.setOption(socket, 1, 9, 1),
  io: (native, socket) => [native.epoll() !== null, native.receive(socketFd(socket), Buffer.alloc(1))],
  names: (native) => native.userIds('root')?.uid,
  // Not to be asked of the process that runs the tests.
  process: (native) => native.process.forbidDumps !== noProcessCalls.forbidDumps,
  datagram: (native) => {
    const sender = native.datagram('@pgweir-test');
    sender?.close();
    return sender !== null;
  },
  listen: (native, socket) => {
    const copy = native.listen.duplicate(socketFd(socket));
    if (copy !== null) closeSync(copy);
    return copy !== null;
  },
  batch: (native) => {
    const context = native.batch.newContext();
    if (context !== null) native.batch.endContext(context);
    return context !== null;
  },
  tls: (native) => native.tls.serverContext(contextParts(makeCertificate())) !== null,
};

describe.runIf(isLinux)('a C library without one function', () => {
  it.each([
    ['getsockopt', ['credentials']],
    ['poll(', ['hangUp']],
    ['setsockopt', ['options', 'listen']],
    [' send(', ['io']],
    ['recv', ['io']],
    ['epoll_wait', ['io']],
    ['eventfd(', ['io']],
    ['eventfd_write', ['io']],
    [' shutdown(', ['io']],
    ['close(', ['io']],
    ['inet_ntop', ['io', 'listen']],
    ['getpwuid', ['names']],
    ['getpwnam', ['names']],
    ['prctl', ['process']],
    ['_exit', ['process']],
    ['sendto', ['datagram']],
    ['accept4', ['listen']],
    ['syscall', ['batch']],
    [' SSL_read', ['tls']],
    [' SSL_CTX_new', ['tls']],
  ] as const)('%s leaves out %j alone', async (name, themes) => {
    const whole = openNative();
    const native = openNative(() => lacking(name));
    expect([...native.missing.keys()]).toEqual(themes);
    for (const why of native.missing.values()) expect(why).toContain('no such function');
    const { accepted, client } = await unixPair();
    client.destroy();
    await waitFor(() => whole.hasPeerLeft(accepted));
    for (const theme of NATIVE_THEMES) {
      const isGone = (themes as readonly NativeTheme[]).includes(theme);
      const answer = (of: Native) => answers[theme](of, accepted);
      if (isGone) expect(answer(native), theme).not.toEqual(answer(whole));
      else expect(answer(native), theme).toEqual(answer(whole));
    }
  });
});

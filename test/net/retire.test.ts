import { connect, createServer, type ServerOpts } from 'node:net';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openNative } from '../../src/net/native.ts';
import { socketFd } from '../../src/net/native-sockets.ts';
import { type SocketFileIdentity, socketFileIdentity } from '../../src/net/unix-socket.ts';
import { connectNow } from '../support/connect-now.ts';
import { failingCall } from '../support/failing-call.ts';
import { waitFor } from '../support/wait-for.ts';
import { ListenerStage } from './listener-kit.ts';
import { withoutNative } from '../support/without-native.ts';

const native = openNative();

const stage = new ListenerStage();

describe('a TCP listener that retires', () => {
  it('hands over whom the kernel has accepted, and frees its port at once', async () => {
    const listeners = await stage.kit.open({ listenAddr: ['127.0.0.1'], native });
    const port = listeners.addresses[0]?.port as number;
    const early = [1, 2, 3].map(() => connectNow({ port }));
    let isDone = false;
    listeners.retireTcp(() => {
      isDone = true;
    });
    expect(isDone).toBe(true);
    expect(stage.kit.accepted).toHaveLength(3);
    expect(stage.kit.accepted.map(({ listener }) => listener.port)).toEqual([port, port, port]);
    for (const { socket } of stage.kit.accepted) {
      expect(socket.remoteAddress).toBe('127.0.0.1');
      expect([socket.destroyed, socketFd(socket) > 0]).toEqual([false, true]);
    }
    expect(await stage.kit.dial({ kind: 'tcp', address: '127.0.0.1', port })).toBe('ECONNREFUSED');
    for (const { close } of early) close();
  });

  it('withoutNative native calls loses them, and closes all the same', async () => {
    const listeners = await stage.kit.open({
      listenAddr: ['127.0.0.1'],
      native: withoutNative,
      reusePort: true,
    });
    const port = listeners.addresses[0]?.port as number;
    const early = connectNow({ port });
    let isDone = false;
    listeners.retireTcp(() => {
      isDone = true;
    });
    expect([isDone, stage.kit.accepted.length]).toEqual([true, 0]);
    early.close();
  });

  it('that others stand beside lets nobody new in, refuses nobody, and ends in its own time', async () => {
    const first = await stage.kit.open({ listenAddr: ['127.0.0.1'], native, reusePort: true });
    const port = first.addresses[0]?.port as number;
    const early = connectNow({ port });
    let isDone = false;
    first.retireTcp(() => {
      isDone = true;
    });
    expect([isDone, stage.kit.timers.pending.map(({ delayMs }) => delayMs)]).toEqual([false, [250]]);
    // Neither answered nor refused.
    const waiting = connect(port, '127.0.0.1');
    const outcome = new Promise<string>((settle) => {
      waiting.once('connect', () => settle('connected'));
      waiting.once('error', (error) => settle(String(error)));
    });
    await waitFor(() => stage.kit.accepted.length === 1);
    const second = await stage.kit.open({
      listenAddr: ['127.0.0.1'],
      native,
      reusePort: true,
      listenPort: port,
    });
    expect(stage.kit.accepted).toHaveLength(1);
    stage.kit.timers.fire();
    expect(isDone).toBe(true);
    // The kernel asks again after a second, and finds the other.
    expect(await outcome).toBe('connected');
    await waitFor(() => stage.kit.accepted.length === 2);
    expect(second.bound()).toHaveLength(1);
    waiting.destroy();
    early.close();
  });

  it('is closed at once by a close that comes meanwhile', async () => {
    const listeners = await stage.kit.open({ listenAddr: ['127.0.0.1'], native, reusePort: true });
    const port = listeners.addresses[0]?.port as number;
    listeners.retireTcp(() => {});
    listeners.close();
    expect(stage.kit.timers.pending).toEqual([]);
    expect(await stage.kit.dial({ kind: 'tcp', address: '127.0.0.1', port })).toBe('ECONNREFUSED');
  });
});

describe('a unix socket that takes another’s place', () => {
  const options = (more = {}) => ({ unixSocketDir: stage.folder, listenPort: 6432, native, ...more });

  it('is there withoutNative a gap, and each end removes its own alone', async () => {
    const path = join(stage.folder, '.s.PGSQL.6432');
    const first = await stage.kit.open(options({ unixSocketMode: 0o700 }));
    const inode = statSync(path).ino;
    const early = connectNow({ path });
    const replaces = socketFileIdentity(path) as SocketFileIdentity;
    const second = await stage.kit.open(options({ replaces, unixSocketMode: 0o750 }));
    expect(statSync(path).ino).not.toBe(inode);
    expect(statSync(path).mode & 0o777).toBe(0o750);
    expect(readdirSync(stage.folder)).toEqual(['.s.PGSQL.6432']);
    expect([first.isUnixReplaced(), second.isUnixReplaced()]).toEqual([true, false]);
    // Who came before is the first one's.
    let isDone = false;
    first.retireTcp(() => {
      isDone = true;
    });
    expect(isDone).toBe(false);
    await waitFor(() => stage.kit.accepted.length === 1);
    stage.kit.timers.fire();
    expect(isDone).toBe(true);
    first.close();
    expect(existsSync(path)).toBe(true);
    await stage.kit.dial({ kind: 'unix', address: path, port: 0 });
    await waitFor(() => stage.kit.accepted.length === 2);
    second.close();
    expect(readdirSync(stage.folder)).toEqual([]);
    early.close();
  });

  it('that cannot be put there leaves the other one and no trace', async () => {
    await stage.kit.open(options());
    const path = join(stage.folder, '.s.PGSQL.6432');
    const inode = statSync(path).ino;
    const replaces = socketFileIdentity(path) as SocketFileIdentity;
    await expect(
      stage.kit.open(options({ replaces, unixSocketGroup: 'no-such-group-here' })),
    ).rejects.toThrow('unknown group');
    expect(readdirSync(stage.folder)).toEqual(['.s.PGSQL.6432']);
    expect(statSync(path).ino).toBe(inode);
  });

  it('is not put there twice: whoever comes second finds that it is another by now', async () => {
    const path = join(stage.folder, '.s.PGSQL.6432');
    await stage.kit.open(options());
    const replaces = socketFileIdentity(path) as SocketFileIdentity;
    const second = await stage.kit.open(options({ replaces }));
    const inode = statSync(path).ino;
    await expect(stage.kit.open(options({ replaces }))).rejects.toThrow(
      'unix socket is in use, cannot continue',
    );
    expect(readdirSync(stage.folder)).toEqual(['.s.PGSQL.6432']);
    expect(statSync(path).ino).toBe(inode);
    expect(second.isUnixReplaced()).toBe(false);
  });

  it('has that place again after a rest for want of descriptors, also without raw sockets', async () => {
    const path = join(stage.folder, '.s.PGSQL.6432');
    const own = options({ native: withoutNative });
    await stage.kit.open(own);
    const replaces = socketFileIdentity(path) as SocketFileIdentity;
    const second = await stage.kit.open({ ...own, replaces });
    const [, server] = stage.kit.servers;
    server?.emit('error', Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' }));
    expect(readdirSync(stage.folder)).toEqual([]);
    stage.kit.timers.fire();
    await waitFor(() => stage.kit.log.lines.at(-1) === `LOG listening on unix:${path} again`);
    expect(readdirSync(stage.folder)).toEqual(['.s.PGSQL.6432']);
    await stage.kit.dial({ kind: 'unix', address: path, port: 0 });
    await waitFor(() => stage.kit.accepted.length === 1);
    second.close();
    expect(readdirSync(stage.folder)).toEqual([]);
  });

  it.each([
    ['with', native],
    ['without', withoutNative],
  ])('ends all the same when its name cannot be taken away, %s native calls', async (_, calls) => {
    const path = join(stage.folder, '.s.PGSQL.6432');
    await stage.kit.open(options());
    const replaces = socketFileIdentity(path) as SocketFileIdentity;
    const second = await stage.kit.open(options({ replaces, native: calls }));
    {
      using _ = failingCall('unlinkSync', 'EROFS');
      second.close();
    }
    expect(second.bound()).toEqual([]);
    expect(await stage.kit.dial({ kind: 'unix', address: path, port: 0 })).toBe('ECONNREFUSED');
  });
});

it('listeners whose start is ended share no port with others, and leave no unix socket', async () => {
  const { addresses } = await stage.kit.open({ listenAddr: ['127.0.0.1'], reusePort: true });
  const end = new AbortController();
  let made = 0;
  const starting = stage.kit.open({
    listenAddr: ['127.0.0.1'],
    listenPort: addresses[0]?.port as number,
    reusePort: true,
    unixSocketDir: stage.folder,
    ended: end.signal,
    // At the last moment.
    createServer: (options: ServerOpts) => {
      made++;
      end.abort(new Error('got SIGTERM'));
      return createServer(options);
    },
  });
  await expect(starting).rejects.toThrow('got SIGTERM');
  expect(made).toBe(1);
  expect(readdirSync(stage.folder)).toEqual([]);
});

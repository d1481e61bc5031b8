import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openNative } from '../../src/net/native.ts';
import { socketError } from '../../src/net/socket-error.ts';
import { connectNow } from '../support/connect-now.ts';
import { RawListener } from '../support/raw-listener.ts';
import { kernelOptionsOf } from '../support/socket-options.ts';
import { waitFor } from '../support/wait-for.ts';
import { ListenerStage } from './listener-kit.ts';
import { withoutNative } from '../support/without-native.ts';

const native = openNative();

const stage = new ListenerStage();

/** A copy of a listening socket that is the listeners' to keep. */
function copyOf(listener: RawListener): number {
  const fd = native.listen.duplicate(listener.fd);
  if (fd === null) throw new Error('no copy');
  return fd;
}

describe('passed sockets', () => {
  it.each([
    ['with', native],
    ['withoutNative', withoutNative],
  ])('are listened on %s native calls, whose place they know with them', async (_, calls) => {
    const path = join(stage.folder, '.s.PGSQL.6999');
    using tcp = new RawListener();
    using unix = new RawListener(path);
    const passed = [
      { fd: copyOf(tcp), name: 'a' },
      { fd: copyOf(unix), name: '' },
    ];
    const listeners = await stage.kit.open({
      passed,
      native: calls,
      listenPort: 6432,
      listenAddr: ['192.0.2.1'],
    });
    const known = { kind: 'unix', address: path, port: 6999 };
    expect(listeners.addresses).toEqual([
      { kind: 'tcp', address: '127.0.0.1', port: tcp.port },
      calls === native ? known : { kind: 'unix', address: '', port: 6432 },
    ]);
    await stage.kit.dial(listeners.addresses[0] as (typeof listeners.addresses)[0]);
    await stage.kit.dial({ kind: 'unix', address: path, port: 0 });
    await waitFor(() => stage.kit.accepted.length === 2);
    listeners.close();
    listeners.close();
    // They live on where they come from.
    expect(existsSync(path)).toBe(true);
    expect(await stage.kit.dial({ kind: 'tcp', address: '127.0.0.1', port: tcp.port })).not.toBe(
      'ECONNREFUSED',
    );
  });

  it.each([
    ['with', native],
    ['without', withoutNative],
  ])('hold nothing back of small answers, even to who has connected before, %s native calls', async (_, calls) => {
    using tcp = new RawListener();
    const early = connectNow({ port: tcp.port });
    onTestFinished(() => early.close());
    await stage.kit.open({ passed: [{ fd: copyOf(tcp), name: '' }], native: calls });
    const { socket } = await waitFor(() => stage.kit.accepted[0]);
    expect(kernelOptionsOf(socket).noDelay).toBe(true);
  });

  it('rest after a failed accept and are listened on again', async () => {
    using tcp = new RawListener();
    let fails = true;
    const accept = (fd: number) => {
      if (fails) throw socketError('accept', constants.errno.EMFILE);
      return native.listen.accept(fd);
    };
    const failing = { ...native, listen: { ...native.listen, accept } };
    await stage.kit.open({ passed: [{ fd: copyOf(tcp), name: '' }], native: failing });
    await stage.kit.dial({ kind: 'tcp', address: '127.0.0.1', port: tcp.port });
    await waitFor(() => stage.kit.log.lines.at(-1)?.includes('suspending the listener for 5 s'));
    // It waits in the queue.
    expect(stage.kit.accepted).toHaveLength(0);
    fails = false;
    stage.kit.timers.fire();
    await waitFor(() => stage.kit.accepted.length === 1);
  });

  it('withoutNative native calls cannot rest, and go on', async () => {
    using tcp = new RawListener();
    await stage.kit.open({ passed: [{ fd: copyOf(tcp), name: '' }], native: withoutNative });
    const error: NodeJS.ErrnoException = Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' });
    stage.kit.servers[0]?.emit('error', error);
    expect(stage.kit.timers.pending).toEqual([]);
    expect(stage.kit.log.lines.at(-1)).toMatch(
      /^ERROR accept\(\) failed on 127\.0\.0\.1:\d+: accept EMFILE$/,
    );
    await stage.kit.dial({ kind: 'tcp', address: '127.0.0.1', port: tcp.port });
    await waitFor(() => stage.kit.accepted.length === 1);
  });
});

describe('the calls about listening sockets', () => {
  it('know the path of a unix socket, and of nothing else', () => {
    using unix = new RawListener(join(stage.folder, 's'));
    using abstract = new RawListener(`@pgweir-native-${process.pid}`);
    using tcp = new RawListener();
    const path = (fd: number) => native.listen.unixPath(fd);
    expect(path(unix.fd)).toBe(join(stage.folder, 's'));
    expect(path(abstract.fd)).toBe(`@pgweir-native-${process.pid}`);
    expect([path(tcp.fd), path(9999), path(-1)]).toEqual([null, null, null]);
    expect(native.listen.duplicate(9999)).toBe(null);
    expect([withoutNative.listen.unixPath(unix.fd), withoutNative.listen.duplicate(unix.fd)]).toEqual([
      null,
      null,
    ]);
  });
});

import { createServer } from 'node:net';
import { constants, networkInterfaces } from 'node:os';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ListenerInfo } from '../../src/net/listening-socket.ts';
import { Conn } from '../../src/net/conn.ts';
import { openNative } from '../../src/net/native.ts';
import { RawSocket } from '../../src/net/raw-socket.ts';
import { socketError } from '../../src/net/socket-error.ts';
import { kernelOptionsOf } from '../support/socket-options.ts';
import { waitFor } from '../support/wait-for.ts';
import { withoutNative } from '../support/without-native.ts';
import { ListenerKit } from './listener-kit.ts';

const native = openNative();

let kit: ListenerKit;

beforeEach(() => {
  kit = new ListenerKit();
});

afterEach(() => kit.close());

function first<T>(items: readonly T[]): T {
  const [item] = items;
  if (item === undefined) throw new Error('the list is empty');
  return item;
}

describe('TCP listeners', () => {
  it('share the port that the system chose for the first one', async () => {
    const { addresses } = await kit.open({ listenAddr: ['127.0.0.1', '127.0.0.2'] });
    const { port } = first(addresses);
    expect(port).toBeGreaterThan(0);
    expect(addresses).toEqual([
      { kind: 'tcp', address: '127.0.0.1', port },
      { kind: 'tcp', address: '127.0.0.2', port },
    ]);
    expect(kit.log.lines).toEqual([
      `LOG listening on 127.0.0.1:${port}`,
      `LOG listening on 127.0.0.2:${port}`,
    ]);
  });

  it('hand accepted sockets over together with the listener they came in by', async () => {
    const { addresses } = await kit.open({ listenAddr: ['127.0.0.1', '127.0.0.2'] });
    for (const info of addresses) await kit.dial(info);
    await waitFor(() => kit.accepted.length === 2);
    expect(kit.accepted.map(({ listener }) => listener.address).sort()).toEqual(['127.0.0.1', '127.0.0.2']);
  });

  it.each([
    ['with', native],
    ['without', withoutNative],
  ])('keep a connection open for writing after the client has finished sending, %s native calls', async (_, calls) => {
    const { addresses } = await kit.open({ listenAddr: ['127.0.0.1'], native: calls });
    const client = await kit.dial(first(addresses));
    if (typeof client === 'string') throw new Error(client);
    client.end();
    const { socket } = await waitFor(() => kit.accepted[0]);
    expect(socket instanceof RawSocket).toBe(calls === native);
    const answer = new Promise((resolve) => client.once('data', resolve));
    let conn: Conn | null = null;
    await new Promise<void>((onEnd) => {
      const nothing = () => {};
      const handler = { onBytes: nothing, onEnd, onDrain: nothing, onClosed: nothing, onFault: nothing };
      conn = Conn.accept(socket, calls, handler);
    });
    (conn as Conn | null)?.write(Buffer.from('late'));
    expect(String(await answer)).toBe('late');
  });

  it.each([
    ['with', native],
    ['without', withoutNative],
  ])('hold nothing back of small answers, %s native calls', async (_, calls) => {
    const { addresses } = await kit.open({ listenAddr: ['127.0.0.1'], native: calls });
    await kit.dial(first(addresses));
    const { socket } = await waitFor(() => kit.accepted[0]);
    expect(kernelOptionsOf(socket).noDelay).toBe(true);
  });

  it('hand that down to connections, which need no call for it', async () => {
    const setOption = vi.fn(native.setOption);
    const { addresses } = await kit.open({ listenAddr: ['127.0.0.1'], native: { ...native, setOption } });
    for (let i = 0; i < 3; i++) {
      await kit.dial(first(addresses));
      const { socket } = await waitFor(() => kit.accepted[i]);
      expect(kernelOptionsOf(socket).noDelay).toBe(true);
      // There was nobody else to accept.
      await waitFor(() => setOption.mock.calls.length <= 1);
    }
    expect(setOption.mock.calls.length).toBe(1);
  });

  it('bind every family for *, IPv4 and IPv6 on the same port', async () => {
    const { addresses } = await kit.open({ listenAddr: ['*'] });
    const { port } = first(addresses);
    expect(first(addresses)).toEqual({ kind: 'tcp', address: '0.0.0.0', port });
    const hasIpv6 = Object.values(networkInterfaces()).some((list) =>
      list?.some((entry) => entry.family === 'IPv6'),
    );
    if (hasIpv6) expect(addresses.slice(1)).toEqual([{ kind: 'tcp', address: '::', port }]);
    else expect(addresses).toHaveLength(1);
  });

  it('bind an address once however often the list names it', async () => {
    const { addresses } = await kit.open({ listenAddr: ['127.0.0.1', '127.0.0.1'] });
    expect(addresses).toHaveLength(1);
  });

  it('resolve names', async () => {
    const { addresses } = await kit.open({ listenAddr: ['localhost'] });
    expect(['127.0.0.1', '::1']).toContain(first(addresses).address);
  });

  it('warn about an address that is taken and serve the others', async () => {
    const other = createServer();
    const listenPort = await new Promise<number>((resolve) => {
      other.listen(0, '127.0.0.1', () => {
        const address = other.address();
        resolve(typeof address === 'object' && address !== null ? address.port : 0);
      });
    });
    try {
      const { addresses } = await kit.open({ listenAddr: ['127.0.0.1', '127.0.0.2'], listenPort });
      expect(addresses.map((info) => info.address)).toEqual(['127.0.0.2']);
      expect(first(kit.log.lines)).toBe(
        `WARNING cannot listen on 127.0.0.1:${listenPort}: address already in use`,
      );
      await expect(kit.open({ listenAddr: ['127.0.0.1'], listenPort })).rejects.toThrow(
        'cannot listen on any address of listen_addr',
      );
    } finally {
      other.close();
    }
  });

  it('with so_reuseport let a second process take the same port', async () => {
    const { addresses } = await kit.open({ listenAddr: ['127.0.0.1'], reusePort: true });
    const listenPort = first(addresses).port;
    const second = await kit.open({ listenAddr: ['127.0.0.1'], reusePort: true, listenPort });
    expect(second.addresses).toEqual(addresses);
  });

  it('whose names still have to be resolved are not waited for when the start is ended', async () => {
    const ended = AbortSignal.abort(new Error('got SIGTERM'));
    for (const address of ['localhost', '127.0.0.1', '*'])
      await expect(kit.open({ listenAddr: [address], ended })).rejects.toThrow('got SIGTERM');
    expect(kit.servers).toEqual([]);
  });

  it('are refused as a whole when a name does not resolve', async () => {
    // A label of 64 characters is against the rules, so no name server is asked.
    const name = `${'x'.repeat(64)}.invalid`;
    await expect(kit.open({ listenAddr: ['127.0.0.1', name] })).rejects.toMatchObject({
      name: 'ListenError',
      message: expect.stringContaining(`cannot resolve listen_addr "${name}"`),
    });
    expect(kit.servers).toEqual([]);
  });

  it('need something to listen on', async () => {
    await expect(kit.open({})).rejects.toThrow('listen_addr and unix_socket_dir are both empty');
  });

  it('free their port when closed, and closing twice does no harm', async () => {
    const listeners = await kit.open({ listenAddr: ['127.0.0.1'] });
    const info = first(listeners.addresses);
    listeners.retireTcp(() => {});
    listeners.close();
    expect(await kit.dial(info)).toBe('ECONNREFUSED');
    const again = await kit.open({ listenAddr: ['127.0.0.1'], listenPort: info.port });
    expect(again.addresses).toEqual([info]);
  });
});

describe('a listener of Node whose accept() fails', () => {
  function failAccept(code: string): void {
    const error: NodeJS.ErrnoException = new Error(`accept ${code}`);
    error.code = code;
    first(kit.servers).emit('error', error);
  }

  async function openOne(): Promise<ListenerInfo> {
    return first((await kit.open({ listenAddr: ['127.0.0.1'], native: withoutNative })).addresses);
  }

  it('for lack of descriptors rests for five seconds and then listens on the same port again', async () => {
    const info = await openOne();
    failAccept('EMFILE');
    expect(kit.timers.pending.map((timer) => timer.delayMs)).toEqual([5000]);
    expect(kit.log.lines[1]).toBe(
      `ERROR accept() failed on 127.0.0.1:${info.port}: accept EMFILE, suspending the listener for 5 s`,
    );
    expect(await kit.dial(info)).toBe('ECONNREFUSED');
    kit.timers.fire();
    await waitFor(() => kit.log.lines.includes(`LOG listening on 127.0.0.1:${info.port} again`));
    await kit.dial(info);
    await waitFor(() => kit.accepted.length === 1);
  });

  it('tries again later when its port is taken meanwhile', async () => {
    const info = await openOne();
    failAccept('ENFILE');
    const thief = createServer();
    await new Promise<void>((resolve) => thief.listen(info.port, '127.0.0.1', resolve));
    kit.timers.fire();
    await waitFor(() => kit.timers.pending.length === 1);
    expect(kit.log.lines.at(-1)).toBe(
      `ERROR cannot listen on 127.0.0.1:${info.port}: address already in use`,
    );
    await new Promise((resolve) => thief.close(resolve));
    kit.timers.fire();
    await waitFor(() => kit.log.lines.at(-1)?.endsWith('again'));
  });

  it('goes on at once when only that one connection was at fault', async () => {
    const info = await openOne();
    failAccept('EPROTO');
    expect(kit.timers.pending).toEqual([]);
    expect(kit.log.lines[1]).toBe(`WARNING accept() failed on 127.0.0.1:${info.port}: accept EPROTO`);
    await kit.dial(info);
    await waitFor(() => kit.accepted.length === 1);
  });

  it('stays closed when it is closed while it rests', async () => {
    const listeners = await kit.open({ listenAddr: ['127.0.0.1'], native: withoutNative });
    failAccept('EMFILE');
    listeners.close();
    expect(kit.timers.pending).toEqual([]);
  });

  it('stays closed when it is closed while it comes back', async () => {
    const listeners = await kit.open({ listenAddr: ['127.0.0.1'], native: withoutNative });
    failAccept('EMFILE');
    kit.timers.fire();
    listeners.close();
    await waitFor(() => kit.closedServers === 2);
    expect(await kit.dial(first(listeners.addresses))).toBe('ECONNREFUSED');
  });
});

describe('a listener of raw sockets whose accept() fails', () => {
  /** Fails as often as there are errors for it. */
  const errors: number[] = [];
  const failing = {
    ...native,
    listen: {
      ...native.listen,
      accept(fd: number) {
        const errno = errors.shift();
        if (errno !== undefined) throw socketError('accept', errno);
        return native.listen.accept(fd);
      },
    },
  };
  const { EMFILE, ECONNABORTED } = constants.errno;

  it('for lack of descriptors rests for five seconds, in which nobody is refused, and goes on', async () => {
    const info = first((await kit.open({ listenAddr: ['127.0.0.1'], native: failing })).addresses);
    errors.push(EMFILE);
    await kit.dial(info);
    await waitFor(() => kit.timers.pending.length === 1);
    expect(kit.timers.pending.map((timer) => timer.delayMs)).toEqual([5000]);
    expect(kit.log.lines[1]).toBe(
      `ERROR accept() failed on 127.0.0.1:${info.port}: too many open files, suspending the listener for 5 s`,
    );
    expect(typeof (await kit.dial(info))).toBe('object');
    expect(kit.accepted).toHaveLength(0);
    kit.timers.fire();
    expect(kit.log.lines.at(-1)).toBe(`LOG listening on 127.0.0.1:${info.port} again`);
    await waitFor(() => kit.accepted.length === 2);
  });

  it('goes on at once when only that one connection was at fault', async () => {
    const info = first((await kit.open({ listenAddr: ['127.0.0.1'], native: failing })).addresses);
    errors.push(ECONNABORTED);
    await kit.dial(info);
    await waitFor(() => kit.accepted.length === 1);
    expect(kit.timers.pending).toEqual([]);
    expect(kit.log.lines[1]).toBe(
      `WARNING accept() failed on 127.0.0.1:${info.port}: software caused connection abort`,
    );
  });

  it('stays closed when it is closed while it rests', async () => {
    const listeners = await kit.open({ listenAddr: ['127.0.0.1'], native: failing });
    errors.push(EMFILE);
    await kit.dial(first(listeners.addresses));
    await waitFor(() => kit.timers.pending.length === 1);
    listeners.close();
    expect(kit.timers.pending).toEqual([]);
    expect(await kit.dial(first(listeners.addresses))).toBe('ECONNREFUSED');
  });
});

describe('a listener of raw sockets that rests', () => {
  it('leaves no timer behind when it is retired and cannot take those who wait', async () => {
    const errors = [constants.errno.EMFILE];
    const accept = (fd: number) => {
      const errno = errors.shift();
      if (errno !== undefined) throw socketError('accept', errno);
      return native.listen.accept(fd);
    };
    const failing = { ...native, listen: { ...native.listen, accept } };
    const listeners = await kit.open({ listenAddr: ['127.0.0.1'], native: failing });
    await kit.dial(first(listeners.addresses));
    await waitFor(() => kit.timers.pending.length === 1);
    errors.push(constants.errno.EMFILE);
    listeners.retireTcp(() => {});
    expect([errors, kit.timers.pending]).toEqual([[], []]);
  });
});

describe('open files', () => {
  it('running out are warned about once per five seconds', async () => {
    const { addresses } = await kit.open({ listenAddr: ['127.0.0.1'], fdLimit: 17 });
    const warnings = () => kit.log.lines.filter((line) => line.includes('file descriptors are running out'));
    for (const count of [1, 2]) {
      await kit.dial(first(addresses));
      await waitFor(() => kit.accepted.length === count);
    }
    expect(warnings()).toHaveLength(1);
    kit.timers.fire();
    await kit.dial(first(addresses));
    await waitFor(() => kit.accepted.length === 3);
    expect(warnings()).toHaveLength(2);
  });

  it('far from the limit are not mentioned', async () => {
    const { addresses } = await kit.open({ listenAddr: ['127.0.0.1'], fdLimit: 1_000_000 });
    await kit.dial(first(addresses));
    await waitFor(() => kit.accepted.length === 1);
    expect(kit.log.lines).toHaveLength(1);
  });
});

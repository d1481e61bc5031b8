import { afterEach, describe, expect, it, vi } from 'vitest';
import { Conn } from '../../src/net/conn.ts';
import { openListeners } from '../../src/net/listener.ts';
import { openNative } from '../../src/net/native.ts';
import { rawReadiness } from '../../src/net/raw-socket.ts';
import { waitFor } from '../support/wait-for.ts';
import { withoutNative } from '../support/without-native.ts';
import { ListenerStage, RecordingLog } from './listener-kit.ts';

const native = openNative();
const stage = new ListenerStage();

async function open(deferAccept: boolean, calls = native) {
  const listeners = await stage.kit.open({ listenAddr: ['127.0.0.1'], native: calls, deferAccept });
  const [info] = listeners.addresses;
  if (info === undefined) throw new Error('nothing is bound');
  const dial = async () => {
    const client = await stage.kit.dial(info);
    if (typeof client === 'string') throw new Error(client);
    return client;
  };
  const ports = () => stage.kit.accepted.map(({ socket }) => socket.remotePort);
  return { listeners, dial, ports };
}

describe('connections that the kernel keeps back', () => {
  it('come with their first bytes, ahead of those which were silent before', async () => {
    const { dial, ports } = await open(true);
    const silent = await dial();
    const talking = await dial();
    talking.write('x');
    await waitFor(() => ports().length > 0);
    expect(ports()).toEqual([talking.localPort]);
    // The kernel has its patience.
    await waitFor(() => ports().length > 1, { deadlineMs: 20_000 });
    expect(ports()).toEqual([talking.localPort, silent.localPort]);
  });

  it('are there at once who says nothing when that is not asked for, or not any more', async () => {
    const { listeners, dial, ports } = await open(false);
    const first = await dial();
    await waitFor(() => ports().length === 1);
    listeners.defer(true);
    const second = await dial();
    listeners.defer(false);
    const third = await dial();
    await waitFor(() => ports().length > 1);
    expect(ports()).toEqual([first.localPort, third.localPort]);
    second.write('x');
    await waitFor(() => ports().length > 2);
    expect(ports()[2]).toBe(second.localPort);
  });

  it('are none without native calls', async () => {
    const { dial, ports } = await open(true, withoutNative);
    const silent = await dial();
    await waitFor(() => ports().length > 0);
    expect(ports()).toEqual([silent.localPort]);
  });

  it('are let go by a listener that retires', async () => {
    const setFdOption = vi.fn(native.setFdOption);
    const { listeners } = await open(true, { ...native, setFdOption });
    const deferred = () => setFdOption.mock.calls.filter(([, , name]) => name === 9).map((call) => call[3]);
    const before = deferred();
    expect(before.at(-1)).toBe(1);
    listeners.retireTcp(() => {});
    expect(deferred()).toEqual([...before, 0]);
  });

  it('are none on a socket that another process had and we are not to have so', async () => {
    const passed = await stage.kit.open({ listenAddr: ['127.0.0.1'], native, deferAccept: true });
    const [bound] = passed.bound();
    const fd = native.listen.duplicate(bound?.fd ?? -1) ?? -1;
    passed.close();
    const listeners = await stage.kit.open({ passed: [{ fd, name: '' }], native, deferAccept: false });
    const client = await stage.kit.dial(listeners.addresses[0] ?? { kind: 'tcp', address: '', port: 0 });
    await waitFor(() => stage.kit.accepted.length > 0, { deadlineMs: 700 });
    expect(typeof client).toBe('object');
  });
});

describe('a connection that comes with its first bytes', () => {
  const ends: (() => void)[] = [];
  afterEach(() => {
    for (const end of ends.splice(0)) end();
  });

  it.each([
    [true, 1],
    [false, 2],
  ])('has them read at once where it was kept back: %s', async (deferAccept, answers) => {
    const readiness = rawReadiness(native);
    let acceptedAt = 0;
    let readAt = 0;
    const listeners = await openListeners(
      {
        ...{
          listenAddr: ['127.0.0.1'],
          listenPort: 0,
          unixSocketDir: '',
          unixSocketMode: 0,
          unixSocketGroup: '',
        },
        ...{ backlog: 16, reusePort: false, native, deferAccept },
      },
      (socket) => {
        acceptedAt = readiness?.asked ?? 0;
        const nothing = () => {};
        const onBytes = () => {
          readAt = readiness?.asked ?? 0;
        };
        const conn = Conn.accept(socket, native, {
          ...{ onBytes, onEnd: nothing, onDrain: nothing, onClosed: nothing, onFault: nothing },
        });
        ends.push(() => conn.destroy());
      },
      new RecordingLog(),
    );
    ends.push(() => listeners.close());
    const [info] = listeners.addresses;
    if (info === undefined) throw new Error('nothing is bound');
    const client = await stage.kit.dial(info);
    if (typeof client === 'string') throw new Error(client);
    client.write('x');
    await waitFor(() => readAt > 0);
    if (answers === 1) expect(readAt).toBe(acceptedAt);
    else expect(readAt).toBeGreaterThan(acceptedAt);
  });
});

describe('a listener', () => {
  it('asks for another connection only where there are several', async () => {
    const accept = vi.fn(native.listen.accept);
    const calls = { ...native, listen: { ...native.listen, accept } };
    const { dial, ports } = await open(false, calls);
    // Until it has seen that there is nobody else, it asks.
    await dial();
    await waitFor(() => ports().length === 1);
    await waitFor(() => accept.mock.calls.length === 2);
    const asked = () => rawReadiness(calls)?.asked ?? 0;
    for (let i = 2; i <= 5; i++) {
      await dial();
      await waitFor(() => ports().length === i);
      // The next one does not come right behind it.
      const before = asked();
      await waitFor(() => asked() > before + 1);
    }
    // Some may have come right behind another all the same.
    const before = accept.mock.calls.length;
    expect(before).toBeLessThan(2 + 2 * 4);
    // As many as the kernel keeps for it.
    await Promise.all(Array.from({ length: 12 }, dial));
    await waitFor(() => ports().length === 17);
    expect(accept.mock.calls.length).toBeLessThanOrEqual(before + 2 * 12);
  });
});

import { describe, expect, it, onTestFinished, vi } from 'vitest';
import type { OpenDatagram } from '../../src/net/native-datagram.ts';
import { ServiceManager, takePassedSockets } from '../../src/daemon/systemd.ts';
import { RecordingLog } from '../net/listener-kit.ts';

describe('passed sockets', () => {
  it('are those meant for this process, by number and name, and the variables go', () => {
    const env = { LISTEN_PID: '42', LISTEN_FDS: '3', LISTEN_FDNAMES: 'tcp::unix', PATH: '/bin' };
    expect(takePassedSockets(env, 42)).toEqual([
      { fd: 3, name: 'tcp' },
      { fd: 4, name: '' },
      { fd: 5, name: 'unix' },
    ]);
    expect(env).toEqual({ PATH: '/bin' });
  });

  it.each([
    {},
    { LISTEN_FDS: '1' },
    { LISTEN_PID: '43', LISTEN_FDS: '1' },
    { LISTEN_PID: '042', LISTEN_FDS: '1' },
    { LISTEN_PID: '42' },
    { LISTEN_PID: '42', LISTEN_FDS: '0' },
    { LISTEN_PID: '42', LISTEN_FDS: '-1' },
    { LISTEN_PID: '42', LISTEN_FDS: '1e9' },
    { LISTEN_PID: '42', LISTEN_FDS: '99999999' },
  ])('are none with %j', (env) => {
    expect(takePassedSockets({ ...env }, 42)).toEqual([]);
  });
});

describe('the service manager', () => {
  /** What it is told, and by which address. */
  function manager(env: Record<string, string>, code = 0) {
    const log = new RecordingLog();
    const sent: string[] = [];
    const addresses: string[] = [];
    const open: OpenDatagram = (address) => {
      addresses.push(address);
      return {
        send: (bytes) => {
          sent.push(bytes.toString());
          return code;
        },
        close: () => {},
      };
    };
    const variables: Record<string, string | undefined> = { ...env };
    return { service: ServiceManager.take(variables, 42, open, log), sent, addresses, log, variables };
  }

  it('is told in its own words, and the variables go', () => {
    const { service, sent, addresses, variables } = manager({ NOTIFY_SOCKET: '/run/n', WATCHDOG_PID: '1' });
    service.ready();
    service.reloading();
    service.reloaded();
    service.status('a\nb');
    service.stopping();
    service.stopping();
    // A reload that was under way when the end began.
    service.reloaded();
    expect(addresses).toEqual(['/run/n']);
    expect(variables).toEqual({});
    expect(sent).toEqual([
      'READY=1',
      expect.stringMatching(/^RELOADING=1\nMONOTONIC_USEC=\d+$/),
      'READY=1',
      'STATUS=a b',
      'STOPPING=1',
    ]);
    service.close();
  });

  it('that is not there is told nothing', () => {
    const { service, sent, addresses, log } = manager({});
    service.ready();
    service.stopping();
    expect([sent, addresses, log.lines]).toEqual([[], [], []]);
  });

  it('that cannot be told costs one warning', () => {
    const { service, sent, log } = manager({ NOTIFY_SOCKET: '@n' }, 111);
    service.ready();
    service.stopping();
    expect(sent).toHaveLength(2);
    expect(log.lines).toEqual(['WARNING cannot tell the service manager how we are (error 111)']);
  });

  it('without native calls costs one warning, and nothing throws', () => {
    const log = new RecordingLog();
    const service = ServiceManager.take({ NOTIFY_SOCKET: '/run/n' }, 42, () => null, log);
    service.ready();
    expect(log.lines).toEqual([
      'WARNING cannot tell the service manager how we are (not possible on this system)',
    ]);
  });

  it('on another machine is out of reach', () => {
    const { service, addresses, log } = manager({ NOTIFY_SOCKET: 'vsock:2:1234' });
    service.ready();
    expect(addresses).toEqual([]);
    expect(log.lines).toEqual(['WARNING cannot tell the service manager how we are (not a unix socket)']);
  });

  it.each([
    [{ WATCHDOG_USEC: '10000000' }, 1],
    [{ WATCHDOG_USEC: '10000000', WATCHDOG_PID: '42' }, 1],
    [{ WATCHDOG_USEC: '10000000', WATCHDOG_PID: '43' }, 0],
    [{ WATCHDOG_USEC: '0' }, 0],
    [{ WATCHDOG_USEC: 'soon' }, 0],
  ])('with %j has its watchdog fed at once: %i', (env, count) => {
    const { service, sent } = manager({ NOTIFY_SOCKET: '/run/n', ...env });
    expect(sent).toEqual(Array(count).fill('WATCHDOG=1'));
    service.close();
  });

  it('has its watchdog fed when the process answers, which is asked one thing at a time', async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const { service, sent } = manager({ NOTIFY_SOCKET: '/run/n', WATCHDOG_USEC: '200000' });
    const asked: (() => void)[] = [];
    service.watchOver(() => new Promise<void>((resolve) => void asked.push(resolve)));
    await vi.advanceTimersByTimeAsync(950);
    expect([asked.length, sent.length]).toEqual([1, 1]);
    asked[0]?.();
    await vi.advanceTimersByTimeAsync(0);
    // At once, for half of the time may be over.
    expect([asked.length, sent.length]).toEqual([1, 2]);
    await vi.advanceTimersByTimeAsync(50);
    expect([asked.length, sent.length]).toEqual([2, 2]);
    service.close();
    asked[1]?.();
    await vi.advanceTimersByTimeAsync(1000);
    expect([asked.length, sent.length]).toEqual([2, 2]);
  });
});

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { DatagramPeer } from '../support/datagram-peer.ts';
import { spawnPooler } from '../support/pooler.ts';
import { connectTo, sharedPostgres } from '../support/postgres.ts';
import { allowRoot, DaemonHome, Program, runProgram } from '../support/program.ts';
import { RawListener } from '../support/raw-listener.ts';
import { waitFor, within } from '../support/wait-for.ts';

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'pgweir-s-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

describe('the service manager', () => {
  test.each(['path', 'abstract'])('by %s learns of start, reload, failed reload and end', async (kind) => {
    const address = kind === 'path' ? join(temporaryFolder(), 'notify') : `@pgweir-notify-${process.pid}`;
    using peer = new DatagramPeer(address);
    await using pooler = await spawnPooler({ env: { NOTIFY_SOCKET: address } });
    await waitFor(() => peer.all().includes('READY=1'));
    expect(peer.received).toEqual(['READY=1']);
    // Whoever waits for that can connect at once.
    await (await pooler.client()).end();

    const before = process.hrtime.bigint() / 1000n;
    pooler.signal('SIGHUP');
    await waitFor(() => peer.all().length === 3);
    const time = /^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(peer.received[1] ?? '')?.[1];
    expect(BigInt(time ?? 0)).toBeGreaterThanOrEqual(before);
    expect(BigInt(time ?? 0)).toBeLessThanOrEqual(process.hrtime.bigint() / 1000n);
    expect(peer.received[2]).toBe('READY=1');

    writeFileSync(pooler.iniPath, 'nonsense\n');
    pooler.signal('SIGHUP');
    await waitFor(() => peer.all().length === 5);
    expect(peer.received[3]).toMatch(/^RELOADING=1/);
    expect(peer.received[4]).toBe('READY=1');

    const client = await pooler.client();
    pooler.signal('SIGTERM');
    await waitFor(() => peer.all().length === 6);
    expect(peer.received[5]).toBe('STOPPING=1');
    await client.end();
    await within(pooler.ended, 'the end');
    expect(peer.all()).toHaveLength(6);
  });

  test.each(['SIGQUIT', 'SIGINT'] as const)('learns of an end by %s', async (signal) => {
    using peer = new DatagramPeer(join(temporaryFolder(), 'notify'));
    await using pooler = await spawnPooler({ env: { NOTIFY_SOCKET: peer.address } });
    pooler.signal(signal);
    await within(pooler.ended, 'the end');
    expect(peer.all()).toEqual(['READY=1', 'STOPPING=1']);
  });

  test('gets the line of statistics for a status, whether it is logged or not', async () => {
    using peer = new DatagramPeer(join(temporaryFolder(), 'notify'));
    await using pooler = await spawnPooler({
      settings: { stats_period: 1, log_stats: 0 },
      env: { NOTIFY_SOCKET: peer.address },
    });
    const status = await peer.next('a status', (text) => text.startsWith('STATUS='));
    expect(status).toMatch(/^STATUS=stats: \d+ xacts\/s, \d+ queries\/s, .* wait \d+ us$/);
    expect(pooler.stderr).not.toContain('xacts/s');
  });

  test('has its watchdog fed while the event loop turns', async () => {
    using peer = new DatagramPeer(join(temporaryFolder(), 'notify'));
    await using pooler = await spawnPooler({
      env: { NOTIFY_SOCKET: peer.address, WATCHDOG_USEC: '200000' },
    });
    const pings = () => peer.all().filter((text) => text === 'WATCHDOG=1').length;
    await waitFor(() => pings() >= 4);
    expect(pooler.isRunning).toBe(true);
  });

  test('that starts it in vain hears nothing', async () => {
    using peer = new DatagramPeer(join(temporaryFolder(), 'notify'));
    await using home = await DaemonHome.make({ settings: { pidfile: '/nowhere/at/all/pid' } });
    const { code } = await runProgram([home.iniPath], { env: { ...allowRoot, NOTIFY_SOCKET: peer.address } });
    expect(code).toBe(1);
    expect(peer.all()).toEqual([]);
  });
});

describe('sockets that were passed', () => {
  /** The program under a wrapper that makes the sockets its own, as a service manager does between fork and exec. */
  function start(home: DaemonHome, fds: readonly number[], args: readonly string[] = []): Program {
    const wrapper = ['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh'];
    const env = { ...allowRoot, LISTEN_FDS: String(fds.length), LISTEN_FDNAMES: 'tcp:unix' };
    return new Program([...args, home.iniPath], { env, wrapper, fds });
  }

  async function answers(port: number, host = '127.0.0.1'): Promise<unknown> {
    const client = await connectTo({ ...sharedPostgres(), host, port });
    const { rows } = await client.query('SELECT 1 AS one');
    await client.end();
    return rows;
  }

  test('take the place of listen_addr and unix_socket_dir, and outlive the process', async () => {
    await using home = await DaemonHome.make({ settings: { listen_addr: '192.0.2.1' } });
    const folder = temporaryFolder();
    const path = join(folder, '.s.PGSQL.7001');
    using tcp = new RawListener();
    using unix = new RawListener(path);
    // One that came before the process did is served, too.
    const early = answers(tcp.port);
    await using program = start(home, [tcp.fd, unix.fd]);
    await program.says('process up');
    expect(program.stderr).toContain(` LOG listening on 127.0.0.1:${tcp.port} (passed as tcp)\n`);
    expect(program.stderr).toContain(` LOG listening on unix:${path} (passed as unix)\n`);
    expect(program.stderr).not.toContain('WARNING');
    expect(existsSync(home.socketPath)).toBe(false);
    expect(await early).toEqual([{ one: 1 }]);
    expect(await answers(7001, folder)).toEqual([{ one: 1 }]);
    const console = await connectTo(
      { ...sharedPostgres(), host: folder, port: 7001 },
      { database: 'pgbouncer' },
    );
    const { rows } = await console.query<{ addr: string }>('SHOW CLIENTS');
    expect(rows.map(({ addr }) => addr)).toEqual(['unix']);
    await console.end();

    program.signal('SIGTERM');
    expect(await within(program.ended, 'the end')).toMatchObject({ code: 0 });
    expect(existsSync(path)).toBe(true);
    // Nobody is refused between two processes.
    const [late, later] = [answers(tcp.port), answers(7001, folder)];
    await using second = start(home, [tcp.fd, unix.fd]);
    expect([await late, await later]).toEqual([[{ one: 1 }], [{ one: 1 }]]);
    second.signal('SIGQUIT');
    await within(second.ended, 'the end');
  });

  test('in the abstract namespace have a name to be known by', async () => {
    await using home = await DaemonHome.make();
    using unix = new RawListener(`@pgweir-passed-${process.pid}/.s.PGSQL.7002`);
    await using program = start(home, [unix.fd]);
    await program.says('process up');
    expect(program.stderr).toContain(
      ` LOG listening on unix:@pgweir-passed-${process.pid}/.s.PGSQL.7002 (passed as tcp)\n`,
    );
  });

  test('that are no listening stream are fatal', async () => {
    await using home = await DaemonHome.make();
    using peer = new DatagramPeer(join(temporaryFolder(), 'datagrams'));
    await using program = start(home, [peer.fd]);
    expect(await within(program.ended, 'the refusal')).toMatchObject({ code: 1 });
    expect(program.stderr).toMatch(/ FATAL cannot listen on the passed socket 3: \w.*\n$/);
  });

  test('that are not there at all are fatal, and nothing else is closed for it', async () => {
    await using home = await DaemonHome.make();
    using tcp = new RawListener();
    const wrapper = ['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh'];
    // The first number that is not there is one of Node's own.
    for (const count of ['2', '9999']) {
      await using program = new Program([home.iniPath], {
        env: { ...allowRoot, LISTEN_FDS: count },
        wrapper,
        fds: [tcp.fd],
      });
      const run = await within(program.ended, 'the refusal');
      expect(run).toMatchObject({ code: 1, signal: null });
      expect(run.stderr).toMatch(/ FATAL descriptor 4 was passed and is no socket\n$/);
    }
  });

  test('are refused with -d, which would lose them', async () => {
    await using home = await DaemonHome.make();
    using tcp = new RawListener();
    await using program = start(home, [tcp.fd], ['-d']);
    expect(await within(program.ended, 'the refusal')).toMatchObject({
      code: 1,
      stderr: 'pgweir: -d does not go together with sockets from the service manager\n',
    });
  });

  test('of another process are left alone', async () => {
    await using home = await DaemonHome.make();
    using tcp = new RawListener();
    await using program = new Program([home.iniPath], {
      env: { ...allowRoot, LISTEN_FDS: '1', LISTEN_PID: '1' },
      fds: [tcp.fd],
    });
    await program.says('process up');
    expect(await answers(home.port)).toEqual([{ one: 1 }]);
    const socket = connect(tcp.port, '127.0.0.1');
    await new Promise((settle) => socket.once('connect', settle));
    socket.destroy();
  });
});

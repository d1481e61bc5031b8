import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { DatagramPeer } from '../support/datagram-peer.ts';
import { connectTo, sharedPostgres } from '../support/postgres.ts';
import { isAlive } from '../support/processes.ts';
import { allowRoot, DaemonHome, Program, runProgram } from '../support/program.ts';
import { RawListener } from '../support/raw-listener.ts';
import { playConsole } from '../support/scripted-console.ts';
import { ScriptedServer } from '../support/scripted-peer.ts';
import { expectServed, namesLeft, runIn, sharing, startSharing } from '../support/sharing-home.ts';
import { progress, startOwnLoad, startPgbench } from '../support/steady-load.ts';
import { waitFor, within } from '../support/wait-for.ts';
import { byEffort } from '../support/effort.ts';

/** Hand-overs in a row; `npm run test:full` takes its time. */
const ROUNDS = byEffort({ wide: 3, full: 10 });

describe('-R leaves all as it was', () => {
  test('when the new one is told to end before it has its place', async () => {
    await using home = await DaemonHome.make({ settings: sharing });
    await using old = await ScriptedServer.listen(home.socketPath);
    await using next = new Program(['-R', home.iniPath], { env: allowRoot });
    await playConsole(old, home.pidfile, 'SHOW STATE');
    next.signal('SIGTERM');
    const { code, stderr } = await within(next.ended, 'its end', 20_000);
    expect(code).toBe(1);
    expect(stderr).toMatch(/ FATAL got SIGTERM while taking over, exiting\n$/);
    expect(namesLeft(home)).toEqual([`.s.PGSQL.${home.port}`]);
  });
});

describe('-R', () => {
  test('serves on where it is told to end while the running one is, and ends when it is told again', async () => {
    await using home = await DaemonHome.make({ settings: sharing });
    await using old = await ScriptedServer.listen(home.socketPath);
    writeFileSync(home.pidfile, '999999999\n');
    await using next = new Program(['-R', home.iniPath], { env: allowRoot });
    const asked = await playConsole(old, home.pidfile, 'SHUTDOWN WAIT_FOR_CLIENTS');
    const client = await connectTo(home.address);
    next.signal('SIGTERM');
    // It has heard of that by the time that it has answered somebody who has come since.
    await expectServed(home, home.folder);
    // Nobody knows whether the other one has heard.
    await asked.close();
    await next.says(
      ' WARNING got SIGTERM too late: the old process has been told to leave, so this one serves\n',
    );
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await expectServed(home, home.folder);
    expect(home.pid).toBe(next.pid);
    await client.end();
    next.signal('SIGTERM');
    const { code, stderr } = await within(next.ended, 'its end', 20_000);
    expect(code).toBe(0);
    expect(stderr).toContain(' WARNING the old process has not answered to SHUTDOWN WAIT_FOR_CLIENTS so far');
    expect(namesLeft(home)).toEqual([expect.stringMatching(/^\.pgweir\./)]);
    await using later = new Program([home.iniPath], { env: allowRoot });
    // What is left of those that have ended comes first.
    const askedAgain = async (): Promise<boolean> =>
      playConsole(old, home.pidfile, 'SHUTDOWN WAIT_FOR_CLIENTS').then(
        () => true,
        () => false,
      );
    await waitFor(askedAgain, { what: 'another SHUTDOWN', deadlineMs: 20_000 });
    expect(later.stderr).toContain(' LOG process up: ');
  });

  test(`${ROUNDS} times under load loses nobody, over TCP nor over the unix socket`, {
    timeout: 240_000,
  }, async () => {
    await using home = await startSharing({ log_connections: 0, log_disconnections: 0, logfile: '' });
    const unix = { ...sharedPostgres(), host: home.folder, port: home.port };
    const tcp = { ...unix, host: '127.0.0.1' };
    const loads = [startOwnLoad(unix, 3), startOwnLoad(tcp, 3), startPgbench(tcp, 3)].filter(
      (load) => load !== null,
    );
    const held: { client: Awaited<ReturnType<typeof connectTo>>; pid: number }[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      for (const load of loads) await progress(load);
      // A transaction that stays open while its pooler's place is taken.
      if (round % 3 === 0) {
        const client = await connectTo(
          round % 2 === 0 ? { ...home.address } : { ...home.address, host: home.folder },
        );
        await client.query('BEGIN');
        await client.query(`SET LOCAL application_name = 'held ${round}'`);
        held.push({ client, pid: home.pid as number });
      }
      const [before] = await home.takeOver();
      if (round % 3 !== 0)
        await waitFor(() => !isAlive(before), { what: 'the end of the old process', deadlineMs: 20_000 });
    }
    for (const [index, { client, pid }] of held.entries()) {
      expect(isAlive(pid)).toBe(true);
      const { rows } = await client.query<{ application_name: string }>('SHOW application_name');
      expect(rows[0]?.application_name).toBe(`held ${index * 3}`);
      await client.query('COMMIT');
      await client.end();
      await waitFor(() => !isAlive(pid), { what: 'the end of a process whose last client has left' });
    }
    const ends = await Promise.all(loads.map((load) => load.stop()));
    const transactions = ends.map((end) => end.transactions);
    console.log(
      `${ROUNDS} hand-overs under load: ${transactions.join(' + ')} transactions, each on a new connection`,
    );
    expect(ends.map(({ errors }) => errors)).toEqual(ends.map(() => []));
    await expectServed(home, home.folder);
  });

  test('leaves the old one the clients that it has, and those only', async () => {
    await using home = await startSharing();
    const client = await connectTo(home.address);
    await client.query('BEGIN');
    const inode = statSync(home.socketPath).ino;
    const [before, after] = await home.takeOver();
    expect(statSync(home.socketPath).ino).not.toBe(inode);
    await waitFor(() => home.log.includes(`[${before}] LOG SHUTDOWN WAIT_FOR_CLIENTS command issued`));
    expect(home.log).toContain(`[${after}] LOG taking over from the running process\n`);
    await expectServed(home);
    await expectServed(home, home.folder);
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await client.query('COMMIT');
    await client.end();
    await waitFor(() => !isAlive(before));
    // Its end takes nothing away that is not its own.
    expect(home.pid).toBe(after);
    await expectServed(home, home.folder);
    await waitFor(() => home.log.includes(`[${after}] LOG the old process has ended\n`), {
      deadlineMs: 20_000,
    });
    expect(namesLeft(home)).toEqual([`.s.PGSQL.${home.port}`, 'pooler.pid']);
    home.signal('SIGTERM');
    await waitFor(() => !isAlive(after));
    expect(namesLeft(home)).toEqual([]);
  });

  test('leaves the old one those whose login is under way', async () => {
    await using home = await startSharing();
    const early = [await dial({ port: home.port }), await dial({ path: home.socketPath })];
    // Accepted, and seen.
    for (const socket of early) expect(await answer(socket, SSL_REQUEST)).toBe('N');
    const [before] = await home.takeOver();
    for (const socket of early) {
      expect(
        await answer(socket, startupPacket({ user: sharedPostgres().user, database: 'postgres' })),
      ).toMatch(/^R.*Z\0\0\0\x05I$/s);
    }
    expect(isAlive(before)).toBe(true);
    for (const socket of early) socket.destroy();
    await waitFor(() => !isAlive(before));
  });

  /** A query that runs until it is cancelled, at what listens on the port by then or on a connection made before. */
  async function startQuery(
    home: DaemonHome,
  ): Promise<{ cancel(by?: Socket): Promise<string> } & AsyncDisposable> {
    const client = await connectTo(home.address);
    const key = client as unknown as { processID: number; secretKey: number };
    const before = await active();
    const running = client.query('SELECT pg_sleep(60)').then(
      () => 'it ran to its end',
      (error: { code: string }) => error.code,
    );
    await waitFor(async () => (await active()) === before + 1);
    return {
      async cancel(by) {
        const packet = Buffer.alloc(16);
        packet.writeInt32BE(16, 0);
        packet.writeInt32BE(80877102, 4);
        packet.writeInt32BE(key.processID, 8);
        packet.writeInt32BE(key.secretKey, 12);
        const socket = by ?? (await dial({ port: home.port }));
        const closed = new Promise((resolve) => socket.once('close', resolve));
        socket.resume().write(packet);
        await closed;
        return within(running, 'the cancel');
      },
      [Symbol.asyncDispose]: () => client.end(),
    };
  }

  test('passes cancel requests on to the one whose client it was', async () => {
    await using home = await startSharing();
    await using query = await startQuery(home);
    // Through two that came after it.
    await home.takeOver();
    const [, last] = await home.takeOver();
    expect(await query.cancel()).toBe('57014');
    const line = new RegExp(`\\[${last}\\] LOG .*cancel request handed to the old process`);
    await waitFor(() => line.test(home.log));
  });

  test('passes them on although there are peers now, which its keys know nothing of', async () => {
    await using home = await startSharing({ peer_id: 0 });
    await using query = await startQuery(home);
    const ini = readFileSync(home.iniPath, 'utf8').replace(/^peer_id = 0$/m, 'peer_id = 9');
    writeFileSync(home.iniPath, `${ini}\n[peers]\n9 = host=${home.folder}\n`);
    await home.takeOver();
    expect(await query.cancel()).toBe('57014');
  });

  test.each([
    'SIGKILL',
    'SIGQUIT',
  ] as const)('passes them on after the new one has ended by %s and another was started, and leaves no names', async (signal) => {
    await using home = await startSharing();
    await using query = await startQuery(home);
    const [before, ended] = await home.takeOver();
    process.kill(ended, signal);
    await waitFor(() => !isAlive(ended));
    expect(await runIn(home, '-d')).toMatchObject({ code: 0, stderr: '' });
    expect(await query.cancel()).toBe('57014');
    expect(isAlive(before)).toBe(true);
    await query[Symbol.asyncDispose]();
    await waitFor(() => namesLeft(home).length === 2, { what: 'the old one to be forgotten' });
    await waitFor(() => !isAlive(before), { what: 'its end' });
  });

  test('hands on those that come to it late, for clients of whoever came before and after', async () => {
    await using home = await startSharing();
    await using first = await startQuery(home);
    await home.takeOver();
    // They are connected to the one whose place is about to be taken, and have said nothing.
    const early = [await dial({ port: home.port }), await dial({ port: home.port })] as const;
    for (const socket of early) expect(await answer(socket, SSL_REQUEST)).toBe('N');
    await home.takeOver();
    await using second = await startQuery(home);
    expect(await first.cancel(early[0])).toBe('57014');
    expect(await second.cancel(early[1])).toBe('57014');
    // A thread's lines are written by the main one.
    const handed = / LOG .*cancel request handed to the new process/g;
    await waitFor(() => home.log.match(handed)?.length === 2, { what: 'both lines' });
  });

  test('leaves no name behind when the old one ends after the new one, and nobody comes any more', async () => {
    await using home = await startSharing();
    const client = await connectTo(home.address);
    const [first, second] = await home.takeOver();
    home.signal('SIGTERM');
    await waitFor(() => !isAlive(second));
    expect(namesLeft(home)).toEqual([expect.stringMatching(/^\.pgweir\./)]);
    await client.end();
    await waitFor(() => !isAlive(first));
    expect(namesLeft(home)).toEqual([]);
  });

  /** How many queries of that kind PostgreSQL runs. */
  async function active(): Promise<number> {
    const client = await connectTo(sharedPostgres());
    const { rows } = await client.query(
      "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'",
    );
    await client.end();
    return rows.length;
  }

  test('starts as usual where nobody runs, even beside what a killed one has left', async () => {
    await using home = await DaemonHome.make({ settings: sharing });
    expect(await runIn(home, '-R', '-d')).toMatchObject({ code: 0, stderr: '' });
    expect(home.log).toContain(' LOG old process not found, try to continue normally\n');
    await expectServed(home);
    const pid = home.signal('SIGKILL');
    await waitFor(() => !isAlive(pid));
    expect(await runIn(home, '-R', '-d')).toMatchObject({ code: 0, stderr: '' });
    await expectServed(home, home.folder);
    expect(namesLeft(home)).toEqual([`.s.PGSQL.${home.port}`, 'pooler.pid']);
  });

  test('tells systemd which process is the one now', async () => {
    await using home = await startSharing();
    using peer = new DatagramPeer(join(home.folder, 'notify'));
    const { code } = await runProgram(['-R', '-d', home.iniPath], {
      env: { ...allowRoot, NOTIFY_SOCKET: peer.address },
    });
    expect(code).toBe(0);
    expect(peer.all()).toEqual([`MAINPID=${home.pid}\nREADY=1`]);
  });
});

test('a unix socket that somebody else has put in its place is never removed', async () => {
  await using home = await startSharing();
  const aside = join(home.folder, 'aside');
  renameSync(home.socketPath, aside);
  using other = new RawListener(home.socketPath);
  expect(other.fd).toBeGreaterThan(0);
  const pid = home.signal('SIGTERM');
  await waitFor(() => !isAlive(pid));
  expect(namesLeft(home)).toEqual([`.s.PGSQL.${home.port}`]);
});

function dial(where: { port: number } | { path: string }): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = 'port' in where ? connect(where.port, '127.0.0.1') : connect(where);
    onTestFinished(() => void socket.destroy());
    socket.once('connect', () => resolve(socket));
    socket.once('error', reject);
  });
}

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);

/** Sends, and gives what comes back up to a ReadyForQuery, or the single byte of an SSLRequest's answer. */
function answer(socket: Socket, bytes: Buffer): Promise<string> {
  return new Promise((resolve) => {
    let got = '';
    const take = (chunk: Buffer): void => {
      got += chunk.toString('latin1');
      if (got !== 'N' && !got.endsWith('Z\0\0\0\x05I') && !got.startsWith('E')) return;
      socket.off('data', take);
      resolve(got);
    };
    socket.on('data', take);
    socket.write(bytes);
  });
}

function startupPacket(parameters: Readonly<Record<string, string>>): Buffer {
  const text = `${Object.entries(parameters)
    .map(([name, value]) => `${name}\0${value}\0`)
    .join('')}\0`;
  const packet = Buffer.alloc(8 + text.length);
  packet.writeInt32BE(packet.length, 0);
  packet.writeInt32BE(3 << 16, 4);
  packet.write(text, 8);
  return packet;
}

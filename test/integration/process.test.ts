import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { freePort } from '../../src/cli/start/postgres.ts';
import { runAlone } from '../support/console.ts';
import { connectPeer } from '../support/scripted-peer.ts';
import { type SpawnOptions, SpawnedPooler, spawnPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { endOf, fatal, refusalOf } from '../support/refusals.ts';
import { waitFor, within } from '../support/wait-for.ts';

/** A folder for the test at hand. */
function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'pgweir-p-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const bin = resolve(import.meta.dirname, '../../src/cli/bin.ts');

/** Runs a pooler that is expected to refuse its start. */
async function refusedStart(options: SpawnOptions): Promise<{ code: number | null; stderr: string }> {
  await using pooler = SpawnedPooler.launch(options);
  const { code } = await within(pooler.ended, 'the refusal');
  return { code, stderr: pooler.stderr };
}

async function endOfProcess(pooler: SpawnedPooler): Promise<unknown> {
  return within(pooler.ended, 'the end of the process');
}

function command(pooler: SpawnedPooler, text: string): Promise<string> {
  return runAlone(pooler.socketPath, sharedPostgres().user, text);
}

/** TCP ports that a process listens on; Linux only, else null. */
function listeningPorts(pid: number): number[] | null {
  if (!existsSync('/proc/net/tcp')) return null;
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`);
      } catch {
        return '';
      }
    }),
  );
  const isListening = '0A';
  return ['tcp', 'tcp6'].flatMap((family) => {
    const path = `/proc/net/${family}`;
    if (!existsSync(path)) return [];
    return readFileSync(path, 'utf8')
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[3] === isListening && sockets.has(`socket:[${fields[9]}]`))
      .map((fields) => Number.parseInt(fields[1]?.split(':')[1] ?? '', 16));
  });
}

describe('signals', () => {
  test('SIGHUP applies the file anew and opens the log anew; a wrong file changes nothing', async () => {
    await using pooler = await spawnPooler({ settings: { default_pool_size: 3 } });
    const logfile = join(pooler.folder, 'pooler.log');
    pooler.configure({ settings: { logfile, default_pool_size: 4 } });
    pooler.signal('SIGHUP');
    const size = async () =>
      (await pooler.show('SHOW CONFIG')).find(({ key }) => key === 'default_pool_size')?.['value'];
    await waitFor(async () => (await size()) === '4');
    // As log rotation does it.
    await waitFor(() => existsSync(logfile));
    renameSync(logfile, `${logfile}.1`);
    writeFileSync(pooler.iniPath, 'nonsense\n');
    pooler.signal('SIGHUP');
    await waitFor(() => existsSync(logfile) && readFileSync(logfile, 'utf8').includes('WARNING'));
    const lines = readFileSync(logfile, 'utf8');
    expect(lines).toContain(`ERROR ${pooler.iniPath}:1: nonsense: expected = after the key\n`);
    expect(lines).toContain('WARNING config file loading failed\n');
    expect(await size()).toBe('4');
    expect(pooler.stderr).toContain('LOG got SIGHUP, re-reading config\n');
  });

  test('SIGHUP and SIGUSR2 do not end a pooler that is only starting', async (context) => {
    if (!existsSync('/proc/self/cmdline')) return context.skip('no /proc tells how far a start has come');
    await using pooler = SpawnedPooler.launch({});
    // It takes its title before it reads its configuration.
    await waitFor(() => readFileSync(`/proc/${pooler.pid}/cmdline`, 'latin1').startsWith('pgweir '));
    expect(pooler.stderr).toBe('');
    for (const signal of ['SIGHUP', 'SIGUSR2'] as const) pooler.signal(signal);
    await waitFor(() => pooler.stderr.includes('process up') || !pooler.isRunning);
    expect(pooler.isRunning).toBe(true);
    await (await pooler.client()).end();
  });

  test('SIGUSR1 pauses, SIGUSR2 resumes, and the former never opens a debugger port', async () => {
    await using pooler = await spawnPooler({ settings: { pool_mode: 'transaction' } });
    const client = await pooler.client();
    await client.query('SELECT 1');
    const isPaused = async () =>
      (await pooler.show('SHOW STATE')).some(({ key, value }) => key === 'paused' && value === 'yes');
    for (let round = 0; round < 3; round++) {
      pooler.signal('SIGUSR1');
      await waitFor(isPaused);
    }
    const query = client.query('SELECT 2 AS two');
    await waitFor(async () => (await pooler.show('SHOW CLIENTS')).some(({ state }) => state === 'waiting'));
    const ports = listeningPorts(pooler.pid);
    if (ports !== null) expect(ports).toEqual([pooler.port]);
    pooler.signal('SIGUSR2');
    expect((await query).rows).toEqual([{ two: 2 }]);
    expect(await isPaused()).toBe(false);
    expect(pooler.stderr).toContain('LOG got SIGUSR1, pausing all activity\n');
    expect(pooler.stderr).toContain('LOG got SIGUSR2, continuing from PAUSE\n');
    expect(pooler.stderr).not.toMatch(/debugger|inspector/i);
    await client.end();
  });

  test('SIGTERM waits for clients to leave, then ends with 0', async () => {
    await using pooler = await spawnPooler();
    const { port, socketDir, socketPath } = pooler;
    const client = await pooler.client();
    pooler.signal('SIGTERM');
    await waitFor(() => pooler.stderr.includes('got SIGTERM'));
    // The line is written first, so a connection may still have got into the listener's queue.
    await waitFor(() =>
      pooler.client().then(
        // Else it would be waited for, too.
        (late) => late.end().then(() => false),
        ({ code }) => code === 'ECONNREFUSED',
      ),
    );
    const shuttingDown = fatal('pooler is shutting down');
    expect(await refusalOf(pooler.client({ host: socketDir, port }))).toEqual(shuttingDown);
    expect(await command(pooler, 'RESUME')).toBe('ERROR 08P01 pooler is shutting down');
    pooler.signal('SIGUSR2');
    await waitFor(() => pooler.stderr.includes('got SIGUSR2 while shutting down, ignoring'));
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await client.end();
    expect(await endOfProcess(pooler)).toEqual({ code: 0, signal: null });
    expect(existsSync(socketPath)).toBe(false);
    expect(pooler.stderr).toContain('LOG got SIGTERM, shutting down, waiting for all clients disconnect\n');
  });

  test('SIGTERM over and over, until the last moment, ends with 0 and leaves nothing behind', async () => {
    for (let round = 0; round < 5; round++) {
      const pidfile = join(temporaryFolder(), 'pid');
      await using pooler = await spawnPooler({ settings: { pidfile } });
      const storm = spawn('sh', ['-c', `while kill -TERM ${pooler.pid}; do :; done`], { stdio: 'ignore' });
      const stormOver = new Promise((settle) => storm.once('close', settle));
      expect(await endOfProcess(pooler)).toEqual({ code: 0, signal: null });
      await stormOver;
      expect(existsSync(pidfile)).toBe(false);
      expect(existsSync(pooler.socketPath)).toBe(false);
    }
  });

  test('SIGINT waits for transactions to end, then ends with 0', async () => {
    await using pooler = await spawnPooler({ settings: { pool_mode: 'transaction' } });
    const [busy, idle] = [await pooler.client(), await pooler.client()];
    await busy.query('BEGIN');
    pooler.signal('SIGINT');
    await waitFor(() => pooler.stderr.includes('got SIGINT'));
    expect(await refusalOf(idle.query('SELECT 1'))).toEqual(fatal('server shutting down'));
    expect((await busy.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await busy.query('COMMIT');
    expect(await endOfProcess(pooler)).toEqual({ code: 0, signal: null });
    await busy.end();
  });

  test.each([
    'SIGTERM',
    'SIGINT',
  ] as const)('a second %s ends at once, with 0 and without a word', async (signal) => {
    await using pooler = await spawnPooler();
    const client = await pooler.client();
    await client.query('BEGIN');
    const ended = new Promise<Error>((settle) => client.once('error', settle));
    pooler.signal(signal);
    await waitFor(() => pooler.stderr.includes(`got ${signal}`));
    pooler.signal(signal);
    expect(await endOfProcess(pooler)).toEqual({ code: 0, signal: null });
    expect((await ended).message).toBe('Connection terminated unexpectedly');
    expect(pooler.stderr).toContain(`got ${signal} while shutting down, fast exit\n`);
    expect(
      existsSync(pooler.folder) && readdirSync(pooler.folder).some((name) => name.startsWith('.s.')),
    ).toBe(false);
  });

  test('SIGQUIT ends at once with 0', async () => {
    await using pooler = await spawnPooler();
    const client = await pooler.client();
    const ended = endOf(client).catch((error: Error) => error.message);
    pooler.signal('SIGQUIT');
    expect(await endOfProcess(pooler)).toEqual({ code: 0, signal: null });
    expect(await ended).toBe('Connection terminated unexpectedly');
  });

  test('SHUTDOWN on the console ends with 0, too', async () => {
    await using pooler = await spawnPooler();
    const peer = await connectPeer(pooler.port);
    await peer.close();
    await expect(command(pooler, 'SHUTDOWN')).rejects.toThrow('the peer closed');
    expect(await endOfProcess(pooler)).toEqual({ code: 0, signal: null });
  });
});

describe('the pidfile', () => {
  test('holds the process id while it runs, and goes with it', async () => {
    const pidfile = join(temporaryFolder(), 'pid');
    await using pooler = await spawnPooler({ settings: { pidfile } });
    expect(readFileSync(pidfile, 'utf8')).toBe(`${pooler.pid}\n`);
    expect(statSync(pidfile).mode & 0o133).toBe(0);
    const other = await refusedStart({ settings: { pidfile } });
    expect(other.code).toBe(1);
    expect(other.stderr).toContain(` FATAL pidfile '${pidfile}' exists, another instance running?\n`);
    expect(readFileSync(pidfile, 'utf8')).toBe(`${pooler.pid}\n`);
    pooler.signal('SIGQUIT');
    await endOfProcess(pooler);
    expect(existsSync(pidfile)).toBe(false);
  });

  test('of a dead process is replaced, one with garbage is left alone', async () => {
    const pidfile = join(temporaryFolder(), 'pid');
    writeFileSync(pidfile, `${spawnSync(process.execPath, ['-e', '']).pid}\n`);
    await using pooler = await spawnPooler({ settings: { pidfile } });
    expect(readFileSync(pidfile, 'utf8')).toBe(`${pooler.pid}\n`);
    pooler.signal('SIGQUIT');
    await endOfProcess(pooler);
    writeFileSync(pidfile, 'garbage');
    expect((await refusedStart({ settings: { pidfile } })).code).toBe(1);
    expect(readFileSync(pidfile, 'utf8')).toBe('garbage');
    rmSync(pidfile);
    execFileSync('mkfifo', [pidfile]);
    const fifo = await refusedStart({ settings: { pidfile } });
    expect(fifo.code).toBe(1);
    expect(fifo.stderr).toContain(` FATAL pidfile '${pidfile}' exists, another instance running?\n`);
  });
});

describe('the start', () => {
  const up = ' LOG process up: ';

  test('is refused while another pooler serves the unix socket', async () => {
    await using pooler = await spawnPooler({ settings: { listen_port: await freePort() } });
    const { code, stderr } = await refusedStart({
      settings: { listen_port: pooler.port, unix_socket_dir: pooler.folder },
    });
    expect(code).toBe(1);
    expect(stderr).toContain(' FATAL unix socket is in use, cannot continue\n');
    expect(stderr).not.toContain(up);
    await (await pooler.client({ host: pooler.socketDir })).end();
  });

  test('replaces the unix socket that a killed one left', async () => {
    const port = await freePort();
    await using first = await spawnPooler({ settings: { listen_port: port } });
    await first.stop();
    expect(existsSync(first.socketPath)).toBe(true);
    await using second = await spawnPooler({
      settings: { listen_port: port, unix_socket_dir: first.folder },
    });
    await (await second.client({ host: first.socketDir, port })).end();
  });

  test('is refused beside a PostgreSQL’s lock file, on a taken port, and with a logfile out of reach', async () => {
    const port = await freePort();
    await using locked = SpawnedPooler.launch({
      settings: { listen_port: port, logfile: '/nowhere/at/all.log' },
    });
    expect(await endOfProcess(locked)).toEqual({ code: 1, signal: null });
    expect(locked.stderr).toMatch(/ FATAL could not open logfile: .*\/nowhere\/at\/all\.log/);
    writeFileSync(`${join(locked.folder, `.s.PGSQL.${port}`)}.lock`, '');
    const lock = await refusedStart({ settings: { listen_port: port, unix_socket_dir: locked.folder } });
    expect(lock.code).toBe(1);
    expect(lock.stderr).toMatch(/ FATAL unix port is in use: \S+\.lock exists\n/);
    const other = createServer();
    await new Promise<void>((settle) => other.listen(port, '127.0.0.1', settle));
    const taken = await refusedStart({ settings: { listen_port: port } });
    other.close();
    expect(taken.code).toBe(1);
    expect(taken.stderr).toMatch(
      new RegExp(
        ` WARNING cannot listen on 127\\.0\\.0\\.1:${port}: address already in use\n.* FATAL cannot listen on any address`,
      ),
    );
    for (const { stderr } of [lock, taken]) expect(stderr).not.toContain(up);
  });

  test.each([
    ['[pgbouncer]\nlisten_port = many\n', /:2: listen_port: expected an integer/],
    ['[pgbouncer]\n\nno_such_key = 1\n', /:3: no_such_key: expected a setting of \[pgbouncer\]/],
    ['[databases]\ndb = host=a port=0\n[pgbouncer]\n', /:2: db: expected a port from 1 to 65535 for port/],
    ['[pgbouncer]\n%include gone.ini\n', /:2: %include: expected a readable file \(ENOENT\)/],
    ['[databases]\ndb =\n', /: expected a section \[pgbouncer\]/],
    ['[pgbouncer]\nauth_type = cert\n', /:2: auth_type: expected client_tls_sslmode = verify-full/],
  ])('with a wrong file ends with 1 and says where: %j', async (text, error) => {
    const { code, stderr } = await refusedStart({ text });
    expect(code).toBe(1);
    expect(stderr).toMatch(new RegExp(` ERROR \\S*pgbouncer\\.ini${error.source}`));
    expect(stderr).toContain(' FATAL cannot load config file\n');
  });

  test('with TLS that cannot be had ends with 1 and names the setting', async () => {
    const { code, stderr } = await refusedStart({ text: '[pgbouncer]\nclient_tls_sslmode = require\n' });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      / FATAL \S*pgbouncer\.ini: client_tls_cert_file: expected a file with a certificate\n/,
    );
  });

  test('without a file ends with 1 and names it', async () => {
    const { status, stderr } = spawnSync(process.execPath, [bin, '/nowhere/pgbouncer.ini'], {
      encoding: 'utf8',
      env: { ...process.env, PGWEIR_ALLOW_ROOT: '1' },
    });
    expect(status).toBe(1);
    expect(stderr).toContain('/nowhere/pgbouncer.ini');
    expect(stderr).toContain(' FATAL cannot load config file\n');
  });

  test('names in one warning what is set and has no effect', async () => {
    await using pooler = await spawnPooler({
      settings: { pkt_buf: 8192, dns_zone_check_period: 5, max_packet_size: 100_000 },
    });
    const warnings = pooler.stderr.split('\n').filter((line) => line.includes('without effect'));
    expect(warnings.map((line) => line.replace(/^.* WARNING /, ''))).toEqual([
      'set but without effect so far: pkt_buf, dns_zone_check_period',
    ]);
  });

  test('without unfinished settings has no warning', async () => {
    await using pooler = await spawnPooler();
    expect(pooler.stderr).not.toContain('WARNING');
    expect(pooler.stderr).toMatch(
      / LOG kernel file descriptor limit: \d+ \(hard: \d+\); max_client_conn: 100, max expected fd use: \d+\n/,
    );
    expect(pooler.stderr).toMatch(/ LOG listening on 127\.0\.0\.1:\d+\n/);
    expect(pooler.stderr).toMatch(/ LOG listening on unix:\S+\n/);
  });
});

test('--version and SHOW VERSION say the same, as monitoring reads it', async () => {
  const { stdout, status } = spawnSync(process.execPath, [bin, '--version'], { encoding: 'utf8' });
  await using pooler = await spawnPooler();
  const [line = ''] = stdout.split('\n');
  expect(status).toBe(0);
  expect(line).toMatch(/^PgBouncer 1\.25\.2 \(pgweir \d+\.\d+\.\d+\)$/);
  expect(await pooler.show('SHOW VERSION')).toEqual([{ version: line }]);
  expect(pooler.stderr).toContain(` LOG process up: ${line}, `);
});

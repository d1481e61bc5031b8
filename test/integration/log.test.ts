import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { runAlone } from '../support/console.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { frontend } from '../support/peer-messages.ts';
import { SpawnedPooler, spawnPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { connectPeer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor, within } from '../support/wait-for.ts';

/** One line of PgBouncer's form: time, process, level, message. */
const LINE =
  /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ \[(\d+)\] (FATAL|ERROR|WARNING|LOG|DEBUG|NOISE) (.+)$/;

/** Ends the pooler, once it has said `last`, and gives all it has written to stderr. SIGQUIT waits for no thread to say it. */
async function wholeLog(pooler: SpawnedPooler, last = ''): Promise<string> {
  await waitFor(() => pooler.stderr.includes(last), { what: last });
  pooler.signal('SIGQUIT');
  await within(pooler.ended, 'the end of the pooler');
  return pooler.stderr;
}

async function login(pooler: SpawnedPooler, config: { user: string; password: string; database?: string }) {
  try {
    const client = await pooler.client(config);
    await client.query('SELECT 1').finally(() => client.end());
    return 'ok';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

test('lines have PgBouncer’s form and wording, on stderr and in the logfile alike', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgweir-l-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const logfile = join(folder, 'pooler.log');
  await using pooler = await spawnPooler({ settings: { logfile, pool_mode: 'transaction' } });
  const { user } = sharedPostgres();
  const client = await pooler.client({ application_name: 'lo' });
  await client.query('SELECT 1');
  await client.end();
  await login(pooler, { user: 'lo_nobody', password: 'x' });
  await login(pooler, { user: 'lo\nFATAL forged', password: 'x' });
  const local = await connectPeer(pooler.socketPath);
  await local.send(frontend.startup({ user: 'lo_local', database: 'postgres' }));
  await local.end();
  await local.close();
  // A health probe that leaves before it has logged in leaves no trace.
  for (const said of [[], [frontend.sslRequest()], [frontend.startup({ user }).subarray(0, 9)]]) {
    const probe = await connectPeer(pooler.port);
    await probe.send(...said);
    await probe.close();
  }
  await runAlone(pooler.port, user, 'RECONNECT');
  await waitFor(() => pooler.stderr.includes('RECONNECT command issued'));
  const { port, pid } = pooler;
  const text = await wholeLog(pooler);
  expect(readFileSync(logfile, 'utf8')).toBe(text);
  const messages: string[] = [];
  for (const line of text.trimEnd().split('\n')) {
    if (line.startsWith('\t')) continue;
    const match = LINE.exec(line);
    expect(`${match?.[1]}: ${line}`).toBe(`${pid}: ${line}`);
    messages.push(`${match?.[2]} ${match?.[3]}`);
  }
  const address = String.raw`127\.0\.0\.1:\d+`;
  const patterns = [
    `LOG listening on 127\\.0\\.0\\.1:${port}`,
    `LOG C-0x[0-9a-f]+: postgres/${user}@${address} login attempt: db=postgres user=${user} tls=no replication=no`,
    `LOG S-0x[0-9a-f]+: postgres/${user}@127\\.0\\.0\\.1:${sharedPostgres().port} new connection to server \\(from ${address}\\)`,
    `LOG C-0x[0-9a-f]+: postgres/${user}@${address} closing because: client close request \\(age=\\d+s\\)`,
    `LOG C-0x[0-9a-f]+: postgres/lo_nobody@${address} no such user: lo_nobody`,
    `LOG C-0x[0-9a-f]+: postgres/lo_nobody@${address} login failed: db=postgres user=lo_nobody`,
    `WARNING C-0x[0-9a-f]+: postgres/lo_nobody@${address} pooler error: "trust" authentication failed`,
    `LOG C-0x[0-9a-f]+: postgres/lo_nobody@${address} closing because: "trust" authentication failed \\(age=0s\\)`,
    `LOG C-0x[0-9a-f]+: postgres/lo_local@unix\\(${process.pid}\\):${port} login attempt: .*`,
    `LOG S-0x[0-9a-f]+: postgres/${user}@.* closing because: database configuration changed \\(age=\\d+s\\)`,
    'LOG RECONNECT command issued',
    'LOG got SIGQUIT, fast exit',
  ];
  for (const pattern of patterns)
    expect(messages).toContainEqual(expect.stringMatching(new RegExp(`^${pattern}$`)));
  expect(messages.filter((message) => message.includes('(nodb)'))).toEqual([]);
  expect(messages.filter((message) => message.startsWith('FATAL'))).toEqual([]);
});

test('why a client is closed comes ahead of what it is told, and an unknown database is a failed login', async () => {
  await using pooler = await spawnPooler({ databases: {} });
  await login(pooler, { user: sharedPostgres().user, password: '', database: 'lo_nowhere' });
  const log = await wholeLog(pooler, 'pooler error: ');
  const said = log.split('\n').filter((line) => line.includes(' C-0x'));
  expect(said.map((line) => line.replace(/^.*@127\.0\.0\.1:\d+ /, ''))).toEqual([
    `login attempt: db=lo_nowhere user=${sharedPostgres().user} tls=no replication=no`,
    `login failed: db=lo_nowhere user=${sharedPostgres().user}`,
    'closing because: no such database: lo_nowhere (age=0s)',
    'pooler error: no such database: lo_nowhere',
  ]);
});

test('what is turned off is not logged, -q keeps stderr empty', async () => {
  await using silent = await spawnPooler({
    settings: { log_connections: 0, log_disconnections: 0, log_pooler_errors: 0 },
  });
  await login(silent, { user: sharedPostgres().user, password: '' });
  await login(silent, { user: 'lo_nobody', password: '' });
  const text = await wholeLog(silent, 'no such user: lo_nobody');
  expect(text).not.toMatch(/login attempt|closing because|pooler error|new connection/);
  expect(text).toContain('no such user: lo_nobody');

  const folder = mkdtempSync(join(tmpdir(), 'pgweir-l-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const logfile = join(folder, 'pooler.log');
  // Nothing but the logfile says when it is up.
  await using quiet = SpawnedPooler.launch({ settings: { logfile }, args: ['-q'] });
  await waitFor(() => existsSync(logfile) && readFileSync(logfile, 'utf8').includes('process up'));
  expect(await wholeLog(quiet)).toBe('');
});

test('a logfile that has become a FIFO without a reader does not hold up anything', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgweir-l-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const logfile = join(folder, 'pooler.log');
  const moved = `${logfile}.1`;
  await using pooler = await spawnPooler({ settings: { logfile } });
  renameSync(logfile, moved);
  execFileSync('mkfifo', [logfile]);
  const { user } = sharedPostgres();
  expect(await within(runAlone(pooler.socketPath, user, 'RELOAD'), 'RELOAD')).toBe('RELOAD');
  expect(await within(runAlone(pooler.socketPath, user, 'SHOW VERSION'), 'SHOW VERSION')).toBe('SHOW');
  // Once a RELOAD.
  const warnings = readFileSync(moved, 'utf8').match(/ WARNING could not open logfile: ENXIO.*/g);
  expect(warnings).toHaveLength(1);
  expect(warnings?.[0]).toContain(`still writing to the old one (${logfile})`);
});

test('log_stats 0 keeps the line of statistics out, from RELOAD on it comes once a period', async () => {
  const clock = new ManualClock();
  await using pooler = await startPooler({ clock, settings: { log_stats: 0, stats_period: 10 } });
  const stats = () => pooler.lines.filter((line) => line.startsWith('LOG stats: '));
  clock.advance(10_000);
  await sweepsPass();
  expect(stats()).toEqual([]);
  await pooler.reload({ settings: { log_stats: 1 } });
  clock.advance(10_000);
  await waitFor(() => stats().length > 0);
  await sweepsPass();
  expect(stats()).toHaveLength(1);
});

test('log_format json writes one object per line, with the same facts', async () => {
  await using pooler = await spawnPooler({ own: { log_format: 'json' } });
  await login(pooler, { user: 'lo_nobody', password: '' });
  const { pid } = pooler;
  const text = await wholeLog(pooler, 'pooler error: ');
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line): unknown => JSON.parse(line));
  for (const line of lines) {
    expect(line).toEqual({
      level: expect.stringMatching(/^(FATAL|ERROR|WARNING|LOG)$/),
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      pid,
      msg: expect.any(String),
    });
  }
  expect(lines).toContainEqual(
    expect.objectContaining({ level: 'WARNING', msg: expect.stringContaining('pooler error: "trust"') }),
  );
});

test('no password, hash, key or proof is ever logged, however much is logged and whatever goes wrong', async () => {
  const password = 'Zk-password-9';
  const typed = 'Zk-typed-wrong-9';
  const verifier = await createRole(sharedPostgres(), { name: 'lo_scram', auth: 'scram', password });
  for (const auth of ['password', 'md5'] as const) {
    await createRole(sharedPostgres(), { name: `lo_${auth}`, auth, password });
  }
  const md5 = createHash('md5').update(`${password}lo_md5`).digest('hex');
  const userlist = {
    lo_scram: verifier ?? '',
    lo_password: password,
    lo_md5: `md5${md5}`,
    lo_wrong: typed,
    // A secret that is nearly a verifier is a password in the clear.
    lo_odd: `${verifier}=`,
  };
  const secrets = [
    password,
    typed,
    md5,
    sharedPostgres().password,
    ...(verifier ?? '').split(/[$:]/).filter((part) => part.length > 16),
  ];
  const outcomes: string[] = [];
  const { host, port } = sharedPostgres();
  for (const auth_type of ['any', 'trust', 'plain', 'md5', 'scram-sha-256']) {
    await using pooler = await spawnPooler({
      settings: {
        auth_type,
        verbose: 3,
        admin_users: 'lo_password',
        log_stats: 1,
        stats_period: 1,
        server_login_retry: 0,
      },
      databases: {
        '*': '',
        forced: `dbname=postgres user=lo_password password='${password}'`,
        wrong: `dbname=postgres user=lo_password password=${typed}`,
      },
      userlist,
    });
    const logins = Object.keys(userlist).flatMap((user) =>
      ['postgres', 'forced', 'wrong', 'lo_nowhere'].flatMap((database) =>
        [password, typed].map((each) => login(pooler, { user, password: each, database })),
      ),
    );
    outcomes.push(...(await Promise.all(logins)));
    // Passwords where none belong.
    await login(pooler, { user: 'lo_password', password, database: 'pgbouncer' });
    const peer = await connectPeer(pooler.port);
    await peer.send(
      frontend.startup({ user: 'lo_password', database: 'postgres' }),
      frontend.password(typed),
    );
    await peer.end();
    await peer.close();
    const early = await connectPeer(pooler.port);
    await early.send(frontend.password(typed));
    await early.end();
    await early.close();
    // A RELOAD of a file with the password in a broken place.
    for (const entry of [
      `host=${host} port=${port} password=${typed}=x ${password}`,
      `password='${password}`,
    ]) {
      pooler.configure({ databases: { broken: entry } });
      const before = pooler.stderr.length;
      pooler.signal('SIGHUP');
      await waitFor(() => pooler.stderr.slice(before).includes('ERROR'));
    }
    const log = await wholeLog(pooler);
    expect(log).toContain('login attempt');
    for (const secret of secrets) expect(log.includes(secret)).toBe(false);
    // What is encoded would be as bad.
    for (const secret of [password, typed]) {
      expect(log).not.toContain(Buffer.from(secret).toString('base64').slice(0, -3));
      expect(log).not.toContain(Buffer.from(secret).toString('hex'));
    }
  }
  // The logins were not all refused at the door.
  expect(outcomes.filter((outcome) => outcome === 'ok').length).toBeGreaterThan(10);
  expect(new Set(outcomes).size).toBeGreaterThan(4);
});

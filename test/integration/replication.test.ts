import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Postgres } from '../../src/cli/start/postgres.ts';
import { errorFields, frontend } from '../support/peer-messages.ts';
import type { Section } from '../support/pooler-config.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { startPostgres, withClient } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { connectPeer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';
import {
  endStream,
  lsnOf,
  nextWal,
  replicationHba,
  startStream,
  statusUpdate,
  walOf,
} from '../support/walsender.ts';
import { WireClient } from '../support/wire-client.ts';

const ROLE = 'replicates';
const MIB = 1024 * 1024;
const MODES = ['session', 'transaction', 'statement'];

let postgres: Postgres;
beforeAll(async () => {
  postgres = await startPostgres({ settings: { wal_level: 'logical' }, hba: replicationHba });
  await createRole(postgres.address, { name: ROLE, auth: 'trust', options: 'REPLICATION' });
  await createRole(postgres.address, { name: 'replicates_not', auth: 'trust' });
});
afterAll(() => postgres[Symbol.asyncDispose]());

function start(settings: Section = {}, entry = ''): Promise<LocalPooler> {
  return startPooler({
    postgres: postgres.address,
    settings: { pool_mode: 'transaction', default_pool_size: 5, ...settings },
    databases: { '*': entry, stated: `dbname=postgres ${entry}` },
    userlist: { [ROLE]: '', replicates_not: '' },
  });
}

function connect(
  pooler: LocalPooler,
  replication: string,
  parameters: Readonly<Record<string, string>> = {},
): Promise<WireClient> {
  return WireClient.connect(pooler.port, { user: ROLE, database: 'postgres', replication, ...parameters });
}

/** The error that such a login ends with. */
async function refusal(
  pooler: LocalPooler,
  parameters: Readonly<Record<string, string>>,
): Promise<Record<string, string>> {
  const peer = await connectPeer(pooler.port);
  await peer.send(frontend.startup({ user: ROLE, database: 'postgres', ...parameters }));
  const { body } = await peer.message('E');
  await peer.close();
  return errorFields(body);
}

async function sql(text: string): Promise<Record<string, unknown>[]> {
  return withClient(postgres.address, async (client) => (await client.query(text)).rows);
}

/** Where the WAL ends now. */
async function walEnd(): Promise<bigint> {
  const [row] = await sql('SELECT pg_current_wal_flush_lsn()::text AS lsn');
  return lsnOf(row?.['lsn'] as string);
}

/** Writes about so much WAL. */
async function writeWal(bytes: number): Promise<void> {
  await sql(
    `SELECT pg_logical_emit_message(true, 'test', repeat('x', ${MIB})) FROM generate_series(1, ${bytes / MIB})`,
  );
}

/** PostgreSQL's side of the connections that replicate. */
async function walsenders(): Promise<number> {
  const [row] = await sql("SELECT count(*)::int AS n FROM pg_stat_activity WHERE backend_type = 'walsender'");
  return row?.['n'] as number;
}

async function noServerIsLeft(pooler: LocalPooler): Promise<void> {
  await waitFor(() => pooler.pooler.state.budget.count('server') === 0, { what: 'the end of all servers' });
  expect(await walsenders()).toBe(0);
}

describe.each(MODES)('in %s mode', (pool_mode) => {
  test('a physical connection takes commands one after the other, and no SQL but PostgreSQL refuses it', async () => {
    await using pooler = await start(
      {
        pool_mode,
        server_reset_query_always: 1,
        server_check_delay: 0,
        track_extra_parameters: 'work_mem, search_path',
      },
      "connect_query='SELECT 1'",
    );
    const before = postgres.log().length;
    await using client = await connect(pooler, 'true', { DateStyle: 'German' });
    const { types, rows } = await client.query('IDENTIFY_SYSTEM');
    expect([types, rows[0]?.length]).toEqual(['TDCZ', 4]);
    expect(await client.value('SHOW wal_segment_size')).toBe('16MB');
    // Nothing that pgweir sends by itself is among what PostgreSQL has refused.
    expect(postgres.log().slice(before)).not.toContain('ERROR');
    const { errors, status } = await client.query('SELECT 1');
    expect(errors[0]?.['M']).toMatch(/cannot execute SQL commands in WAL sender for physical replication/);
    expect(status).toBe('I');
    expect((await client.query('TIMELINE_HISTORY 1')).errors[0]?.['M']).toContain('could not open file');
    expect((await client.query('IDENTIFY_SYSTEM')).rows).toEqual(rows);
    await client.end();
    await noServerIsLeft(pooler);
  });

  test('a logical connection takes commands and SQL, in transaction blocks, too', async () => {
    await using pooler = await start({ pool_mode }, "connect_query='SET work_mem = 1234'");
    await using client = await connect(pooler, 'database');
    const pid = await client.value('SELECT pg_backend_pid()');
    expect((await client.query('IDENTIFY_SYSTEM')).rows[0]?.[3]).toBe('postgres');
    expect(await client.value('SHOW work_mem')).toBe('1234kB');
    for (const [command, status] of [
      ['BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ', 'T'],
      ['CREATE_REPLICATION_SLOT "blocks" TEMPORARY LOGICAL pgoutput (SNAPSHOT \'use\')', 'T'],
      ['SELECT 1', 'T'],
      ['COMMIT', 'I'],
    ] as const) {
      const answer = await client.query(command);
      expect([answer.errors, answer.status]).toEqual([[], status]);
    }
    expect(await client.value('SELECT pg_backend_pid()')).toBe(pid);
    // What it prepares is PostgreSQL's to know, by the client's own name.
    await client.query('PREPARE mine AS SELECT 5');
    expect(await client.value('SELECT name FROM pg_prepared_statements')).toBe('mine');
    expect(await client.value('EXECUTE mine')).toBe('5');
    const { types, errors } = await client.ask(frontend.parse('', 'SELECT 1'), frontend.sync());
    expect([types, errors[0]?.['C']]).toEqual(['EZ', '08P01']);
    expect(await client.value('SELECT 2')).toBe('2');
    await client.end();
    await noServerIsLeft(pooler);
    expect(await sql("SELECT FROM pg_replication_slots WHERE slot_name = 'blocks'")).toEqual([]);
  });

  test('the WAL comes as PostgreSQL sends it, goes on with status updates, and ends in good order', async () => {
    await using pooler = await start({ pool_mode });
    const begin = await walEnd();
    await writeWal(16 * MIB);
    const bytes = Number((await walEnd()) - begin);
    expect(bytes).toBeGreaterThan(16 * MIB);
    const hashes: string[] = [];
    for (const to of [postgres.address.port, pooler.port]) {
      await using client = await WireClient.connect(to, {
        user: ROLE,
        database: 'replication',
        replication: 'yes',
      });
      await startStream(
        client,
        `PHYSICAL ${(begin >> 32n).toString(16)}/${(begin & 0xffff_ffffn).toString(16)}`,
      );
      hashes.push(
        createHash('sha256')
          .update(await walOf(client, begin, bytes))
          .digest('hex'),
      );
      // Both directions at once: a walsender answers an update that asks for it by a keepalive.
      await client.send(statusUpdate(begin + BigInt(bytes), true));
      for (;;) if ((await client.peer.message('d')).body[0] === 0x6b) break;
      await waitFor(async () => {
        const [row] = await sql('SELECT flush_lsn::text AS lsn FROM pg_stat_replication');
        return row?.['lsn'] !== null && lsnOf(row?.['lsn'] as string) === begin + BigInt(bytes);
      });
      expect(await endStream(client)).toBe('cCCZ');
      expect((await client.query('IDENTIFY_SYSTEM')).types).toBe('TDCZ');
      await client.end();
    }
    expect(hashes[1]).toBe(hashes[0]);
    await noServerIsLeft(pooler);
  });
});

test('a logical stream brings the changes, and SQL may follow it on the same connection', async () => {
  await using pooler = await start();
  await sql('CREATE TABLE changes (id int PRIMARY KEY)');
  await using client = await connect(pooler, 'database');
  await client.query('CREATE_REPLICATION_SLOT "decoded" TEMPORARY LOGICAL test_decoding');
  await startStream(client, 'SLOT "decoded" LOGICAL 0/0');
  await sql('INSERT INTO changes VALUES (1), (2)');
  const texts: string[] = [];
  let last = 0n;
  while (!texts.at(-1)?.startsWith('COMMIT')) {
    const { start: at, data } = await nextWal(client);
    last = at;
    texts.push(data.toString());
  }
  expect(texts.filter((text) => text.startsWith('table'))).toEqual([
    'table public.changes: INSERT: id[integer]:1',
    'table public.changes: INSERT: id[integer]:2',
  ]);
  await client.send(statusUpdate(last + 1n, false));
  expect(await endStream(client)).toBe('cCCZ');
  expect(await client.value('SELECT 7')).toBe('7');
  await client.end();
  await noServerIsLeft(pooler);
});

test('an error ends the stream alone: what the client sends late is nothing, and the next command is answered', async () => {
  await using pooler = await start();
  await using client = await connect(pooler, 'database');
  await client.query('CREATE_REPLICATION_SLOT "fails" TEMPORARY LOGICAL test_decoding');
  await startStream(client, 'SLOT "fails" LOGICAL 0/0');
  await client.cancel();
  const { types, errors, status } = await client.answer();
  expect([types.replace(/^d*/, ''), errors[0]?.['C'], status]).toEqual(['EZ', '57014', 'I']);
  await client.send(statusUpdate(0n, true), statusUpdate(0n, true), frontend.copyDone());
  expect(await client.value('SELECT 7')).toBe('7');
  expect((await client.query('START_REPLICATION SLOT "none" LOGICAL 0/0')).errors[0]?.['C']).toBe('42704');
  await client.end();
});

test('what the client gave at its start is what its server is started with, options as they are', async () => {
  await using pooler = await start(
    { application_name_add_host: 1, ignore_startup_parameters: 'extra_float_digits' },
    'client_encoding=LATIN1 timezone=UTC',
  );
  await using client = await connect(pooler, 'database', {
    application_name: 'standby',
    datestyle: 'German',
    client_encoding: 'UTF8',
    work_mem: '2345',
    extra_float_digits: '0',
    options: '-c search_path=a,b --lock-timeout=77 -c statement_timeout=12345',
  });
  const values: Record<string, string | null> = {};
  for (const name of ['search_path', 'lock_timeout', 'statement_timeout', 'work_mem', 'extra_float_digits'])
    values[name] = await client.value(`SHOW ${name}`);
  expect(values).toEqual({
    search_path: 'a,b',
    lock_timeout: '77ms',
    statement_timeout: '12345ms',
    work_mem: '2345kB',
    extra_float_digits: '1',
  });
  // All that a login reports is the server's own.
  for (const [name, value] of [
    ['DateStyle', 'German, DMY'],
    ['client_encoding', 'UTF8'],
    ['TimeZone', 'UTC'],
    ['search_path', 'a,b'],
  ] as const) {
    expect([client.parameters.get(name), await client.value(`SHOW ${name}`)]).toEqual([value, value]);
  }
  expect(client.parameters.get('application_name')).toMatch(/^standby - 127\.0\.0\.1:\d+$/);
  await client.end();
});

test('a value that PostgreSQL refuses at the start is told to that client alone', async () => {
  await using pooler = await start();
  expect(await refusal(pooler, { replication: 'database', options: '-c work_mem=much' })).toMatchObject({
    C: '22023',
    M: 'login failed',
    D: 'invalid value for parameter "work_mem": "much"',
  });
  await (await connect(pooler, 'database')).end();
});

test('a role that may not replicate is refused with the reason, and the pool works on for it', async () => {
  await using pooler = await start();
  const user = 'replicates_not';
  const pooled = await pooler.client({ user });
  for (const replication of ['true', 'database']) {
    expect(await refusal(pooler, { user, replication })).toMatchObject({
      S: 'FATAL',
      C: '42501',
      M: 'login failed',
      D: 'permission denied to start WAL sender',
    });
  }
  expect((await pooled.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  expect(pooler.lines.some((line) => line.endsWith('pooler error: login failed'))).toBe(true);
  await pooled.end();
});

test('names are those of the entry, and a database that is not there is refused as for others', async () => {
  await using pooler = await start();
  await using client = await connect(pooler, 'database', { database: 'stated' });
  expect((await client.query('IDENTIFY_SYSTEM')).rows[0]?.[3]).toBe('postgres');
  await client.end();
  expect(await refusal(pooler, { database: 'nowhere', replication: 'database' })).toMatchObject({
    C: '3D000',
    M: 'login failed',
    D: 'database "nowhere" does not exist',
  });
});

test('the console and the log say who replicates', async () => {
  await using pooler = await start();
  await using physical = await connect(pooler, 'on', { application_name: 'walreceiver' });
  await using logical = await connect(pooler, 'database');
  const pooled = await pooler.client({ user: ROLE });
  await pooled.query('BEGIN');
  const clients = (await pooler.show('SHOW CLIENTS')).filter((row) => row['user'] === ROLE);
  const servers = await pooler.show('SHOW SERVERS');
  const kinds = (rows: typeof clients) => rows.map((row) => `${row['replication']} ${row['state']}`).sort();
  const all = ['logical active', 'none active', 'physical active'];
  expect(kinds(clients)).toEqual(all);
  expect(kinds(servers)).toEqual(all);
  const own = servers.find((row) => row['replication'] === 'physical');
  expect(own?.['application_name']).toBe('walreceiver');
  expect(own?.['link']).toBe(clients.find((row) => row['replication'] === 'physical')?.['ptr']);
  const [pool] = (await pooler.show('SHOW POOLS')).filter((row) => row['user'] === ROLE);
  expect(pool).toMatchObject({ cl_active: 3, sv_active: 3, sv_idle: 0, sv_login: 0 });
  const [stats] = (await pooler.show('SHOW STATS_TOTALS')).filter((row) => row['database'] === 'postgres');
  expect(stats).toMatchObject({ server_assignment_count: '1', client_login_count: '3' });
  for (const text of ['replication=yes', 'replication=database', 'replication=no']) {
    expect(pooler.lines.some((line) => line.includes('login attempt') && line.endsWith(text))).toBe(true);
  }
  await pooled.end();
  await physical.end();
  await logical.end();
  await waitFor(() =>
    pooler.lines.some((line) => line.includes('closing because: replication client disconnected')),
  );
});

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Postgres } from '../../src/cli/start/postgres.ts';
import { backendsOf, Holders, poolShows } from '../support/backends.ts';
import { runAlone, watch } from '../support/console.ts';
import { errorFields, frontend } from '../support/peer-messages.ts';
import type { Section } from '../support/pooler-config.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { startPostgres, withClient } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { connectPeer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';
import { nextWal, replicationHba, startStream, statusUpdate } from '../support/walsender.ts';
import { WireClient } from '../support/wire-client.ts';

const ROLE = 'replicates';
const SLOT = 'SLOT "lives" LOGICAL 0/0';

let postgres: Postgres;
beforeAll(async () => {
  postgres = await startPostgres({ settings: { wal_level: 'logical' }, hba: replicationHba });
  await createRole(postgres.address, { name: ROLE, auth: 'trust', options: 'REPLICATION' });
  await sql("SELECT pg_create_logical_replication_slot('lives', 'test_decoding')");
});
afterAll(() => postgres[Symbol.asyncDispose]());

function start(settings: Section = {}, own: Section = {}): Promise<LocalPooler> {
  return startPooler({
    postgres: postgres.address,
    settings: { pool_mode: 'transaction', default_pool_size: 2, ...settings },
    own,
    userlist: { [ROLE]: '' },
  });
}

const login = { user: ROLE, database: 'postgres' } as const;

function connect(pooler: LocalPooler, replication = 'database'): Promise<WireClient> {
  return WireClient.connect(pooler.port, { ...login, replication });
}

/** A client whose stream of changes has begun. */
async function streaming(pooler: LocalPooler): Promise<WireClient> {
  const client = await connect(pooler);
  await startStream(client, SLOT);
  return client;
}

async function sql(text: string): Promise<Record<string, unknown>[]> {
  return withClient(postgres.address, async (client) => (await client.query(text)).rows);
}

/** No walsender uses the slot. */
async function slotIsFree(): Promise<void> {
  await waitFor(
    async () =>
      (await sql("SELECT active FROM pg_replication_slots WHERE slot_name = 'lives'"))[0]?.['active'] ===
      false,
  );
}

async function noServerIsLeft(pooler: LocalPooler): Promise<void> {
  await waitFor(() => pooler.pooler.state.budget.count('server') === 0, { what: 'the end of all servers' });
}

/** The ErrorResponse that ends a stream or an idle client: SQLSTATE and text. */
async function endOf(client: WireClient): Promise<string> {
  for (;;) {
    const { type, body } = await client.peer.message();
    if (type !== 'E') continue;
    const { C, M } = errorFields(body);
    await client.peer.end();
    return `${C} ${M}`;
  }
}

/** What a command of the console says. */
function run(pooler: LocalPooler, command: string): Promise<string> {
  return runAlone(pooler.port, pooler.postgres.user, command);
}

describe('a server connection that replicates', () => {
  test('ends with its client, however that goes, and leaves its slot free', async () => {
    await using pooler = await start({}, { server_close_timeout: 60 });
    for (const leave of ['end', 'reset', 'halfClose'] as const) {
      await using client = await streaming(pooler);
      if (leave === 'end') await client.send(frontend.terminate());
      else client.peer[leave]();
      await noServerIsLeft(pooler);
      await slotIsFree();
    }
  });

  test('is never given to anybody else, and takes nobody else’s', async () => {
    await using pooler = await start();
    const pooled = await pooler.client(login);
    const pidOf = async () => (await pooled.query('SELECT pg_backend_pid() AS pid')).rows[0]?.['pid'];
    const pid = await pidOf();
    await using client = await connect(pooler);
    expect(await client.value('SELECT pg_backend_pid()')).not.toBe(String(pid));
    expect(await pidOf()).toBe(pid);
    await client.end();
    await poolShows(pooler, 'postgres', ROLE, { sv_idle: 1, sv_active: 0, sv_used: 0 });
    expect(await pidOf()).toBe(pid);
    await pooled.end();
  });

  test('counts in pool_size: an idle one makes room for it, busy ones do when they are released', async () => {
    await using pooler = await start();
    await using holders = await new Holders().add(pooler, 2, login);
    await waitFor(() => holders.holding === 2);
    const first = watch(connect(pooler));
    await poolShows(pooler, 'postgres', ROLE, { cl_waiting: 1, sv_active: 2 });
    // Another one waits behind it: the released server is not the other's.
    const behind = await pooler.client(login);
    const late = watch(behind.query('SELECT 1 AS one'));
    await poolShows(pooler, 'postgres', ROLE, { cl_waiting: 2 });
    await holders.clients[0]?.query('COMMIT');
    await using one = await first.promise;
    expect([await one.value('SELECT 1'), late.settled]).toEqual(['1', false]);
    await holders.clients[1]?.query('COMMIT');
    expect((await late.promise).rows).toEqual([{ one: 1 }]);
    // That server is idle now, and goes for the next one.
    await using two = await connect(pooler);
    expect(await two.value('SELECT 2')).toBe('2');
    expect(pooler.lines.filter((line) => line.endsWith('closing because: evicted (age=0s)')).length).toBe(2);
    expect(await backendsOf(pooler, ROLE)).toBe(0);
    await behind.end();
  });

  test('is waited for until client_login_timeout, and a client that leaves before is forgotten', async () => {
    await using pooler = await start({ default_pool_size: 1, client_login_timeout: 1 });
    await using one = await connect(pooler);
    const peer = await connectPeer(pooler.port);
    await peer.send(frontend.startup({ ...login, replication: 'true' }));
    await poolShows(pooler, 'postgres', ROLE, { cl_waiting: 1 });
    peer.reset();
    await poolShows(pooler, 'postgres', ROLE, { cl_waiting: 0 });
    const waiting = await connectPeer(pooler.port);
    await waiting.send(frontend.startup({ ...login, replication: 'true' }));
    expect(errorFields((await waiting.message('E')).body)).toMatchObject({
      C: '08P01',
      M: 'client_login_timeout (server down)',
      D: expect.stringMatching(
        /^Waited \d\.\d s as one of 1\. Server connections \(pool_size 1\): 1 replicating\.$/,
      ),
    });
    await waiting.close();
    expect(await one.value('SELECT 1')).toBe('1');
  });

  test('takes what its client has sent ahead of the login’s end', async () => {
    await using pooler = await start();
    const peer = await connectPeer(pooler.port);
    await peer.send(
      frontend.startup({ ...login, replication: 'database' }),
      frontend.query('IDENTIFY_SYSTEM'),
      frontend.query('SELECT 1'),
    );
    await peer.messagesTo('Z');
    for (const _ of [1, 2]) {
      const messages = await peer.messagesTo('Z');
      expect(messages.map(({ type }) => type).join('')).toBe('TDCZ');
    }
    await peer.close();
  });

  test('is cut at once by RECONNECT and by a changed entry, with the reason; a RELOAD of the same leaves it', async () => {
    await using pooler = await start();
    await using first = await streaming(pooler);
    await pooler.reload({ settings: { query_wait_timeout: 77 } });
    await sweepsPass();
    await sql("SELECT pg_logical_emit_message(true, 'x', 'y')");
    await nextWal(first);
    expect(await run(pooler, 'RECONNECT')).toBe('RECONNECT');
    expect(await endOf(first)).toBe('08P01 database configuration changed');
    await slotIsFree();
    await using second = await streaming(pooler);
    await pooler.reload({ databases: { '*': 'application_name=x connect_query=select' } });
    expect(await endOf(second)).toBe('08P01 database configuration changed');
    await slotIsFree();
  });

  test('is waited for by PAUSE, during which no other one is opened', async () => {
    await using pooler = await start();
    await using client = await streaming(pooler);
    const paused = watch(run(pooler, 'PAUSE'));
    const late = watch(connect(pooler, 'true'));
    await sweepsPass();
    expect([paused.settled, late.settled]).toEqual([false, false]);
    await sql("SELECT pg_logical_emit_message(true, 'x', 'y')");
    await nextWal(client);
    client.peer.reset();
    expect(await paused.promise).toBe('PAUSE');
    expect(late.settled).toBe(false);
    expect(await run(pooler, 'RESUME')).toBe('RESUME');
    await (await late.promise).end();
  });

  test('is ended by KILL and KILL_CLIENT, with the client told why', async () => {
    await using pooler = await start();
    await using first = await streaming(pooler);
    const row = (await pooler.show('SHOW CLIENTS')).find((each) => each['replication'] === 'logical');
    expect(await run(pooler, `KILL_CLIENT ${row?.['id']}`)).toBe('KILL_CLIENT');
    expect(await endOf(first)).toBe('08P01 admin forced disconnect');
    await slotIsFree();
    await using second = await streaming(pooler);
    expect(await run(pooler, 'KILL postgres')).toBe('KILL');
    expect(await endOf(second)).toBe('08P01 database removed');
    await slotIsFree();
    await noServerIsLeft(pooler);
  });

  test('is waited for by SHUTDOWN WAIT_FOR_SERVERS, which refuses those that wait for one', async () => {
    await using pooler = await start({ default_pool_size: 1 });
    await using client = await streaming(pooler);
    const waiting = await connectPeer(pooler.port);
    await waiting.send(frontend.startup({ ...login, replication: 'true' }));
    await poolShows(pooler, 'postgres', ROLE, { cl_waiting: 1 });
    expect(await run(pooler, 'SHUTDOWN WAIT_FOR_SERVERS')).toBe('SHUTDOWN');
    expect(errorFields((await waiting.message('E')).body)['M']).toBe('server shutting down');
    await waiting.close();
    await sweepsPass();
    expect(pooler.hasExited).toBe(false);
    client.peer.reset();
    await waitFor(() => pooler.hasExited);
    await slotIsFree();
  });

  test('tells its client what PostgreSQL says when that ends it', async () => {
    await using pooler = await start();
    await using client = await streaming(pooler);
    await sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'lives'");
    expect(await endOf(client)).toBe('57P01 terminating connection due to administrator command');
    await noServerIsLeft(pooler);
  });
});

test('a PostgreSQL that shuts down brings its last WAL, ends the stream and says nothing more', async () => {
  await using other = await startPostgres({ hba: replicationHba });
  await createRole(other.address, { name: ROLE, auth: 'trust', options: 'REPLICATION' });
  await using pooler = await startPooler({ postgres: other.address, userlist: { [ROLE]: '' } });
  await using client = await WireClient.connect(pooler.port, { ...login, replication: 'true' });
  const [system] = await client.rows('IDENTIFY_SYSTEM');
  await startStream(client, `PHYSICAL ${system?.[2]}`);
  // Right behind its CopyBothResponse a WAL sender still ends as any other process does.
  await withClient(other.address, (observer) =>
    waitFor(async () => {
      const { rows } = await observer.query("SELECT FROM pg_stat_replication WHERE state = 'streaming'");
      return rows.length === 1;
    }),
  );
  const stopped = other.stop();
  let types = '';
  while (!types.endsWith('C')) {
    const { type, body } = await client.peer.message();
    if (type !== 'd') types += type;
    // It waits until all that it has sent is safe.
    else if (body[0] === 0x77) {
      const end = body.readBigInt64BE(1) + BigInt(body.length - 25);
      await client.send(statusUpdate(end, false));
    }
  }
  expect([types, (await client.peer.end()).length]).toEqual(['C', 0]);
  await stopped;
});

describe('time limits', () => {
  const limits = { query_timeout: 0.5, transaction_timeout: 0.5, idle_transaction_timeout: 0.5 };

  test('end no stream, nor a client that is idle', async () => {
    await using pooler = await start({
      ...limits,
      ...{ client_idle_timeout: 0.5, server_lifetime: 1, server_idle_timeout: 0.5 },
    });
    await using idle = await connect(pooler);
    await using client = await streaming(pooler);
    const startMs = performance.now();
    await waitFor(() => performance.now() - startMs > 2000, { what: '2 s' });
    await sql("SELECT pg_logical_emit_message(true, 'x', 'y')");
    await nextWal(client);
    expect(await idle.value('SELECT 1')).toBe('1');
  });

  test.each([
    ['a query', 'SELECT pg_sleep(60)', 'query timeout'],
    ['a transaction block', 'BEGIN', 'idle transaction timeout'],
  ])('end %s of a logical connection', async (_what, text, reason) => {
    await using pooler = await start({ ...limits, transaction_timeout: 0 }, { server_close_timeout: 0.1 });
    await using client = await connect(pooler);
    await client.send(frontend.query(text));
    expect(await endOf(client)).toBe(`08P01 ${reason}`);
    await noServerIsLeft(pooler);
  });
});

test('a client that vanishes in the middle of a base backup ends that', async () => {
  await using pooler = await start();
  await using client = await connect(pooler, 'true');
  client.peer.stall();
  await client.send(frontend.query('BASE_BACKUP'));
  await waitFor(async () => (await sql('SELECT FROM pg_stat_progress_basebackup')).length === 1);
  client.peer.reset();
  await noServerIsLeft(pooler);
  await waitFor(async () => (await sql('SELECT FROM pg_stat_progress_basebackup')).length === 0);
});

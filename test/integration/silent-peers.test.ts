import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { poolShows, sleeps } from '../support/backends.ts';
import { CuttableNetwork } from '../support/cuttable-network.ts';
import { frontend } from '../support/peer-messages.ts';
import { spawnPooler, type SpawnedPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';

/**
 * Peers that fall silent: the cable is cut, so nothing arrives any more and no FIN or RST says so. What finds out is the
 * kernel alone, by what the `tcp_…` settings ask of it.
 */
const whyNot = await CuttableNetwork.whyNot();
if (whyNot !== null) {
  const needs =
    'root with CAP_SYS_ADMIN and CAP_NET_ADMIN or unprivileged user namespaces, unshare, nsenter, ip, veth';
  console.warn(`skipped: peers that fall silent need network namespaces (${needs}): ${whyNot}`);
}

const user = 'silent_role';
const database = 'silent_db';
const login = { user, database };
const KEEPALIVE = { tcp_keepidle: 1, tcp_keepintvl: 1, tcp_keepcnt: 2 };
const USER_TIMEOUT = { tcp_keepalive: 0, tcp_user_timeout: 2000 };
const LEFT = 'closing because: client unexpected eof';

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: user, auth: 'trust' });
  await createDatabase(sharedPostgres(), database, user);
});

const postgresSocket = () => join(sharedPostgres().socketDir, `.s.PGSQL.${sharedPostgres().port}`);
const near = () => `host=${sharedPostgres().socketDir} port=${sharedPostgres().port}`;

/** A pooler with one server connection. */
function start(
  network: CuttableNetwork,
  server: string,
  settings: Record<string, number>,
): Promise<SpawnedPooler> {
  const { settings: place, within } = network.pooler;
  return spawnPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1, ...place, ...settings },
    databases: { [database]: server },
    userlist: { [user]: '' },
    within,
  });
}

/** Everything that was sent across the cable has arrived, and nothing is due. */
const isQuiet = (network: CuttableNetwork) => waitFor(() => network.nearEnd()?.unconfirmed === 0);

const pidOf = (client: WireClient) => client.value('SELECT pg_backend_pid()').then(Number);

describe.skipIf(whyNot !== null)('a client that falls silent', { concurrent: true }, () => {
  test('while it waits, more sent than is kept, gives its place away by tcp_keepalive', async () => {
    await using network = await CuttableNetwork.open(postgresSocket());
    await using pooler = await start(network, near(), KEEPALIVE);
    await using holder = await WireClient.connect(pooler.socketPath, login);
    await holder.rows('BEGIN');
    const pid = await pidOf(holder);
    await using silent = await WireClient.connect(network.clientPath, login);
    silent.send(frontend.query(`SELECT '${'x'.repeat(20_000_000)}'`)).catch(() => {});
    await poolShows(pooler, database, user, { cl_waiting: 1 });
    // It isn't read any more: its kernel asks whether there is room again.
    await waitFor(() => network.farEnd()?.timer === 'zero window');
    network.cut();
    await poolShows(pooler, database, user, { cl_waiting: 0, cl_active: 1 });
    expect(pooler.stderr).toContain(LEFT);
    expect(await holder.query('COMMIT')).toMatchObject({ errors: [], status: 'I' });
    expect(await pidOf(holder)).toBe(pid);
  });

  test('idle in a transaction frees its server by tcp_keepalive', async () => {
    await using network = await CuttableNetwork.open(postgresSocket());
    await using pooler = await start(network, near(), KEEPALIVE);
    await using silent = await WireClient.connect(network.clientPath, login);
    await silent.rows('BEGIN');
    const pid = await pidOf(silent);
    await using next = await WireClient.connect(pooler.socketPath, login);
    await next.send(frontend.query('SELECT pg_backend_pid()'));
    await poolShows(pooler, database, user, { cl_active: 1, cl_waiting: 1 });
    await isQuiet(network);
    network.cut();
    const { rows, errors } = await next.answer();
    expect(errors).toEqual([]);
    // What the silent one has left in its transaction is undone.
    expect(rows).not.toEqual([[String(pid)]]);
    expect(
      await withClient(sharedPostgres(), (client) =>
        client.query('SELECT 1 FROM pg_stat_activity WHERE pid = $1', [pid]),
      ),
    ).toMatchObject({ rowCount: 0 });
    expect(pooler.stderr).toContain(LEFT);
  });

  test('with an answer on its way frees its server by tcp_user_timeout', async () => {
    await using network = await CuttableNetwork.open(postgresSocket());
    await using pooler = await start(network, near(), USER_TIMEOUT);
    const key = 730_301;
    await withClient(
      sharedPostgres(),
      async (owner) => {
        await owner.query('SELECT pg_advisory_lock($1)', [key]);
        await using silent = await WireClient.connect(network.clientPath, login);
        await silent.rows('BEGIN');
        await silent.send(frontend.query(`SELECT pg_advisory_xact_lock(${key})`));
        await waitFor(
          async () =>
            (await owner.query('SELECT 1 FROM pg_locks WHERE objid = $1 AND NOT granted', [key])).rowCount ===
            1,
        );
        await isQuiet(network);
        // Nothing is due: were it not for the answer, silence would last.
        expect(network.nearEnd()?.timer).toBe('none');
        network.cut();
        await owner.query('SELECT pg_advisory_unlock($1)', [key]);
        // Or its time is over already.
        await waitFor(() => [undefined, 'retransmission'].includes(network.nearEnd()?.timer));
        await poolShows(pooler, database, user, { cl_active: 0, sv_active: 0 });
      },
      { database },
    );
    expect(pooler.stderr).toContain(LEFT);
    await using next = await WireClient.connect(pooler.socketPath, login);
    expect(await next.value('SELECT 1')).toBe('1');
  });
});

describe.skipIf(whyNot !== null)('a server that falls silent', { concurrent: true }, () => {
  const lost = { S: 'FATAL', C: '08P01', M: 'server conn crashed?' };

  test('in the middle of a query is given up by tcp_keepalive, and the client is told', async () => {
    await using network = await CuttableNetwork.open(postgresSocket());
    await using pooler = await start(network, network.serverAddress, KEEPALIVE);
    await using client = await WireClient.connect(pooler.socketPath, login);
    await client.send(frontend.query(`SELECT pg_sleep(3600) /* ${user} */`));
    await sleeps(user);
    await poolShows(pooler, database, user, { sv_active: 1 });
    await isQuiet(network);
    network.cut();
    expect((await client.answerTo('E')).errors).toMatchObject([lost]);
    await withClient(sharedPostgres(), (owner) =>
      owner.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND wait_event = 'PgSleep'",
        [user],
      ),
    );
  });

  test('before a query is given up by tcp_user_timeout, and the client is told', async () => {
    await using network = await CuttableNetwork.open(postgresSocket());
    await using pooler = await start(network, network.serverAddress, USER_TIMEOUT);
    await using client = await WireClient.connect(pooler.socketPath, login);
    await client.rows('BEGIN');
    await isQuiet(network);
    expect(network.nearEnd()?.timer).toBe('none');
    network.cut();
    await client.send(frontend.query('SELECT 1'));
    await waitFor(() => network.nearEnd()?.timer === 'retransmission');
    expect((await client.answerTo('E')).errors).toMatchObject([lost]);
  });
});

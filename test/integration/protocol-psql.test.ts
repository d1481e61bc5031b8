import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VERSION_LINE } from '../../src/daemon/version.ts';
import { sleeps } from '../support/backends.ts';
import { LimitedServer, type ProtocolLimit } from '../support/limited-server.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { Psql } from '../support/psql.ts';
import { createRole } from '../support/roles.ts';
import { waitFor } from '../support/wait-for.ts';

const ROLE = 'protocol_psql';
const MODES = ['session', 'transaction', 'statement'] as const;
const psql = Psql.find();
/** Bytes of the secrets that the tests' PostgreSQL gives to connections of 3.2. */
const LONG_SECRET = majorOf(sharedPostgres().version) >= 18 ? 32 : 4;

/** libpq refuses a connection that ends up in another version. */
const CLIENTS = [
  ['3.0', { max_protocol_version: '3.0' }],
  ['3.2', { min_protocol_version: '3.2', max_protocol_version: '3.2' }],
] as const;

beforeAll(() => createRole(sharedPostgres(), { name: ROLE, auth: 'trust' }));

/** Of `postgres (PostgreSQL) 18.4`. */
function majorOf(version: string): number {
  return Number(/[0-9]+/.exec(version)?.[0]);
}

function login(pooler: LocalPooler, version: object, database = 'postgres'): Record<string, string | number> {
  return { host: '127.0.0.1', port: pooler.port, user: ROLE, dbname: database, ...version };
}

describe.runIf(psql !== null).each<[ProtocolLimit, number, number[]]>([
  ['none', LONG_SECRET, [2, 2]],
  ['negotiates', 4, [2, 2]],
  ['refuses', 4, [2, 0, 0]],
  ['hangs up', 4, [2, 0, 0]],
  ['says minor 0', 4, [2, 0, 0]],
  ['takes anything', 4, [2, 2]],
])('with libpq 18 in front of a server whose limit on the protocol is: %s', (limit, secretBytes, asked) => {
  const program = psql as Psql;
  let server: LimitedServer;

  beforeAll(async () => {
    server = await LimitedServer.listen(sharedPostgres(), limit);
  });

  afterAll(() => server[Symbol.asyncDispose]());

  test.each(
    MODES,
  )('psql of 3.0 and of 3.2 is served, and Ctrl-C cancels its query, in %s mode', async (mode) => {
    await using pooler = await startPooler({
      settings: { pool_mode: mode, default_pool_size: 1 },
      databases: { postgres: `host=127.0.0.1 port=${server.port}` },
      userlist: { [ROLE]: '' },
    });
    for (const [version, options] of CLIENTS) {
      const connection = login(pooler, options);
      expect(await program.run(connection, 'SELECT 42')).toEqual({ code: 0, stdout: '42', stderr: '' });

      const tag = `${limit} ${mode} ${version}`;
      const cancels = server.cancelSecrets.length;
      const run = program.start(connection, `SELECT pg_sleep(60) /* ${tag} */`);
      await sleeps(tag);
      run.child.kill('SIGINT');
      const { code, stderr } = await run.end;
      expect([tag, code, stderr]).toEqual([
        tag,
        1,
        expect.stringContaining('canceling statement due to user request'),
      ]);
      expect(server.cancelSecrets.slice(cancels)).toEqual([secretBytes]);
      expect(await program.run(connection, 'SELECT 43')).toMatchObject({ code: 0, stdout: '43' });
    }
  });

  test('a refusal is met once, not with each connection', async () => {
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 2 },
      databases: { postgres: `host=127.0.0.1 port=${server.port}` },
      userlist: { [ROLE]: '' },
    });
    const before = server.askedMinors.length;
    const [first, second] = [await pooler.client(), await pooler.client()];
    await first.query('BEGIN');
    await second.query('SELECT 1');
    expect(server.askedMinors.slice(before)).toEqual(asked);
    await first.end();
    await second.end();
  });
});

describe.runIf(psql !== null)('the console for libpq 18', () => {
  const program = psql as Psql;

  test.each(
    CLIENTS,
  )('answers a client of protocol %s, and Ctrl-C there ends a PAUSE', async (version, options) => {
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', admin_users: ROLE },
      userlist: { [ROLE]: '' },
    });
    const connection = login(pooler, options, 'pgbouncer');
    expect(await program.run(connection, 'SHOW VERSION')).toEqual({
      code: 0,
      stdout: VERSION_LINE,
      stderr: '',
    });
    const clients = (await program.run(connection, 'SHOW CLIENTS')).stdout.split('\n');
    expect(clients.map((line) => line.split('|').slice(0, 3))).toEqual([['C', ROLE, 'pgbouncer']]);

    // PAUSE waits for this transaction.
    const holder = await pooler.client({ user: ROLE, password: '' });
    await holder.query('BEGIN');
    const run = program.start(connection, 'PAUSE');
    await waitFor(() => pooler.pooler.standing().isPaused, { what: 'PAUSE' });
    run.child.kill('SIGINT');
    const { code, stderr } = await run.end;
    expect([version, code]).toEqual([version, 1]);
    expect(stderr).toContain('canceling statement due to user request');
    expect(pooler.pooler.standing().isPaused).toBe(false);
    await holder.end();
  });
});

test.runIf(psql !== null)(
  'psql that asks for the newest protocol there is gets 3.2 and a server’s answers',
  async () => {
    await using pooler = await startPooler({ userlist: { [ROLE]: '' } });
    const connection = login(pooler, { max_protocol_version: 'latest' });
    expect(await (psql as Psql).run(connection, 'SELECT 42')).toEqual({ code: 0, stdout: '42', stderr: '' });
  },
);

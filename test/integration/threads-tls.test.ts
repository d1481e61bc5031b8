import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Postgres } from '../../src/cli/start/postgres.ts';
import { createRole } from '../support/roles.ts';
import { Threads } from '../support/threaded-pooler.ts';
import { isTakenUp, startTlsPostgres, TlsFolder } from '../support/tls.ts';

const ROLE = 'threads_tls';
const TURNS = 3;

const files = new TlsFolder();
let postgres: Postgres;
beforeAll(async () => {
  const identity = files.identity('server', { altNames: ['localhost'] });
  postgres = await startTlsPostgres(identity, files.authority.certPem);
  // PostgreSQL is the witness: a second session, and it refuses the login.
  await createRole(postgres.address, { name: ROLE, auth: 'trust', options: 'CONNECTION LIMIT 1' });
});
afterAll(async () => {
  await postgres?.[Symbol.asyncDispose]();
  files[Symbol.dispose]();
});

/** The session of PostgreSQL that serves a client, which has to be encrypted. */
async function sessionOf(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ pid: number; ssl: boolean }>(
    'SELECT pid, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
  );
  expect(rows).toMatchObject([{ ssl: true }]);
  return rows[0]?.pid ?? 0;
}

test('a server over TLS that rests in one thread is closed for a client that waits in another, which opens its own', {
  timeout: 120_000,
}, async () => {
  const { host, port } = postgres.address;
  await using threads = await Threads.start(
    {
      settings: {
        pool_mode: 'transaction',
        default_pool_size: 1,
        server_tls_sslmode: 'require',
        server_login_retry: 0,
      },
      databases: { secret: `host=${host} port=${port} dbname=postgres` },
      userlist: { [ROLE]: '' },
    },
    2,
  );
  const login = { user: ROLE, database: 'secret' };
  // One of each thread, for connections go to the one with the fewest.
  const clients = [await threads.client(login), await threads.client(login)];
  const sessions = new Set<number>();
  for (let turn = 0; turn < TURNS; turn++) {
    for (const client of clients) {
      const session = await sessionOf(client);
      expect(sessions.has(session)).toBe(false);
      sessions.add(session);
      expect(threads.pooler.keeper.count('server')).toBe(1);
      // As long as nobody else waits for it, it stays.
      expect(await sessionOf(client)).toBe(session);
    }
  }
  const workers = await threads.show('SHOW WORKERS');
  const total = (column: string) => workers.map((row) => Number(row[column]));
  expect([total('clients'), total('total_sent'), total('total_received')]).toEqual([
    [1, 1],
    [0, 0],
    [0, 0],
  ]);
  expect(total('total_reopened')).toEqual([TURNS, TURNS - 1]);
  const whys = threads.lines.filter((line) => line.includes('closing because: wanted by another thread'));
  expect(whys).toHaveLength(sessions.size - 1);
  expect(postgres.log()).not.toContain('too many connections for role');
  await Promise.all(clients.map((client) => client.end()));
});

test.each(['TLSv1.2', 'TLSv1.3'] as const)('a session of %s is taken up by another thread', {
  timeout: 60_000,
}, async (version) => {
  const { certFile, keyFile } = files.identity(`pooler-${version}`, { altNames: ['localhost'] });
  const settings = {
    client_tls_sslmode: 'require',
    client_tls_cert_file: certFile,
    client_tls_key_file: keyFile,
  };
  await using threads = await Threads.start({ settings }, 2);
  const { port, user } = threads.address;
  const options = { maxVersion: version, ca: files.authority.certPem, servername: 'localhost' };
  // One connection is still there, so the next one goes to the thread that has none.
  expect(await isTakenUp({ port, user }, options, 'beside')).toBe(true);
  expect(await isTakenUp({ port, user }, options, 'beside')).toBe(true);
});

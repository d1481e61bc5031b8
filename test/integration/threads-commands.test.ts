import { beforeAll, expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { connectAndLogin, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { Threads } from '../support/threaded-pooler.ts';
import { TlsFolder } from '../support/tls.ts';
import { waitFor } from '../support/wait-for.ts';

const ROLE = 'threads_commands';

beforeAll(() => createRole(sharedPostgres(), { name: ROLE, auth: 'trust' }));

test('KILL of all is for threads, too, that learn of a database later: one made from * is paused in all', async () => {
  await using threads = await Threads.start(
    { settings: { pool_mode: 'transaction', server_login_retry: 0 }, userlist: { [ROLE]: '' } },
    2,
  );
  const { workforce } = threads.pooler;
  const paused = async (): Promise<number> => {
    const lists = await Promise.all(workforce.snapshots('databases'));
    return lists.filter((list) => list.some((one) => one.name === 'postgres' && one.paused)).length;
  };
  const client = await threads.client({ user: ROLE, database: 'postgres' });
  client.on('error', () => {});
  await client.query('SELECT 1');
  expect(await threads.ask({ kind: 'kill', database: null })).toEqual({ ok: true });
  expect(await paused()).toBe(2);
  // Nobody is left that has been told by the command itself.
  for (const thread of workforce.threads) void thread.terminate();
  await waitFor(() => workforce.threads.length === 0, { what: 'the end of both threads' });
  await waitFor(() => workforce.threads.length === 2, { what: 'both threads' });
  expect(await paused()).toBe(2);
  expect(await threads.ask({ kind: 'resume', database: 'postgres' })).toEqual({ ok: true });
  expect(await paused()).toBe(0);
  const next = await threads.client({ user: ROLE, database: 'postgres' });
  expect((await next.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  await next.end();
});

test('after a SUSPEND that some threads could not carry out none is suspended, whenever it began', async () => {
  await using threads = await Threads.start({ userlist: { [ROLE]: '' } }, 2);
  const { workforce } = threads.pooler;
  const { signal } = new AbortController();
  const suspended = async (): Promise<boolean[]> =>
    (await Promise.all(workforce.snapshots('state'))).flat().map((state) => state.suspended);
  const replaceOne = async (): Promise<void> => {
    void workforce.threads[0]?.terminate();
    await waitFor(() => workforce.threads.length === 1, { what: 'the end of a thread' });
    await waitFor(() => workforce.threads.length === 2, { what: 'both threads' });
  };
  await Promise.all(workforce.command({ kind: 'suspend', attempt: 2 }, signal));
  await replaceOne();
  expect(await suspended()).toEqual([true, true]);
  // That was another one, whose end comes late.
  await Promise.all(workforce.command({ kind: 'end suspension', attempt: 1 }, signal));
  expect([await suspended(), workforce.isSuspended]).toEqual([[true, true], true]);
  await Promise.all(workforce.command({ kind: 'end suspension', attempt: 2 }, signal));
  expect([await suspended(), workforce.isSuspended]).toEqual([[false, false], false]);
  await replaceOne();
  expect(await suspended()).toEqual([false, false]);
  // One that begins in between hears of both.
  void Promise.allSettled(workforce.command({ kind: 'suspend', attempt: 3 }, signal));
  const replaced = replaceOne();
  await Promise.allSettled(workforce.command({ kind: 'end suspension', attempt: 3 }, signal));
  await replaced;
  expect(await suspended()).toEqual([false, false]);
  expect(threads.lines.filter((line) => line.includes('disconnected'))).toEqual([]);
});

test('a thread that begins behind a SET which TLS could not follow has the TLS of the others', async () => {
  using files = new TlsFolder();
  const { certFile, keyFile } = files.identity('own', { altNames: ['localhost'] });
  const settings = {
    client_tls_sslmode: 'require',
    client_tls_cert_file: certFile,
    client_tls_key_file: keyFile,
  };
  await using threads = await Threads.start({ settings, userlist: { [ROLE]: '' } }, 2);
  const { workforce } = threads.pooler;
  const set = threads.ask({ kind: 'set', key: 'client_tls_cert_file', value: '/nowhere.pem' });
  expect(await set).toMatchObject({ ok: true, notice: expect.stringContaining('still using old') });
  for (const thread of workforce.threads) void thread.terminate();
  await waitFor(() => workforce.threads.length === 0, { what: 'the end of both threads' });
  await waitFor(() => workforce.threads.length === 2, { what: 'both threads' });
  const ssl = { ca: files.authority.certPem, servername: 'localhost' };
  const client = await threads.client({ user: ROLE, ssl });
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  await client.end();
});

test('a graceful shutdown does not end before what a dead thread has left running is cancelled', async () => {
  await using server = await ScriptedServer.listen();
  await using threads = await Threads.start(
    {
      settings: { pool_mode: 'transaction' },
      databases: { scripted: `host=127.0.0.1 port=${server.port}` },
      own: { server_close_timeout: 60, server_cancel_timeout: 60 },
      userlist: { [ROLE]: '' },
    },
    2,
  );
  const { workforce } = threads.pooler;
  const [client, peer] = await Promise.all([
    connectAndLogin(threads.address.port, { user: ROLE, database: 'scripted' }),
    server.acceptLogin({ pid: 99, secret: Buffer.from('SECR') }),
  ]);
  await client.send(frontend.query('SELECT 1'));
  await peer.message('Q');
  for (const thread of workforce.threads) void thread.terminate();
  const carrier = await server.accept();
  await carrier.packet();
  await waitFor(() => workforce.threads.length === 2, { what: 'both threads', deadlineMs: 20_000 });
  const ending = (): boolean => threads.lines.some((line) => line.endsWith('connections dropped, exiting'));
  expect(await threads.ask({ kind: 'shutdown', mode: 'wait_for_clients' })).toEqual({ ok: true });
  // Both threads have said by then that they have nothing.
  await sweepsPass(4);
  await workforce.beat();
  expect(ending()).toBe(false);
  await carrier.close();
  await peer.close();
  await waitFor(ending, { what: 'the end', deadlineMs: 20_000 });
  await client.close();
});

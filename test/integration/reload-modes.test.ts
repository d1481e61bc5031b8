import { expect, test } from 'vitest';
import { backend, frontend } from '../support/peer-messages.ts';
import { startPooler } from '../support/pooler.ts';
import { ScriptedServer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';
import { WireStage } from '../support/wire-stage.ts';

const { bind, close, execute, parse, sync } = frontend;
const ROLE = 'reload_modes';
const stage = new WireStage(ROLE, { pool_mode: 'session', default_pool_size: 2 }, { options: 'SUPERUSER' });
const run = (name: string): Buffer => Buffer.concat([bind('', name), execute(''), sync()]);
const goOver = (settings: Record<string, string | number>): Promise<void> =>
  Promise.resolve(stage.pooler.reload({ settings }));

/** The backends of all clients, by what they say. */
const pidOf = async (client: Awaited<ReturnType<typeof stage.connect>>): Promise<unknown> =>
  client.value('SELECT pg_backend_pid()');

test('from session to transaction mode nobody gets what another one has left on a server', async () => {
  const [one, other] = [await stage.connect(), await stage.connect()];
  await one.ask(parse('s', "SELECT 'one'"), sync());
  await other.ask(parse('s', "SELECT 'other'"), sync());
  await one.query('SET ROLE pg_monitor; CREATE TEMP TABLE left_behind (a int)');
  const pids = [await pidOf(one), await pidOf(other)];
  await goOver({ pool_mode: 'transaction' });
  // Not one of another client’s statements, whichever server it is.
  for (const client of [one, other]) expect((await client.ask(run('s'))).errors[0]?.['C']).toBe('26000');
  for (const client of [other, one, await stage.connect()]) {
    expect(pids).not.toContain(await pidOf(client));
    expect(await client.value("SELECT current_setting('role')")).toBe('none');
    expect(await client.value("SELECT to_regclass('left_behind') IS NULL")).toBe('t');
  }
});

test('clients that say nothing keep no server then; one in a transaction keeps it to the end', async () => {
  const [idle, busy] = [await stage.connect(), await stage.connect()];
  await idle.query('SELECT 1');
  await busy.query('BEGIN');
  const pid = await pidOf(busy);
  await goOver({ pool_mode: 'transaction' });
  const next = await stage.connect();
  await next.query('SELECT 1');
  expect(await pidOf(busy)).toBe(pid);
  await busy.query('COMMIT');
  await waitFor(async () => (await pidOf(busy)) !== pid, { what: 'another server' });
  expect(await idle.value('SELECT 7')).toBe('7');
});

test('a name means nothing from before a time in which it was not noticed what it meant', async () => {
  await goOver({ pool_mode: 'transaction' });
  const client = await stage.connect();
  await client.ask(parse('s', "SELECT 'before'"), sync());
  await goOver({ pool_mode: 'session' });
  await client.ask(close('S', 's'), parse('s', "SELECT 'meanwhile'"), sync());
  await goOver({ pool_mode: 'transaction' });
  expect((await client.ask(run('s'))).errors[0]?.['C']).toBe('26000');
});

test('names that clients gave while there were no prepared statements are on no server afterwards', async () => {
  await goOver({ pool_mode: 'transaction', max_prepared_statements: 0, default_pool_size: 1 });
  const [one, other] = [await stage.connect(), await stage.connect()];
  await one.ask(parse('s', "SELECT 'one'"), sync());
  await goOver({ pool_mode: 'transaction', max_prepared_statements: 100, default_pool_size: 1 });
  await other.query('SELECT 1');
  expect((await other.ask(run('s'))).errors[0]?.['C']).toBe('26000');
});

test.for([
  ['asked for its client’s parameters', true],
  ['set right for its client', false],
] as const)('a server that is being %s at that moment does not stay with it either', async ([
  _what,
  isAsked,
]) => {
  await using server = await ScriptedServer.listen();
  const config = (pool_mode: string) => ({
    settings: { pool_mode },
    databases: { scripted: `host=127.0.0.1 port=${server.port}` },
    userlist: { [ROLE]: '' },
  });
  await using pooler = await startPooler(config('session'));
  const parameters = { user: ROLE, database: 'scripted', standard_conforming_strings: 'off' };
  const [client, peer] = await Promise.all([
    WireClient.connect(pooler.port, parameters),
    server.acceptLogin(),
  ]);
  const strings = async (name: string): Promise<void> => {
    await peer.send(
      backend.parameterStatus('standard_conforming_strings', name),
      backend.commandComplete('SET'),
      backend.readyForQuery(),
    );
  };
  await client.send(frontend.query('DISCARD ALL'));
  expect(String((await peer.message('Q')).body)).toContain('standard_conforming_strings');
  await strings('off');
  await peer.message('Q');
  await peer.send(
    backend.parameterStatus('standard_conforming_strings', 'on'),
    backend.commandComplete('DISCARD ALL'),
    backend.readyForQuery(),
  );
  await client.answer();
  expect(String((await peer.message('Q')).body)).toContain('current_setting');
  const name = 'standard_conforming_strings';
  if (isAsked) await pooler.reload(config('transaction'));
  await peer.send(
    backend.rowDescription('n', 'encode', 'source'),
    backend.dataRow(name, Buffer.from('on').toString('hex'), 'default'),
    backend.commandComplete('COMMIT'),
    backend.readyForQuery(),
  );
  if (!isAsked) {
    // What the client gave has to be set again.
    expect(String((await peer.message('Q')).body)).toContain(`SET ${name}`);
    await pooler.reload(config('transaction'));
    await strings('off');
  }
  // The client says nothing, and the server is closed: nobody else may have it.
  expect((await peer.message()).type).toBe('X');
  await client.peer.close();
});

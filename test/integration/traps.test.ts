import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { frontend, int16, message, packet } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { connectPeer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';
import { unnamed, WireClient } from '../support/wire-client.ts';

/**
 * Traps of the protocol into which poolers have fallen, as far as no other file has a test of them:
 * `grep -rn 'trap:' test` finds all.
 */
const ROLE = 'traps_app';
const { parse, bind, execute, close, flush, sync, query } = frontend;

let pooler: LocalPooler;

beforeAll(() => createRole(sharedPostgres(), { name: ROLE, auth: 'trust' }));
beforeEach(async () => {
  pooler = await startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    userlist: { [ROLE]: '' },
  });
});
afterEach(() => pooler[Symbol.asyncDispose]());

function connect(parameters: Record<string, string> = {}): Promise<WireClient> {
  return WireClient.connect(pooler.port, { user: ROLE, database: 'postgres', ...parameters });
}

const run = (name: string) => Buffer.concat([bind('', name), execute('')]);

/** Batches, each with the number of its ReadyForQuery. */
const MIXED: readonly (readonly [name: string, batch: readonly Buffer[], answers: number])[] = [
  [
    'a Parse that fails, and a Query that is skipped with it',
    [parse('', 'SELECT no_such'), query('SELECT 1'), run(''), sync(), query('SELECT 2')],
    2,
  ],
  [
    'an Execute that fails between a Query ahead and one behind the Sync',
    [query('SELECT 1'), unnamed('SELECT 1/0'), unnamed('SELECT 3'), sync(), query('SELECT 4')],
    3,
  ],
  [
    'named statements around an error, with SQL about them',
    [parse('a', 'SELECT 1'), run('a'), run('b'), close('S', 'a'), sync(), query('EXECUTE a; DEALLOCATE a')],
    2,
  ],
  [
    'an error in a Query, then one in the extended protocol, inside a transaction',
    [query('BEGIN; SELECT 1/0'), unnamed('SELECT 1'), query('SELECT 2'), sync(), query('ROLLBACK')],
    3,
  ],
  [
    'a Flush behind the error, and the Sync much later',
    [unnamed('SELECT 1/0'), flush(), query('SELECT 1'), parse('b', ''), flush(), sync(), run('b'), sync()],
    2,
  ],
];

test.each(
  MIXED,
)('trap: simple and extended messages mixed in a batch, with an error before Sync: %s', async (...[
  ,
  batch,
  answers,
]) => {
  const [client, other] = [await connect(), await connect()];
  const direct = await WireClient.connect(sharedPostgres(), { user: ROLE, database: 'postgres' });
  await direct.send(...batch);
  await client.send(...batch);
  for (let i = 0; i < answers; i++) expect(await client.answer()).toEqual(await direct.answer());
  // The only server is free again, and owes nobody anything.
  expect(await other.value("SELECT 'next'")).toBe('next');
  expect(await client.value("SELECT 'own'")).toBe('own');
  await Promise.all([client.end(), other.end(), direct.end()]);
});

test('trap: FunctionCall, as libpq works with large objects, keeps its transaction’s server', async () => {
  const [client, other] = [await connect(), await connect()];
  const oids = new Map<string, number>();
  for (const name of ['lo_creat', 'lo_open', 'lowrite', 'lo_lseek', 'loread', 'lo_close', 'lo_unlink']) {
    oids.set(name, Number(await client.value(`SELECT oid FROM pg_proc WHERE proname = '${name}'`)));
  }
  /** Calls with arguments in binary format; gives the types of the answer, and the result. */
  async function call(name: string, ...args: (number | string)[]): Promise<[string, Buffer]> {
    const values = args.flatMap((arg) =>
      typeof arg === 'number' ? [4, arg] : [arg.length, Buffer.from(arg)],
    );
    const head = [oids.get(name) as number, int16(1), int16(1), int16(args.length)];
    await client.send(message('F', ...head, ...values, int16(1)));
    const all = await client.peer.messagesTo('Z');
    return [all.map(({ type }) => type).join(''), (all[0]?.body ?? Buffer.alloc(0)).subarray(4)];
  }
  // By itself it is a transaction of its own.
  const [types, made] = await call('lo_creat', 0x60000);
  expect(types).toBe('VZ');
  expect(await other.value('SELECT 1')).toBe('1');
  const object = made.readInt32BE(0);
  await client.query('BEGIN');
  const waiting = other.value('SELECT 2');
  const fd = (await call('lo_open', object, 0x60000))[1].readInt32BE(0);
  expect((await call('lowrite', fd, 'large object'))[1].readInt32BE(0)).toBe(12);
  await call('lo_lseek', fd, 6, 0);
  expect((await call('loread', fd, 100))[1].toString()).toBe('object');
  expect((await call('loread', 12345, 100))[0]).toBe('EZ');
  await client.query('ROLLBACK');
  expect(await waiting).toBe('2');
  expect((await call('lo_unlink', object))[0]).toBe('VZ');
  await Promise.all([client.end(), other.end()]);
});

test('trap: health probes that open and close a TCP connection are not logged as errors (pgbouncer #323)', async () => {
  const first = await connect();
  const before = pooler.lines.length;
  // Some look whether it speaks the protocol.
  const asked = [Buffer.alloc(0), frontend.sslRequest(), frontend.startup({ user: 'probe' }).subarray(0, 9)];
  for (let i = 0; i < 60; i++) {
    const peer = await connectPeer(pooler.port);
    await peer.send(asked[i % 3] as Buffer);
    if (i % 3 === 1) await peer.bytes(1);
    if (i % 2 === 0) peer.reset();
    else await peer.close();
  }
  // One behind them, so that all have been dealt with.
  await (await connect()).end();
  await first.end();
  await waitFor(() => pooler.pooler.state.connections.size === 0);
  const said = pooler.lines.slice(before).filter((line) => !line.includes(ROLE));
  expect(said).toEqual([]);
});

test('trap: a non-UTF-8 application_name is replayed as what the server made of it', async () => {
  const two = await connect({ application_name: 'two' });
  // At the start: bytes that are no UTF-8 stand as replacement characters.
  const peer = await connectPeer(pooler.port);
  const text = ['user', ROLE, 'database', 'postgres', 'application_name'];
  await peer.send(packet(0x30000, ...text, Buffer.from("it's \xff\xe9\0", 'latin1'), Buffer.of(0)));
  await peer.messagesTo('Z');
  // And later, in another encoding.
  const one = await connect({ client_encoding: 'LATIN1' });
  const set = Buffer.from("SET application_name = 'caf\xe9 {\"a\": ''b''}'\0", 'latin1');
  const { errors, parameters } = await one.ask(message('Q', set));
  expect(errors).toEqual([]);
  const [, name] = parameters[0] ?? [];
  expect(name).toContain(`{"a": 'b'}`);
  for (let turn = 0; turn < 2; turn++) {
    expect(await two.value('SHOW application_name')).toBe('two');
    await peer.send(query('SHOW application_name'));
    const shown = (await peer.messagesTo('Z')).find(({ type }) => type === 'D')?.body.toString();
    expect(shown).toContain("it's ");
    expect(await one.value('SHOW application_name')).toBe(name);
  }
  await peer.close();
  await Promise.all([one.end(), two.end()]);
});

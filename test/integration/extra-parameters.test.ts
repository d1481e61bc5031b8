import { expect, test } from 'vitest';
import { errorFields, frontend } from '../support/peer-messages.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { connectPeer } from '../support/scripted-peer.ts';
import type { WireClient } from '../support/wire-client.ts';
import { WireStage } from '../support/wire-stage.ts';

const ROLE = 'extra_parameters_app';

// One server connection, so that everybody meets what others have left.
const stage = new WireStage(ROLE, { default_pool_size: 1 });
const connect = (parameters: Readonly<Record<string, string>> = {}) => stage.connect(parameters);

/** What JDBC, libpq's PGOPTIONS and frameworks send. */
const given = {
  extra_float_digits: '0',
  options: '-c statement_timeout=12345 -c search_path="My\\ Schema",public --lock-timeout=7s',
};

const shown = async (client: WireClient, ...names: string[]) => {
  const columns = names.map((name) => `current_setting('${name}')`).join(', ');
  return (await client.rows(`SELECT ${columns}`))[0];
};
const NAMES = ['extra_float_digits', 'statement_timeout', 'search_path', 'lock_timeout'];

test('parameters given at the start, in options, too, are there in every transaction, and nobody else has them', async () => {
  const [plain, client] = [await connect(), await connect(given)];
  const before = await shown(plain, ...NAMES);
  for (let i = 0; i < 3; i++) {
    expect(await shown(client, ...NAMES)).toEqual(['0', '12345ms', '"My Schema",public', '7s']);
    expect(await shown(plain, ...NAMES)).toEqual(before);
  }
});

test.each([
  'work_mem, lock_timeout',
  'work_mem, options',
])('what ignore_startup_parameters names is not set on servers: %s', async (ignored) => {
  const asked = { work_mem: '1234kB', options: '-c lock_timeout=77' };
  const names = ['work_mem', 'lock_timeout'];
  const before = await shown(await connect(), ...names);
  expect(await shown(await connect(asked), ...names)).toEqual(['1234kB', '77ms']);
  await stage.closeClients();
  await stage.restart({ ignore_startup_parameters: ignored });
  expect(await shown(await connect(asked), ...names)).toEqual(before);
});

test('the login reports a given value in place of the server’s', async () => {
  await (await connect()).query('SELECT 1');
  const client = await connect({ options: '-c search_path=elsewhere' });
  expect(client.parameters.get('search_path')).toBe('elsewhere');
});

test('with the same values, or none, nothing is sent ahead of a client’s own query', async () => {
  const [one, same] = [await connect(given), await connect(given)];
  await one.query('SELECT 1');
  const log = "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid() AND query LIKE '%set_config%'";
  for (const client of [one, same, one]) {
    await client.query('SELECT 1');
    // What was set is still what was set: the statement that would do so changes this mark.
    expect(await client.value("SELECT set_config('extra.mark', 'kept', false)")).toBe('kept');
    expect(await client.rows(log)).toHaveLength(1);
  }
  expect(await one.value("SELECT current_setting('extra.mark')")).toBe('kept');
});

test('a reported parameter that a client changes later follows it', async () => {
  const [one, other] = [await connect(), await connect()];
  const before = await other.value('SHOW search_path');
  await one.query('SET search_path = one_only, public');
  expect(await other.value('SHOW search_path')).toBe(before);
  expect(await one.value('SHOW search_path')).toBe('one_only, public');
  await one.query('BEGIN; SET LOCAL search_path = local_only');
  expect(await one.value('SHOW search_path')).toBe('local_only');
  await one.query('COMMIT');
  expect(await other.value('SHOW search_path')).toBe(before);
  expect(await one.value('SHOW search_path')).toBe('one_only, public');
});

test.each([
  'RESET ALL',
  'DISCARD ALL',
  'RESET statement_timeout',
])('after %s by anybody a client has in its next transaction what it gave', async (sql) => {
  const [client, other] = [await connect(given), await connect()];
  const before = await shown(other, ...NAMES);
  for (const each of [client, other]) {
    await each.query(sql);
    expect(await shown(client, ...NAMES)).toEqual(['0', '12345ms', '"My Schema",public', '7s']);
    expect(await shown(other, ...NAMES)).toEqual(before);
  }
});

test.each([
  'transaction',
  'session',
])('TO DEFAULT goes back to what was given in %s mode, too', async (mode) => {
  await stage.restart({ pool_mode: mode });
  const client = await connect({ TimeZone: 'Asia/Tokyo', options: '-c search_path=given' });
  for (const sql of ['SET TIME ZONE DEFAULT', 'BEGIN; SET TimeZone = UTC; SET TimeZone TO DEFAULT; COMMIT']) {
    const answers = [await client.query(sql), await client.query('SHOW TimeZone')];
    expect(answers[1]?.rows).toEqual([['Asia/Tokyo']]);
    expect(answers.flatMap(({ parameters }) => parameters).at(-1)).toEqual(['TimeZone', 'Asia/Tokyo']);
  }
  await client.query('SET search_path TO DEFAULT');
  expect(await client.value('SHOW search_path')).toBe('given');
  // The same value by its name is a SET as any other.
  await client.query('SET search_path TO "$user", public');
  expect(await client.value('SHOW search_path')).toBe('"$user", public');
});

test('RESET goes back to what was given, SET in the same query does not', async () => {
  const [client, other] = [await connect({ options: '-c search_path=given' }), await connect()];
  await client.query('SET search_path = changed');
  await other.query('SELECT 1');
  expect(await client.value('SHOW search_path')).toBe('changed');
  await client.query('RESET search_path');
  expect(await client.value('SHOW search_path')).toBe('given');
  await client.query('RESET ALL; SET search_path = again');
  await other.query('SELECT 1');
  expect(await client.value('SHOW search_path')).toBe('again');
});

test('session mode has them, too, and the reset query leaves nothing of them to the next client', async () => {
  await stage.restart({ pool_mode: 'session' });
  const client = await connect(given);
  expect(await shown(client, ...NAMES)).toEqual(['0', '12345ms', '"My Schema",public', '7s']);
  await client.end();
  const plain = await connect();
  expect((await shown(plain, ...NAMES))?.slice(0, 2)).toEqual(['1', '0']);
});

test.each([
  ['no_such_parameter', '1', '42704', 'unrecognized configuration parameter "no_such_parameter"'],
  ['statement_timeout', 'soon', '22023', 'invalid value for parameter "statement_timeout": "soon"'],
  [
    'max_connections',
    '5',
    '55P02',
    'parameter "max_connections" cannot be changed without restarting the server',
  ],
])('%s=%s ends its client alone, with PostgreSQL’s own error', async (name, value, code, text) => {
  const other = await connect();
  const client = await connect({ [name]: value });
  await client.send(Buffer.from('Q\0\0\0\x0dSELECT 1\0', 'latin1'));
  expect((await client.answerTo('E')).errors[0]).toMatchObject({ S: 'FATAL', C: code, M: text });
  await client.peer.end();
  expect(await other.value('SELECT 1')).toBe('1');
});

/** A library that is loaded by its first use takes away what its name was prefixed to, or makes it the superuser's. */
const LOADS = 'DO $$ BEGIN NULL; END $$';

test.each([
  'plpgsql.typo=1',
  'plpgsql.variable_conflict=use_column',
])('%s, which cannot be taken back from a server, ends no other client', async (option) => {
  const [giver, plain] = [await connect({ options: `-c ${option}` }), await connect()];
  for (let i = 0; i < 2; i++) {
    await giver.query(LOADS);
    const pid = await giver.value('SELECT pg_backend_pid()');
    expect(await plain.value('SELECT pg_backend_pid()')).not.toBe(pid);
  }
});

test('what a server refuses for what others have done there, another one takes', async () => {
  const [plain, client] = [await connect(), await connect({ temp_buffers: '200' })];
  await plain.rows('CREATE TEMPORARY TABLE mine (n int); INSERT INTO mine VALUES (1)');
  expect(await client.value('SHOW temp_buffers')).toBe('1600kB');
});

test('a value that no server takes ends its client, and one server, whatever others have left there', async () => {
  const [giver, client] = [await connect(given), await connect({ work_mem: 'much' })];
  await giver.query('SELECT 1');
  await client.send(frontend.query('SELECT 1'));
  expect((await client.answerTo('E')).errors[0]).toMatchObject({ S: 'FATAL', C: '22023' });
  await client.peer.end();
  expect(
    stage.pooler.lines.filter((line) => line.includes('closing because: var change failed')),
  ).toHaveLength(1);
  expect(await shown(giver, ...NAMES)).toEqual(['0', '12345ms', '"My Schema",public', '7s']);
});

test('a client in session mode is given no other server in place of its own', async () => {
  await stage.restart({ pool_mode: 'session' });
  const [before, client] = [await connect(), await connect({ options: '-c plpgsql.typo=1' })];
  await before.query('SELECT 1');
  await before.end();
  await client.query(`CREATE TEMPORARY TABLE mine (n int); ${LOADS}`);
  await client.send(frontend.query('RESET ALL'));
  expect((await client.answerTo('E')).errors[0]).toMatchObject({ S: 'FATAL', C: '42602' });
  await client.peer.end();
});

test('what PostgreSQL takes at the start and never heeds is not set', async () => {
  const options = '-c transaction_read_only=on -c seed=0.5';
  const [client, other] = [await connect({ options }), await connect()];
  const pid = await client.value('SELECT pg_backend_pid()');
  expect(await client.value('SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()')).not.toContain(
    'seed',
  );
  expect(await client.value('SHOW transaction_read_only')).toBe('off');
  expect(await other.value('SELECT pg_backend_pid()')).toBe(pid);
});

test('a client is not held up by how the one before it has its transactions begin', async () => {
  const defaults =
    'isolation=serializable -c default_transaction_read_only=on -c default_transaction_deferrable=on';
  const one = await connect({ options: `-c default_transaction_${defaults}` });
  const other = await connect({ work_mem: '1234kB' });
  await one.query('SELECT 1');
  const writer = stage.direct;
  await writer.rows('BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT txid_current()');
  expect(await other.value('SHOW work_mem')).toBe('1234kB');
  await writer.rows('ROLLBACK');
  expect(await one.value('SHOW transaction_isolation')).toBe('serializable');
});

test.each([
  "work_mem'; SELECT 1; --",
  'work_mem=1;',
  'is_superuser',
  'role',
  'session_authorization',
  'transaction_isolation',
])('a name that cannot be given, %o, is refused at once', async (name) => {
  const peer = await connectPeer(stage.pooler.port);
  await peer.send(frontend.startup({ user: ROLE, database: ROLE, [name]: 'on' }));
  const [error] = await peer.messagesTo('E');
  expect(errorFields(error?.body ?? Buffer.alloc(0))).toMatchObject({
    S: 'FATAL',
    M: `unsupported startup parameter: ${name}`,
  });
  await peer.end();
});

test('a value is a value, whatever is in it', async () => {
  const value = String.raw`it's \ "quoted"; SELECT 1; -- ä`;
  const client = await connect({ 'extra.text': value });
  expect(await client.value("SELECT current_setting('extra.text')")).toBe(value);
});

test('a name of an application’s own may be made of words that SQL has reserved', async () => {
  const [client, other] = [await connect({ options: '-c user.id=5 -c order.Select=7' }), await connect()];
  const sql = "SELECT current_setting('user.id', true), current_setting('order.select', true)";
  for (let i = 0; i < 2; i++) {
    expect(await client.rows(sql)).toEqual([['5', '7']]);
    expect((await other.rows(sql))[0]?.map((value) => value ?? '')).toEqual(['', '']);
  }
});

test('a server on which somebody became another user is not used again', async () => {
  const { user } = sharedPostgres();
  const [one, other] = [await connect({ user }), await connect({ user })];
  for (const sql of [`SET SESSION AUTHORIZATION ${ROLE}`, `SET ROLE ${ROLE}`]) {
    const pid = await one.value('SELECT pg_backend_pid()');
    await one.rows(sql);
    expect(await other.value('SELECT current_user')).toBe(user);
    expect(await other.value('SELECT pg_backend_pid()')).not.toBe(pid);
  }
  // One that has ended with its transaction leaves nothing behind.
  const pid = await one.value('SELECT pg_backend_pid()');
  await one.query('BEGIN');
  await one.query(`SET LOCAL ROLE ${ROLE}`);
  expect(await one.value('SELECT current_user')).toBe(ROLE);
  await one.query('COMMIT');
  expect(await other.value('SELECT current_user')).toBe(user);
  expect(await other.value('SELECT pg_backend_pid()')).toBe(pid);
});

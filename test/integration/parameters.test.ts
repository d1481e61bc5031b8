import { readFileSync } from 'node:fs';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { WireClient } from '../support/wire-client.ts';

/** PostgreSQL logs all that this role says. */
const role = 'parameters_logged';

let pooler: LocalPooler;

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: role, auth: 'trust' });
  await withClient(sharedPostgres(), (client) =>
    client.query(`ALTER ROLE ${role} SET log_statement = 'all'`),
  );
});

beforeEach(async () => {
  pooler = await startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 1 },
    userlist: { [role]: '' },
  });
});

afterEach(() => pooler[Symbol.asyncDispose]());

function connect(parameters: Record<string, string> = {}): Promise<WireClient> {
  return WireClient.connect(pooler.port, { user: role, database: 'postgres', ...parameters });
}

async function end(...clients: readonly WireClient[]): Promise<void> {
  await Promise.all(clients.map((client) => client.end()));
}

/** The statements of this role that PostgreSQL has logged since `from`. */
function statements(from: number): string[] {
  const log = readFileSync(sharedPostgres().logPath, 'utf8').slice(from);
  return log
    .split('\n')
    .filter((line) => line.includes(` ${role}@`))
    .map((line) => /LOG: {2}statement: (.*)/.exec(line)?.[1] ?? '')
    .filter((statement) => statement !== '');
}

function logLength(): number {
  return readFileSync(sharedPostgres().logPath, 'utf8').length;
}

describe('a tracked parameter', () => {
  test.each([
    ['client_encoding', 'LATIN1', 'UTF8'],
    ['DateStyle', 'German, DMY', 'SQL, MDY'],
    ['TimeZone', 'Asia/Tokyo', 'America/New_York'],
    ['standard_conforming_strings', 'on', 'off'],
    ['application_name', 'one', 'two'],
    ['IntervalStyle', 'iso_8601', 'sql_standard'],
  ])('%s is what each client asked for at login, in turns on one server', async (name, first, second) => {
    const [one, two] = [await connect({ [name]: first }), await connect({ [name]: second })];
    expect([one.parameters.get(name), two.parameters.get(name)]).toEqual([first, second]);
    for (let turn = 0; turn < 3; turn++) {
      for (const [client, value] of [
        [one, first],
        [two, second],
      ] as const) {
        const answer = await client.query(`SHOW ${name}`);
        expect([answer.rows, answer.parameters]).toEqual([[[value]], []]);
      }
    }
    await end(one, two);
  });

  test.each([
    ['DateStyle', 'German, DMY'],
    ['TimeZone', 'Asia/Tokyo'],
    ['standard_conforming_strings', 'off'],
    ['application_name', 'renamed'],
    ['IntervalStyle', 'iso_8601'],
  ])('%s follows a SET to whichever server comes next, and reaches nobody else', async (name, value) => {
    await pooler.reload({ settings: { default_pool_size: 2 } });
    const [one, two, three] = [await connect(), await connect(), await connect()];
    const before = await two.value(`SHOW ${name}`);
    expect((await one.query(`SET ${name} = '${value}'`)).parameters).toEqual([[name, value]]);
    // Two servers: the holder keeps one of them busy, in turns.
    for (let turn = 0; turn < 4; turn++) {
      const [holder, other] = turn % 2 === 0 ? [two, three] : [three, two];
      expect((await holder.query('BEGIN')).status).toBe('T');
      expect(await one.value(`SHOW ${name}`)).toBe(value);
      expect(await other.value(`SHOW ${name}`)).toBe(before);
      expect(await holder.value(`SHOW ${name}`)).toBe(before);
      expect((await holder.query('COMMIT')).status).toBe('I');
    }
    expect((await one.query(`RESET ${name}`)).parameters).toHaveLength(1);
    expect(await one.value(`SHOW ${name}`)).toBe(before);
    await end(one, two, three);
  });

  test('is undone with its transaction, for the client and for the server', async () => {
    const [one, two] = [
      await connect({ application_name: 'one' }),
      await connect({ application_name: 'two' }),
    ];
    await one.rows("BEGIN; SET application_name = 'undone'");
    expect((await one.query('ROLLBACK')).parameters).toEqual([['application_name', 'one']]);
    expect(await one.value('SHOW application_name')).toBe('one');
    await one.rows("BEGIN; SET LOCAL application_name = 'local'; COMMIT");
    expect(await two.value('SHOW application_name')).toBe('two');
    expect(await one.value('SHOW application_name')).toBe('one');
    await end(one, two);
  });

  test.each([
    `it's "quoted"`,
    'back\\slash \\n \\',
    `{"json": "it's", "deep": {"a": [1, 2]}}`,
    '$$; DROP TABLE x; --',
    `E'\\''`,
    '',
    ' spaces ',
    'x'.repeat(63),
  ])('trap: a JSON-valued application_name, or one full of quotes, is replayed literally: %j', async (name) => {
    const [one, two] = [
      await connect({ application_name: name }),
      await connect({ application_name: 'two' }),
    ];
    for (let turn = 0; turn < 2; turn++) {
      expect(await one.value('SHOW application_name')).toBe(name);
      expect(await two.value('SHOW application_name')).toBe('two');
    }
    await end(one, two);
  });

  test('with backslashes goes literally also to a server that takes them for escapes', async () => {
    const text = 'back\\slash \\\' "x';
    const one = await connect({ application_name: text, standard_conforming_strings: 'off' });
    const two = await connect({ application_name: 'two', standard_conforming_strings: 'off' });
    for (let turn = 0; turn < 2; turn++) {
      expect(await two.value('SHOW application_name')).toBe('two');
      expect(await one.value('SHOW application_name')).toBe(text);
    }
    await end(one, two);
  });

  test('trap: DateStyle given in another spelling than PostgreSQL’s is set once, not on every transaction', async () => {
    const client = await connect({ DateStyle: 'ISO', TimeZone: 'asia/tokyo', client_encoding: 'utf-8' });
    expect(client.parameters.get('DateStyle')).toBe('ISO');
    const from = logLength();
    for (let turn = 0; turn < 3; turn++) await client.rows(`SELECT 'turn ${turn}'`);
    const said = statements(from);
    expect(said.filter((statement) => statement.startsWith('SELECT'))).toHaveLength(3);
    expect(said.filter((statement) => /DateStyle/i.test(statement))).toHaveLength(1);
    expect(said.filter((statement) => /TimeZone/i.test(statement))).toHaveLength(1);
    expect(said.filter((statement) => /client_encoding/i.test(statement)).length).toBeLessThanOrEqual(1);
    await client.end();
  });

  test('DateStyle without an order has the server’s own, not that of the client before', async () => {
    const [iso, dmy] = [await connect({ DateStyle: 'ISO' }), await connect({ DateStyle: 'ISO, DMY' })];
    for (let turn = 0; turn < 2; turn++) {
      expect(await dmy.value("SELECT '01/02/2026'::date")).toBe('2026-02-01');
      expect(await iso.value("SELECT '01/02/2026'::date")).toBe('2026-01-02');
    }
    await end(iso, dmy);
  });

  test('that the next client wants the same costs no statement', async () => {
    const [one, two] = [await connect({ TimeZone: 'Asia/Tokyo' }), await connect({ TimeZone: 'Asia/Tokyo' })];
    await one.rows('SELECT 1');
    const from = logLength();
    await two.rows("SELECT 'two'");
    await one.rows("SELECT 'one'");
    expect(statements(from)).toEqual(["SELECT 'two'", "SELECT 'one'"]);
    await end(one, two);
  });

  test('with a value that PostgreSQL refuses ends its own client alone', async () => {
    const [one, two] = [await connect({ TimeZone: 'Nowhere/At_all' }), await connect()];
    expect(await two.value("SELECT 'before'")).toBe('before');
    await one.peer.send(Buffer.from('Q\0\0\0\x0dSELECT 1\0', 'latin1'));
    const told = await one.answerTo('E');
    expect(told.errors[0]).toMatchObject({
      S: 'FATAL',
      C: '22023',
      M: 'invalid value for parameter "TimeZone": "Nowhere/At_all"',
    });
    await one.peer.end();
    expect(await two.value("SELECT 'after'")).toBe('after');
    // The log says it of the server.
    expect(pooler.lines.find((line) => line.includes('varcache_apply failed'))).toMatch(
      /^ERROR S-\S+ \S+ varcache_apply failed: ERROR: invalid value for parameter "TimeZone": "Nowhere\/At_all"$/,
    );
    await two.end();
  });

  test('of track_extra_parameters follows its client too', async () => {
    await using extra = await startPooler({
      settings: {
        pool_mode: 'transaction',
        default_pool_size: 1,
        track_extra_parameters: 'IntervalStyle, search_path',
      },
      userlist: { [role]: '' },
    });
    const login = { user: role, database: 'postgres' };
    const one = await WireClient.connect(extra.port, { ...login, search_path: '"$user", pg_catalog' });
    const two = await WireClient.connect(extra.port, login);
    for (let turn = 0; turn < 2; turn++) {
      expect(await one.value('SHOW search_path')).toBe('"$user", pg_catalog');
      expect(await two.value('SHOW search_path')).toBe('"$user", public');
    }
    await end(one, two);
  });
});

test('a login lists what the server reports, then the tracked parameters in PgBouncer’s order', async () => {
  const client = await connect();
  const names = [...client.parameters.keys()];
  expect(names.slice(names.indexOf('DateStyle'))).toEqual([
    'DateStyle',
    'client_encoding',
    'TimeZone',
    'standard_conforming_strings',
    'application_name',
    'IntervalStyle',
  ]);
  expect(names.indexOf('server_version')).toBeLessThan(names.indexOf('DateStyle'));
  await client.end();
});

test('client_encoding governs the bytes that a client gets', async () => {
  const [latin, utf] = [
    await connect({ client_encoding: 'LATIN1' }),
    await connect({ client_encoding: 'UTF8' }),
  ];
  for (let turn = 0; turn < 2; turn++) {
    await latin.send(Buffer.from('Q\0\0\0\x14SELECT chr(233)\0', 'latin1'));
    await latin.peer.message('T');
    expect((await latin.peer.message('D')).body.subarray(6)).toEqual(Buffer.from([0xe9]));
    await latin.peer.messagesTo('Z');
    expect(await utf.value('SELECT chr(233)')).toBe('é');
  }
  await end(latin, utf);
});

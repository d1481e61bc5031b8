import { expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { unnamed } from '../support/wire-client.ts';
import { runNamed, WireStage } from '../support/wire-stage.ts';

const { parse, bindTexts, execute, describe, close, sync } = frontend;

const stage = new WireStage('prepared_room_app', {
  default_pool_size: 1,
  max_prepared_statements: 1,
});

const executing = parse('', 'EXECUTE a');
const bound = bindTexts('', '', []);
const atPortal = [executing, bindTexts('p', '', [])];

test.for([
  ['that was parsed', [executing, parse('b', 'SELECT 2'), bound, execute('')]],
  ['that is described as well', [executing, parse('b', 'SELECT 2'), bound, describe('P', ''), execute('')]],
  [
    'that was parsed in a stretch of its own',
    [executing, sync(), parse('b', 'SELECT 2'), bound, execute('')],
  ],
  ['that was bound', [...atPortal, parse('b', 'SELECT 2'), execute('p')]],
  ['behind which others run', [...atPortal, runNamed('c'), runNamed('d'), runNamed('c'), execute('p')]],
  ['behind another by SQL', [...atPortal, unnamed('EXECUTE c'), execute('p')]],
  [
    'with another PREPARE of its text ahead',
    [...atPortal, parse('', 'PREPARE e AS SELECT 1'), execute('p'), bound, execute('')],
  ],
] as const)('EXECUTE %s finds its statement, whatever has to make room for others', async ([, requests]) => {
  const client = await stage.connect();
  for (const name of ['c', 'd']) await client.ask(parse(name, `SELECT '${name}'`), sync());
  await client.query('BEGIN');
  await client.query('PREPARE a AS SELECT 1');
  const count = requests.filter((bytes) => bytes.equals(sync())).length;
  await client.send(...requests, sync());
  const answers = [];
  for (let i = 0; i <= count; i++) answers.push(await client.answer());
  const codes = answers.flatMap(({ errors }) => errors.map(({ C }) => C));
  expect([codes, answers.flatMap(({ rows }) => rows.flat())]).toEqual([[], expect.arrayContaining(['1'])]);
});

test.for([
  ['EXECUTE', '', ['SELECT 1'], [['1']]],
  ['EXECUTE', 'p', ['SELECT 1'], [['1']]],
  ['DEALLOCATE', '', ['DEALLOCATE'], []],
] as const)('%s that was parsed in an earlier transaction and is bound to portal "%s" finds its statement, though that has made room for another client’s', async ([
  verb,
  portal,
  tags,
  rows,
]) => {
  const client = await stage.connect();
  const other = await stage.connect();
  await client.query('PREPARE a AS SELECT 1');
  await client.ask(parse('', `${verb} a`), sync());
  await other.ask(parse('b', 'SELECT 2'), sync());
  const answer = await client.ask(bindTexts(portal, '', []), execute(portal), sync());
  expect([answer.errors, answer.tags, answer.rows]).toEqual([[], tags, rows]);
});

test('EXECUTE that was parsed in an earlier transaction finds no statement whose name is gone', async () => {
  const client = await stage.connect();
  const other = await stage.connect();
  await client.ask(parse('a', 'SELECT 1'), parse('', 'EXECUTE a'), sync());
  await client.ask(close('S', 'a'), sync());
  await other.ask(parse('b', 'SELECT 2'), sync());
  const { errors } = await client.ask(bound, execute(''), sync());
  expect(errors[0]).toMatchObject({ C: '26000', M: 'prepared statement "a" does not exist' });
});

test('an unnamed DEALLOCATE that outlives the name has the server forget its statement for all clients', async () => {
  const client = await stage.connect();
  await client.ask(parse('a', 'SELECT 1'), parse('', 'DEALLOCATE a'), sync());
  const { tags } = await client.ask(close('S', 'a'), bound, execute(''), sync());
  expect(tags).toEqual(['DEALLOCATE']);
  const other = await stage.connect();
  await other.ask(parse('b', 'SELECT 1'), sync());
  const { errors, rows } = await other.ask(runNamed('b'), sync());
  expect([errors, rows]).toEqual([[], [['1']]]);
});

test('a stretch may use more statements than a server may have', async () => {
  const client = await stage.connect();
  const names = ['a', 'b', 'c', 'd'];
  for (const name of names) await client.ask(parse(name, `SELECT '${name}'`), sync());
  for (const order of ['abcd', 'dcbaabcd', 'aabbaaccdd', 'abababab']) {
    const { rows, errors } = await client.ask(...[...order].map((name) => runNamed(name)), sync());
    expect([errors, rows.flat().join('')]).toEqual([[], order]);
    // And with PREPARE's in between.
    const mixed = [...order].flatMap((name) => [unnamed(`EXECUTE ${name}`), runNamed(name)]);
    const again = await client.ask(...mixed, sync());
    expect([again.errors, again.rows.flat().join('')]).toEqual([
      [],
      [...order].map((name) => name + name).join(''),
    ]);
  }
  // Whatever is too much goes when the next one comes, but for what the unnamed one executes.
  await client.ask(unnamed('SELECT 1'), sync());
  await client.ask(parse('e', 'SELECT 5'), sync());
  expect(await client.value('SELECT count(*) FROM pg_prepared_statements')).toBe('1');
});

test.each([
  ['RELOAD', () => stage.pooler.reload({ settings: { max_prepared_statements: 1 } })],
  ['SET', () => stage.pooler.show('SET max_prepared_statements = 1')],
] as const)('a limit lowered by %s is kept from the next statement on that a server learns', async (_what, lower) => {
  await stage.restart({ max_prepared_statements: 3 });
  const client = await stage.connect();
  const count = () => client.value('SELECT count(*) FROM pg_prepared_statements');
  const names = ['a', 'b', 'c'];
  for (const name of names) await client.ask(parse(name, `SELECT '${name}'`), sync());
  expect(await count()).toBe('3');
  await lower();
  // What is there is used as it was.
  for (const name of names) expect((await client.ask(runNamed(name), sync())).rows).toEqual([[name]]);
  expect(await count()).toBe('3');
  await client.ask(parse('d', "SELECT 'd'"), sync());
  expect(await count()).toBe('1');
  for (const name of [...names, 'd']) {
    expect((await client.ask(runNamed(name), sync())).rows).toEqual([[name]]);
    expect(await count()).toBe('1');
  }
});

import { expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { unnamed } from '../support/wire-client.ts';
import { runNamed, WireStage } from '../support/wire-stage.ts';

const { parse, bindTexts, execute, describe, sync } = frontend;

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

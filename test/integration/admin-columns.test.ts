import type pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectConsole } from '../support/console.ts';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { OWN_SHOW_COLUMNS, SHOW_COLUMNS } from '../support/show-columns.ts';

let pooler: LocalPooler;
let admin: pg.Client;

beforeAll(async () => {
  pooler = await startPooler();
  admin = await pooler.admin();
});

afterAll(async () => {
  await admin.end();
  await pooler[Symbol.asyncDispose]();
});

test.each(
  Object.entries({ ...SHOW_COLUMNS, ...OWN_SHOW_COLUMNS }),
)('SHOW %s has the names, order and types that monitoring expects', async (what, columns) => {
  const result = await admin.query(`SHOW ${what}`);
  expect(result.fields.map(({ name, dataTypeID }) => `${name}:${dataTypeID}`)).toEqual(columns);
  expect(result.command).toBe('SHOW');
  expect(result.fields.every(({ tableID, columnID }) => tableID === 0 && columnID === 0)).toBe(true);
  expect(
    result.fields.every(({ dataTypeModifier, format }) => dataTypeModifier === -1 && format === 'text'),
  ).toBe(true);
});

test('SELECT and lower case do as SHOW, the text of help comes as a notice', async () => {
  expect((await admin.query('select version;')).rows).toEqual((await admin.query('SHOW VERSION')).rows);
  const notices: (string | undefined)[] = [];
  admin.on('notice', (notice) => notices.push(notice.message));
  const { rows, command } = await admin.query('SHOW HELP');
  expect([rows, command, notices]).toEqual([[], 'SHOW', ['Console usage']]);
});

test('several commands typed ahead are answered in order', async () => {
  const peer = await connectConsole(pooler.port, sharedPostgres().user);
  await peer.send(
    frontend.query('SHOW STATE'),
    frontend.query('SHOW nothing'),
    frontend.query('SHOW VERSION'),
  );
  const types: string[] = [];
  for (let round = 0; round < 3; round++) {
    types.push((await peer.messagesTo('Z')).map(({ type }) => type).join(''));
  }
  expect(types).toEqual(['TDDDCZ', 'EZ', 'TDCZ']);
  await peer.close();
});

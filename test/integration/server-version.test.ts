import { expect, inject, test } from 'vitest';
import { startPooler } from '../support/pooler.ts';
import { skip } from '../support/skip.ts';

/** What all tests run on unless PGWEIR_TEST_PG_BIN names another. */
const USUAL_MAJOR = 18;

test('clients get to the PostgreSQL that this run is meant for', async (context) => {
  const named = process.env['PGWEIR_TEST_PG_BIN'];
  const version = inject('version');
  if (version === undefined && named !== undefined) return skip(context, `PGWEIR_TEST_PG_BIN=${named}`);
  await using pooler = await startPooler({ settings: { pool_mode: 'transaction' } });
  const client = await pooler.client();
  const { rows } = await client.query<{ major: number }>(
    "SELECT current_setting('server_version_num')::int / 10000 AS major",
  );
  expect(rows).toEqual([{ major: version?.major ?? USUAL_MAJOR }]);
  await client.end();
});

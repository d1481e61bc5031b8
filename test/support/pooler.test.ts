import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { spawnPooler, startPooler } from './pooler.ts';

test('a pooler in this process serves over TCP and its unix socket, has a console and can be reconfigured', async () => {
  const pooler = await startPooler({ settings: { default_pool_size: 3 } });
  try {
    for (const host of ['127.0.0.1', pooler.socketDir]) {
      const client = await pooler.client({ host });
      expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
      await client.end();
    }
    expect((await pooler.show('SHOW DATABASES')).find(({ name }) => name === 'postgres')?.['pool_size']).toBe(
      3,
    );
    await pooler.reload({ settings: { default_pool_size: 4 } });
    expect((await pooler.show('SHOW DATABASES')).find(({ name }) => name === 'postgres')?.['pool_size']).toBe(
      4,
    );
    expect(pooler.lines.some((line) => line.includes('login attempt: db=postgres'))).toBe(true);
  } finally {
    await pooler[Symbol.asyncDispose]();
  }
  expect(existsSync(pooler.folder)).toBe(false);
});

test('a pooler in a process of its own serves and ends', async () => {
  const pooler = await spawnPooler();
  const client = await pooler.client();
  expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  await client.end();
  await pooler[Symbol.asyncDispose]();
  expect(await pooler.ended).toEqual({ code: null, signal: 'SIGKILL' });
});

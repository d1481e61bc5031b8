import { expect, test } from 'vitest';
import { waitFor } from '../support/wait-for.ts';
import { testProgram } from './program-kit.ts';
import { debianDrivers } from './programs.ts';

testProgram({ driver: debianDrivers.sqlalchemy, named: false, cancels: true }, (running) => {
  test('pool_pre_ping replaces connections that have been lost without an error', async () => {
    const { use, direct, target } = running();
    await use(async (users) => {
      const [before] = await users.twice(1);
      // In transaction mode the pooler loses a server connection and the client keeps its own.
      await direct.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [
        target().user,
      ]);
      await waitFor(async () => {
        const { rows } = await direct.query('SELECT 1 FROM pg_stat_activity WHERE pid = $1', [
          before?.['pid'],
        ]);
        return rows.length === 0;
      });
      const [after] = await users.twice(2);
      expect(after).toEqual({ pid: expect.any(Number), twice: 4 });
      expect(after?.['pid']).not.toBe(before?.['pid']);
    });
  });

  test('connections beyond pool_size are there up to max_overflow, and go again', async () => {
    const { use, mode } = running();
    const count = mode === 'session' ? 2 : 6;
    await use(async (users) => {
      for (let round = 0; round < 2; round++) {
        const [overflow, pids] = (await users.ask({ op: 'pids', count })) as [number, number[]];
        expect(overflow).toBe(count - 2);
        expect(pids).toHaveLength(count);
        const servers = new Set(pids).size;
        if (mode === 'transaction') expect(servers).toBeLessThanOrEqual(2);
        else expect(servers).toBe(count);
      }
    }, count);
  });

  test('the dialect for asyncpg keeps its statements under names, which are there on every server', async () => {
    const { use, onEachServer, target, mode } = running();
    const pids = new Set<unknown>();
    await use((users) =>
      onEachServer(async () => {
        for (const n of [1, 2]) {
          const answer = await users.ask({ op: 'on_asyncpg', target: target(), n });
          expect(answer).toEqual({ pid: expect.any(Number), double: n * 2, named: true });
          pids.add((answer as { pid: number }).pid);
        }
      }),
    );
    expect(pids.size).toBe(mode === 'transaction' ? 2 : 1);
  });

  test('a stream brings its rows part by part', async () => {
    await running().use(async (users) => {
      expect(await users.ask({ op: 'stream', rows: 1000, size: 50 })).toBe(500_500);
    });
  });

  test('a transaction within a transaction is taken back alone', async () => {
    const { use, direct } = running();
    await direct.query('TRUNCATE samples');
    await use(async (users) => {
      expect(await users.ask({ op: 'savepoint' })).toBe('23505');
    });
    expect((await direct.query('SELECT id, body FROM samples ORDER BY id')).rows).toEqual([
      { id: 1, body: null },
      { id: 2, body: 'b' },
      { id: 3, body: 'c' },
    ]);
  });

  test('the isolation level of a connection goes with it, and not to the next one', async () => {
    const { use, onEachServer } = running();
    await use((users) =>
      onEachServer(async () => {
        expect(await users.ask({ op: 'levels' })).toEqual([
          'serializable',
          'read committed',
          'read committed',
        ]);
      }),
    );
  });
});

import { expect, test } from 'vitest';
import { testProgram } from './program-kit.ts';
import { debianDrivers } from './programs.ts';

// It does not tell what PostgreSQL says to a query whose task is cancelled, but waits for the query's end.
testProgram({ driver: debianDrivers.asyncpg, named: true, cancels: 'CancelledError' }, (running) => {
  test('a cursor brings its rows part by part, with other statements in between', async () => {
    await running().use(async (users) => {
      expect(await users.ask({ op: 'cursor', rows: 1000, size: 50 })).toBe(500_500);
    });
  });

  test('executemany binds a statement many times, and an error takes all of it back', async () => {
    const { use, direct, onEachServer } = running();
    await use((users) =>
      onEachServer(async () => {
        await direct.query('TRUNCATE samples');
        expect(await users.ask({ op: 'many', rows: 200 })).toBe('23505');
        const { rows } = await direct.query('SELECT count(*)::int AS n, sum(length(body))::int FROM samples');
        expect(rows).toEqual([{ n: 200, sum: 19_900 }]);
      }),
    );
  });

  test('statements that its cache drops are closed, and prepared again when they are needed', async () => {
    const { target, use, onEachServer } = running();
    await use((users) =>
      onEachServer(async () => {
        expect(await users.ask({ op: 'evicted', target: target(), count: 5 })).toEqual([
          ...[0, 1, 2, 3, 4],
          ...[0, 1, 2, 3, 4],
        ]);
      }),
    );
  });

  test('types that it has to ask for come as they are', async () => {
    const { use, onEachServer } = running();
    let types = 0;
    await use((users) =>
      onEachServer(async () => {
        // Of another type each time: PostgreSQL does not forgive a statement whose type has been dropped.
        const name = `pair_${types++}`;
        expect(await users.ask({ op: 'composite', name })).toEqual([{ n: 1, t: 'ä' }, [{ n: 2, t: 'b' }]]);
      }),
    );
  });

  test('COPY brings records in as binary, and rows out by a query with a parameter', async () => {
    const { use, direct } = running();
    await direct.query('TRUNCATE samples');
    await use(async (users) => {
      expect(await users.ask({ op: 'copy', rows: 1000 })).toEqual(['COPY 1000', true]);
    });
    const { rows } = await direct.query('SELECT count(*)::int AS n, sum(id)::int FROM samples');
    expect(rows).toEqual([{ n: 1000, sum: 499_500 }]);
  });
});

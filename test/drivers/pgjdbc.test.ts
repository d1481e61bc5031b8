import { expect, test } from 'vitest';
import { testProgram } from './program-kit.ts';
import { debianDrivers } from './programs.ts';

testProgram({ driver: debianDrivers.pgjdbc, named: true, cancels: true }, (running) => {
  test('a portal brings its rows part by part, with other statements in between', async () => {
    await running().use(async (users) => {
      expect(await users.ask({ op: 'fetch', rows: 1000, size: 50 })).toBe(500_500);
    });
  });

  test('a batch binds a statement many times, and an error takes its transaction back', async () => {
    const { use, direct, onEachServer } = running();
    await use((users) =>
      onEachServer(async () => {
        await direct.query('TRUNCATE samples');
        expect(await users.ask({ op: 'batch', rows: 200 })).toEqual({ counted: 200, state: '23505' });
        const { rows } = await direct.query('SELECT count(*)::int AS n, sum(length(body))::int FROM samples');
        expect(rows).toEqual([{ n: 200, sum: 19_900 }]);
      }),
    );
  });

  test('what follows a savepoint is taken back alone', async () => {
    const { use, direct } = running();
    await direct.query('TRUNCATE samples');
    await use(async (users) => {
      expect(await users.ask({ op: 'savepoint' })).toBe('23505');
    });
    expect((await direct.query('SELECT id FROM samples ORDER BY id')).rows).toEqual([{ id: 1 }, { id: 2 }]);
  });

  test('COPY in and out brings all rows', async () => {
    const { use, direct } = running();
    await direct.query('TRUNCATE samples');
    await use(async (users) => {
      expect(await users.ask({ op: 'copy', rows: 1000 })).toEqual([1000, true]);
    });
    expect((await direct.query('SELECT count(*)::int AS n FROM samples')).rows).toEqual([{ n: 1000 }]);
  });
});

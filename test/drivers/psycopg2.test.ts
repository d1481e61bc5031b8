import { expect, test } from 'vitest';
import { testProgram } from './program-kit.ts';
import { debianDrivers } from './programs.ts';

testProgram({ driver: debianDrivers.psycopg2, named: true, cancels: true }, (running) => {
  test('a named cursor brings its rows part by part', async () => {
    await running().use(async (users) => {
      expect(await users.ask({ op: 'named_cursor', rows: 1000, size: 50 })).toBe(500_500);
    });
  });

  test('many EXECUTE in one message run, on whatever server', async () => {
    const { use, direct, onEachServer } = running();
    await use((users) =>
      onEachServer(async () => {
        await direct.query('TRUNCATE samples');
        await users.ask({ op: 'batch', rows: 120 });
        const { rows } = await direct.query(
          'SELECT count(*)::int AS n, min(body), max(body), sum(id)::int FROM samples',
        );
        expect(rows).toEqual([{ n: 120, min: "it's ä", max: "it's ä", sum: 7140 }]);
      }),
    );
  });

  test('COPY in and out brings all rows', async () => {
    const { use, direct } = running();
    await direct.query('TRUNCATE samples');
    await use(async (users) => {
      expect(await users.ask({ op: 'copy', rows: 1000 })).toEqual([1000, true]);
    });
    expect((await direct.query('SELECT count(*)::int AS n FROM samples')).rows).toEqual([{ n: 1000 }]);
  });

  test('the kind of transaction that is set for a connection goes with it to each server', async () => {
    const { use, onEachServer } = running();
    await use((users) =>
      onEachServer(async () => {
        expect(await users.ask({ op: 'levels' })).toEqual([
          { level: 'serializable', readonly: 'on' },
          { level: 'read committed', readonly: 'off' },
        ]);
      }),
    );
  });
});

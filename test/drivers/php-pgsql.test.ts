import { expect, test } from 'vitest';
import { testProgram } from './program-kit.ts';
import { debianDrivers } from './programs.ts';

// pg_cancel_query waits for the end of the query and drops what PostgreSQL says to it.
testProgram({ driver: debianDrivers['php-pgsql'], named: true, cancels: 'no result' }, (running) => {
  test('COPY in and out brings all rows', async () => {
    const { use, direct } = running();
    await direct.query('TRUNCATE samples');
    await use(async (users) => {
      expect(await users.ask({ op: 'copy', rows: 1000 })).toEqual([true, true]);
    });
    expect((await direct.query('SELECT count(*)::int AS n FROM samples')).rows).toEqual([{ n: 1000 }]);
  });

  test('a large object comes back as it went', async () => {
    const { use, onEachServer } = running();
    await use((users) =>
      onEachServer(async () => {
        expect(await users.ask({ op: 'large_object', length: 100_000 })).toEqual([100_000, true, true]);
      }),
    );
  });

  test('pg_insert, pg_update, pg_select and pg_delete know the columns', async () => {
    const { use, direct, onEachServer } = running();
    await direct.query('TRUNCATE samples');
    await use((users) =>
      onEachServer(async () => {
        expect(await users.ask({ op: 'convenient' })).toEqual(['7', 'b', []]);
      }),
    );
  });
});

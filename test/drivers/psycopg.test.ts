import { expect, test } from 'vitest';
import { testProgram } from './program-kit.ts';
import { debianDrivers } from './programs.ts';

testProgram({ driver: debianDrivers.psycopg, named: true, cancels: true }, (running) => {
  test('a pipeline brings all answers, and an error takes back what is between two Syncs alone', async () => {
    const { use, direct } = running();
    await direct.query('TRUNCATE samples');
    await use(async (users) => {
      const ids = Array.from({ length: 50 }, (_, i) => i);
      expect(await users.ask({ op: 'pipeline', ids })).toEqual({
        inserted: ids,
        failed: '23505',
        after: 4,
      });
      expect((await direct.query('SELECT count(*)::int AS n FROM samples')).rows).toEqual([{ n: 50 }]);
      expect(await users.twice(1)).toEqual([{ pid: expect.any(Number), twice: 2 }]);
    });
  });

  test('a server-side cursor brings its rows part by part, and goes back', async () => {
    await running().use(async (users) => {
      expect(await users.ask({ op: 'server_cursor', rows: 1000, size: 50 })).toEqual([500_500, 1, 50]);
    });
  });

  test('statements beyond the limit of the driver are deallocated and prepared again', async () => {
    const { use, onEachServer } = running();
    await use((users) =>
      onEachServer(async () => {
        expect(await users.ask({ op: 'few_names', count: 6 })).toEqual([0, 1, 2, 3, 4, 5]);
      }),
    );
  });

  test('DEALLOCATE ALL after ROLLBACK and DROP takes the own statements alone', async () => {
    const { use, onEachServer } = running();
    await use((users) =>
      use((others) =>
        onEachServer(async () => {
          await others.twice(1);
          expect(await users.ask({ op: 'undone' })).toEqual([1, 1, 1, 1]);
          expect(await others.twice(2)).toEqual([{ pid: expect.any(Number), twice: 4 }]);
          expect(await users.twice(3)).toEqual([{ pid: expect.any(Number), twice: 6 }]);
        }),
      ),
    );
  });

  test('COPY in and out, as text and as binary, brings all rows', async () => {
    const { use, direct } = running();
    await direct.query('TRUNCATE samples');
    await use(async (users) => {
      const rows = 500;
      const sums = [(2 * rows * (2 * rows - 1)) / 2, 3 * ((2 * rows) / 50) * ((49 * 50) / 2)];
      expect(await users.ask({ op: 'copy', rows })).toEqual([rows, rows, sums, sums]);
    });
    expect((await direct.query('SELECT count(*)::int AS n FROM samples')).rows).toEqual([{ n: 1000 }]);
  });

  test('a COPY that either side breaks off leaves nothing, and the connection goes on', async () => {
    const { use, direct } = running();
    await direct.query('TRUNCATE samples');
    await use(async (users) => {
      expect(await users.ask({ op: 'broken_copy' })).toEqual(['57014', '22P02']);
      expect(await users.twice(1)).toEqual([{ pid: expect.any(Number), twice: 2 }]);
    });
    expect((await direct.query('SELECT count(*)::int AS n FROM samples')).rows).toEqual([{ n: 0 }]);
  });
});

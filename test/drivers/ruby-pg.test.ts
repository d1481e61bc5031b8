import { expect, test } from 'vitest';
import { testProgram } from './program-kit.ts';
import { debianDrivers } from './programs.ts';

testProgram({ driver: debianDrivers['ruby-pg'], named: true, cancels: true }, (running) => {
  test("libpq's pipeline mode brings all answers, and an error takes back what is between two Syncs alone", async () => {
    const { use, direct } = running();
    await direct.query('TRUNCATE samples');
    await use(async (users) => {
      const ids = Array.from({ length: 50 }, (_, i) => i);
      expect(await users.ask({ op: 'pipeline', ids })).toEqual({
        inserted: ids,
        states: [null, '23505', 'aborted'],
        after: [50],
      });
      expect(await users.twice(1)).toEqual([{ pid: expect.any(Number), twice: 2 }]);
    });
    const { rows } = await direct.query('SELECT count(*)::int AS n, min(id) FROM samples');
    expect(rows).toEqual([{ n: 51, min: 0 }]);
  });

  test('single-row mode brings each row', async () => {
    await running().use(async (users) => {
      expect(await users.ask({ op: 'single_rows', rows: 2000 })).toBe(2_001_000);
    });
  });

  test('COPY in and out brings all rows', async () => {
    const { use, direct } = running();
    await direct.query('TRUNCATE samples');
    await use(async (users) => {
      expect(await users.ask({ op: 'copy', rows: 1000 })).toEqual([1000, true]);
    });
    expect((await direct.query('SELECT count(*)::int AS n FROM samples')).rows).toEqual([{ n: 1000 }]);
  });

  test('a COPY that either side breaks off leaves nothing, and the connection goes on', async () => {
    const { use, direct, onEachServer } = running();
    await direct.query('TRUNCATE samples');
    await use((users) =>
      onEachServer(async () => {
        expect(await users.ask({ op: 'broken_copy' })).toEqual(['that will do', '22P02']);
        expect(await users.twice(1)).toEqual([{ pid: expect.any(Number), twice: 2 }]);
      }),
    );
    expect((await direct.query('SELECT count(*)::int AS n FROM samples')).rows).toEqual([{ n: 0 }]);
  });

  test('a large object comes back as it went', async () => {
    const { use, onEachServer } = running();
    await use((users) =>
      onEachServer(async () => {
        expect(await users.ask({ op: 'large_object', length: 100_000 })).toEqual([100_000, true]);
      }),
    );
  });
});

import { expect, test } from 'vitest';
import { testProgram } from './program-kit.ts';
import { debianDrivers } from './programs.ts';

// PDO waits for the end of what it runs and cannot cancel it.
testProgram({ driver: debianDrivers['php-pdo'], named: true, cancels: false }, (running) => {
  test('statements that come and go, which it deallocates by SQL, run on whatever server', async () => {
    const { use, onEachServer } = running();
    await use((users) =>
      onEachServer(async () => {
        expect(await users.ask({ op: 'come_and_go', count: 10 })).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        expect(await users.twice(1)).toEqual([{ pid: expect.any(Number), twice: 2 }]);
      }),
    );
  });

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
});

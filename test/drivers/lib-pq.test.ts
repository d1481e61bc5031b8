import { expect, test } from 'vitest';
import { testProgram } from './program-kit.ts';
import { debianDrivers } from './programs.ts';

testProgram({ driver: debianDrivers['lib-pq'], named: true, cancels: true }, (running, mode) => {
  test('COPY brings all rows in, amid statements of its transaction', async () => {
    const { use, direct } = running();
    await direct.query('TRUNCATE samples');
    await use(async (users) => {
      expect(await users.ask({ op: 'copy', rows: 1000 })).toEqual([{ n: 1000, sum: 3800 }]);
    });
    expect((await direct.query('SELECT count(*)::int AS n FROM samples')).rows).toEqual([{ n: 1000 }]);
  });

  test('a COPY that the server ends leaves nothing, and the connection goes on', async () => {
    const { use, direct, onEachServer } = running();
    await direct.query('TRUNCATE samples');
    await use((users) =>
      onEachServer(async () => {
        expect(await users.ask({ op: 'broken_copy' })).toBe('22P02');
        expect(await users.twice(1)).toEqual([{ pid: expect.any(Number), twice: 2 }]);
      }),
    );
    expect((await direct.query('SELECT count(*)::int AS n FROM samples')).rows).toEqual([{ n: 0 }]);
  });

  test('values in binary form come back as they went', async () => {
    const { use, target } = running();
    await use(async (users) => {
      const [number, bytes] = (await users.ask({ op: 'binary', target: target() })) as [number, string];
      expect([number, Buffer.from(bytes, 'base64')]).toEqual([42, Buffer.from([0, 255, 1])]);
    });
  });

  // docs/transaction-mode.md: LISTEN is not safe there.
  if (mode === 'transaction') return;

  test('a listener is told', async () => {
    const { use, target } = running();
    await use(async (users) => {
      expect(await users.ask({ op: 'listen', target: target() })).toBe('ä');
    });
  });
});

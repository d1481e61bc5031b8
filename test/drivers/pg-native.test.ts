import { expect, test } from 'vitest';
import { testProgram } from './program-kit.ts';
import { debianDrivers } from './programs.ts';

testProgram({ driver: debianDrivers['pg-native'], named: true, cancels: true }, (running) => {
  test('a pipeline brings all answers, and an error spoils its own statement alone', async () => {
    const { use, direct } = running();
    await direct.query('TRUNCATE samples');
    await use(async (users) => {
      const ids = Array.from({ length: 50 }, (_, i) => i);
      expect(await users.ask({ op: 'pipeline', ids })).toEqual({
        inserted: ids,
        more: ['fulfilled', 'rejected', 'fulfilled'],
      });
    });
    const { rows } = await direct.query('SELECT count(*)::int AS n, min(id) FROM samples');
    expect(rows).toEqual([{ n: 52, min: -2 }]);
  });
});

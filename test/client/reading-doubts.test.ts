import { expect, test } from 'vitest';
import { ReadingDoubts } from '../../src/client/reading-doubts.ts';
import type { ReadingChange } from '../../src/prepared/sql-reading.ts';
import { StatementCache } from '../../src/prepared/statement.ts';
import { TxStatus } from '../../src/wire/codes.ts';

const VALUES = ['UTF8', 'on', 'ISO, MDY', 'UTC', 'postgres'];
const SET: ReadingChange = { indexes: [2], isLocal: false, end: null };

test.each<[string, (doubts: ReadingDoubts, answered: () => void) => void]>([
  [
    'that is known',
    (doubts, answered) => {
      answered();
      doubts.ready(TxStatus.Idle, () => VALUES);
    },
  ],
  ['another change comes', (doubts) => doubts.sent(SET)],
  ['the link is over', (doubts) => doubts.end()],
])('a text is counted that was closed before it is known how it is read, until %s', (_, then) => {
  const cache = new StatementCache();
  const doubts = new ReadingDoubts(cache);
  const changes = doubts.sent(SET);
  for (let i = 1; i <= 3; i++) {
    const statement = cache.hold('parse', "SELECT '01/02/2003'::date", doubts.reading(VALUES));
    doubts.prepared(statement);
    doubts.prepared(statement);
    cache.release(statement);
    expect(cache.size).toBe(i);
  }
  expect(cache.budget.usedBytes).toBeGreaterThan(0);
  then(doubts, () => changes.forEach((change) => change.settle()));
  expect([cache.size, cache.budget.usedBytes]).toEqual([0, 0]);
});

import { expect, it } from 'vitest';
import { A, B, C, SharedStage } from './budget-stage.ts';

const pool = 'db\0app';

it('tells other threads since when a client waits, and whether a server rests, each whatever the other is', () => {
  const stage = new SharedStage();
  const seen = (): unknown[] => {
    const other = stage.budgetOf(B);
    return [other.waitOf(pool, 0), other.restsIn(0, pool), other.longestWaiterElsewhere(pool)];
  };
  expect(seen()).toEqual([0, false, -1]);
  stage.budgetOf(A).publishWait(A, pool, 1234.567, false);
  expect(seen()).toEqual([1234.567, false, 0]);
  stage.budgetOf(A).publishWait(A, pool, 1234.567, true);
  expect(seen()).toEqual([1234.567, true, 0]);
  stage.budgetOf(A).publishWait(A, pool, 0, true);
  expect(seen()).toEqual([0, true, -1]);
  stage.budgetOf(A).publishWait(A, pool, 0, false);
  expect(seen()).toEqual([0, false, -1]);
});

it('finds who has waited longest among those where servers rest and those where none does', () => {
  const stage = new SharedStage();
  stage.budgetOf(A).publishWait(A, pool, 20, false);
  stage.budgetOf(B).publishWait(B, pool, 10, true);
  expect(stage.budgetOf(C).longestWaiterElsewhere(pool)).toBe(1);
  stage.budgetOf(B).publishWait(B, pool, 30, true);
  expect(stage.budgetOf(C).longestWaiterElsewhere(pool)).toBe(0);
});

it('has nothing rest with a thread that has died', async () => {
  const stage = new SharedStage();
  stage.budgetOf(A).publishWait(A, pool, 0, true);
  expect(stage.budgetOf(B).restsIn(0, pool)).toBe(true);
  await stage.keeper.reclaim(0);
  expect(stage.budgetOf(B).restsIn(0, pool)).toBe(false);
});

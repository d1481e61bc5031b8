import { expect, it } from 'vitest';
import { newFence } from '../../src/server/fence.ts';

it('a fence is a query that is new each time', () => {
  const fence = newFence();
  expect(fence.sql).toMatch(/^SELECT 1 AS pgweir_[0-9a-f]{32}$/);
  expect(newFence().sql).not.toBe(fence.sql);
});

import { expect, test } from 'vitest';
import { type ControlHooks, LocalControl } from '../../src/daemon/control.ts';
import type { PoolerState } from '../../src/daemon/context.ts';
import type { Loop } from '../../src/daemon/loop.ts';
import type { StatsWindows } from '../../src/daemon/snapshots.ts';
import { AT_START, putStanding } from '../../src/daemon/standing.ts';

test.for([
  ['wait_for_clients', 'client'],
  ['wait_for_servers', 'server'],
] as const)('a loop that begins amid SHUTDOWN %s is not drained before it hears that nobody comes any more', ([
  shutdown,
  last,
]) => {
  const drained: string[] = [];
  const state = {
    ...{ shutdown: 'no', isRetiring: false, connections: new Set() },
    ...{ budget: { count: () => 0 }, pools: { all: () => [] } },
  } as unknown as PoolerState;
  const hooks = { drained: (what: string) => void drained.push(what) } as unknown as ControlHooks;
  const control = new LocalControl(state, {} as StatsWindows, hooks);
  putStanding({ state, control } as Loop, { ...AT_START, shutdown });
  control.checkProgress();
  expect(drained).toEqual([]);
  state.isRetiring = false;
  control.checkProgress();
  expect(drained).toEqual([last]);
});

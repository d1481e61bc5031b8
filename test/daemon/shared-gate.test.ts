import { expect, test } from 'vitest';
import { MAX_DERIVATIONS, Pbkdf2Queue } from '../../src/auth/pbkdf2-queue.ts';
import { Doorkeeper, type Visit } from '../../src/client/doorkeeper.ts';
import { PeerLines } from '../../src/client/peer-lines.ts';
import { silentLogger } from '../../src/base/log.ts';
import { SharedGate } from '../../src/daemon/shared-gate.ts';
import { SharedStage } from '../pool/budget-stage.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { waitFor } from '../support/wait-for.ts';

/** The gates of several threads, all in this one. */
function gatesOf(stage: SharedStage): SharedGate[] {
  const gates = stage.budgets.map((budget) => new SharedGate(budget));
  stage.onRing = (owner) => gates[owner]?.rung();
  return gates;
}

test('keys are derived two at a time by all threads together, which take turns', async () => {
  const stage = new SharedStage().joinAll();
  const queues = gatesOf(stage).map((gate) => new Pbkdf2Queue(MAX_DERIVATIONS, gate));
  let most = 0;
  const order: number[] = [];
  const derive = async (thread: number): Promise<void> => {
    await queues[thread]?.derive(Buffer.from('a'), Buffer.from('salt'), 2000);
    most = Math.max(most, stage.budget(0).count('derivation'));
    order.push(thread);
  };
  const all = [0, 1, 2].flatMap((thread) => Array.from({ length: 20 }, () => derive(thread)));
  expect(queues.reduce((sum, { running }) => sum + running, 0)).toBe(MAX_DERIVATIONS);
  await Promise.all(all);
  expect(most).toBeLessThanOrEqual(MAX_DERIVATIONS);
  // Nobody has waited until another had done all of its own.
  const done = [0, 0, 0];
  const first = order.findIndex((thread) => (done[thread] = (done[thread] as number) + 1) === 20);
  expect(new Set(order.slice(0, first))).toEqual(new Set([0, 1, 2]));
  expect(stage.budget(0).count('derivation')).toBe(0);
});

test('who was refused one is told in turn, so that nobody is behind the same others each time', async () => {
  const stage = new SharedStage().joinAll();
  const ask = (owner: number) =>
    stage.budget(owner).askPlace({
      ...{ owner: `worker ${owner}`, kind: 'derivation', key: '', totalLimit: 1, keyLimit: 0 },
    });
  for (const [holder, order] of [
    [0, [1, 2]],
    [1, [2, 0]],
    [2, [0, 1]],
  ] as const) {
    const place = ask(holder);
    if (typeof place === 'string') throw new Error(place);
    for (const other of [0, 1, 2]) if (other !== holder) expect(ask(other)).toBe('total');
    stage.rings.length = 0;
    stage.budget(holder).giveBack(place);
    await waitFor(() => stage.rings.length === 2);
    expect(stage.rings).toEqual(order);
  }
});

test('what nobody waits for any more takes no place, nor does it wait for one', async () => {
  const stage = new SharedStage().joinAll();
  const gates = gatesOf(stage);
  let entered = 0;
  const queue = new Pbkdf2Queue(MAX_DERIVATIONS, {
    onRoom: () => {},
    enter: () => {
      entered++;
      return gates[0]?.enter() ?? null;
    },
  });
  const derive = (isWanted: boolean) => queue.derive(Buffer.from('a'), Buffer.from('s'), 1, () => isWanted);
  for (let i = 0; i < 100; i++) await expect(derive(false)).rejects.toThrow('nobody waits');
  expect(await derive(true)).toHaveLength(32);
  expect(entered).toBe(1);
});

test('what a dead thread was deriving keeps no other from it', async () => {
  const stage = new SharedStage().joinAll();
  const gates = gatesOf(stage);
  const dead = gates[0] as SharedGate;
  for (let i = 0; i < MAX_DERIVATIONS; i++) expect(dead.enter()).not.toBeNull();
  const queue = new Pbkdf2Queue(MAX_DERIVATIONS, gates[1]);
  const key = queue.derive(Buffer.from('a'), Buffer.from('salt'), 1);
  expect([queue.running, queue.waiting]).toEqual([0, 1]);
  await stage.keeper.reclaim(0);
  await waitFor(() => queue.waiting === 0);
  expect(await key).toHaveLength(32);
});

test('the doors of all threads let in as many as one would, and what a dead one had let in counts no more', async () => {
  const stage = new SharedStage().joinAll();
  const clock = new ManualClock();
  const lines = new PeerLines(clock, silentLogger);
  const doors = stage.budgets.map(
    (budget) =>
      new Doorkeeper({
        ...{ clock, lines, budget, owner: budget.name, loops: 3 },
        limits: () => ({ total: 6, perAddress: 3 }),
      }),
  );
  const enter = (thread: number, peer: string): Visit => {
    const visit = doors[thread]?.enter(peer);
    if (visit === undefined || typeof visit === 'string') throw new Error(visit);
    return visit;
  };
  const visits = [0, 1, 2].map((thread) => enter(thread, 'a'));
  expect(doors.map((door) => door.enter('a'))).toEqual(Array(3).fill('max_login_conn_per_address'));
  const others = [0, 1, 2].map((thread) => enter(thread, 'b'));
  expect(doors.map((door) => door.enter('c'))).toEqual(Array(3).fill('max_login_conn'));
  // One that is known by now makes room for whichever thread's.
  visits[1]?.loggedIn();
  enter(2, 'a');
  expect(doors[0]?.enter('a')).toBe('max_login_conn_per_address');
  expect(others.map((visit) => visit.cancels())).toEqual([true, true, true]);
  expect(enter(0, 'b').cancels()).toBe(false);
  // Two of 'a' and two of 'b', one login and one cancel, were the first's.
  await stage.keeper.reclaim(0);
  expect([stage.budget(1).count('login'), stage.budget(1).count('cancel')]).toEqual([2, 2]);
  expect(enter(1, 'b').cancels()).toBe(true);
  for (const visit of [enter(1, 'a'), ...visits.slice(1), ...others.slice(1)]) visit.gone();
  expect(stage.budget(1).count('login')).toBe(1);
});

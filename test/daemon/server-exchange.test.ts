import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { WorkerExchange } from '../../src/daemon/server-exchange.ts';
import { type Grant, poolKey } from '../../src/pool/budget.ts';
import { SPACING_MS } from '../../src/pool/decide-move.ts';
import type { MovedServer } from '../../src/pool/moved-server.ts';
import type { Pool } from '../../src/pool/pool.ts';
import { OWNER_NUMBERS } from '../../src/pool/shared-owners.ts';
import { A, granted, SERVER, SharedStage } from '../pool/budget-stage.ts';
import { QUIET_LIMITS } from '../pool/kit.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { waitFor } from '../support/wait-for.ts';

/** What a thread has adopted. */
interface Adopted {
  readonly fd: number;
  readonly grant: Grant;
}

/** The exchanges of several threads, all in this one, with pools that only take servers over. */
class Stage {
  readonly budgets = new SharedStage().joinAll();
  readonly clock = new ManualClock();
  readonly adopted: Adopted[][] = [];
  readonly lines: string[] = [];
  /** What is on its way between the threads. */
  readonly posted: { owner: number; moved: MovedServer }[] = [];
  readonly exchanges: WorkerExchange[];
  /** How often a pool was looked for. */
  looks = 0;
  /** How many servers rest in a pool, and how often one was offered to others. */
  idle = 0;
  offers = 0;
  /** What is found of a pool; and how often others were asked for its servers. */
  found: Pool | null = null;
  asked = 0;
  /** Taking a server over fails. */
  isBroken = false;

  constructor() {
    this.exchanges = this.budgets.budgets.map((_, owner) => this.#exchange(owner));
  }

  /** A thread in the place of one that has died, once that is dealt with. */
  restart(owner: number): void {
    this.budgets
      .restart(owner)
      .join(`worker ${owner}`, { onFreed: () => {}, yieldServer: () => 'nothing' as const });
    this.exchanges[owner] = this.#exchange(owner);
  }

  /** A server of thread 0 that its pool has let go of. */
  taken(): MovedServer {
    const grant = granted(this.budgets.budget(0).askServer(SERVER));
    this.budgets.budget(0).custody.take(grant, 3);
    const identity = { database: SERVER.database, user: SERVER.user, isForcedUser: false };
    const parts = { fd: this.budgets.newFd() };
    return { id: 1, grant, identity, limits: QUIET_LIMITS, era: 0, welcome: null, restMs: 0, parts };
  }

  send(moved: MovedServer): void {
    this.exchanges[0]?.send(this.pool(0), moved);
  }

  /** Somebody waits in thread 1. */
  wait(): void {
    this.budgets.budget(1).publishWait('worker 1', this.pool(1).key, this.clock.nowMs(), false);
  }

  /** As the main thread hands on what is on its way. */
  deliver(): void {
    for (const { owner, moved } of this.posted.splice(0))
      this.exchanges[owner]?.received(structuredClone(moved));
  }

  pool(owner: number): Pool {
    const adopt = (moved: MovedServer, grant: Grant): void => {
      const { fd } = moved.parts;
      if (this.isBroken) {
        // As the connector does.
        this.budgets.close(fd);
        throw new Error('no socket');
      }
      (this.adopted[owner] ??= []).push({ fd, grant });
    };
    const { database, user } = SERVER;
    const waits = { sinceMs: 0 };
    const moves = { adopt, offer: () => void this.offers++ };
    const servers = { idle: { length: this.idle } };
    const launcher = { wouldOpen: true };
    return {
      database,
      user,
      key: poolKey(database, user),
      launcher,
      moves,
      servers,
      waits,
    } as unknown as Pool;
  }

  /** What a thread has published of its moves: sent, received, reopened. */
  counts(owner: number): number[] {
    const { sent, received, reopened } = OWNER_NUMBERS;
    return [sent, received, reopened].map((number) => this.budgets.keeper.published(owner, number));
  }

  get count(): number {
    return this.budgets.keeper.count('server');
  }

  #exchange(owner: number): WorkerExchange {
    return new WorkerExchange({
      clock: this.clock,
      log: { enabled: () => true, log: (level, text) => void this.lines.push(`${level} ${text}`) },
      budget: this.budgets.budget(owner),
      pools: () => {
        this.looks++;
        return { find: () => this.found };
      },
      poolOf: () => this.pool(owner),
      others: [0, 1, 2].filter((other) => other !== owner),
      give: (to, moved) => void this.posted.push({ owner: to, moved }),
      closeDescriptor: (fd) => this.budgets.close(fd),
      askFor: () => void this.asked++,
    });
  }
}

it('what is closed over TLS for a thread’s client is that thread’s, and nobody’s who comes by here', () => {
  const stage = new Stage();
  const handed: number[] = [];
  stage.budgets.onHand = (owner) => void handed.push(owner);
  stage.wait();
  const { grant } = stage.taken();
  expect(stage.exchanges[0]?.mayReopen(stage.pool(0))).toBe(true);
  stage.budgets.budget(0).setAside(grant);
  stage.budgets.budget(0).giveBack(grant);
  expect(handed).toEqual([1]);
});

describe('a server between threads', () => {
  it('arrives with a descriptor of its own, and nothing else stays open', () => {
    const stage = new Stage();
    stage.wait();
    const moved = stage.taken();
    stage.send(moved);
    // On its way it is in custody, and nowhere else.
    expect([stage.budgets.open.size, stage.posted[0]?.moved.parts.fd]).toEqual([1, -1]);
    stage.deliver();
    const [one, ...more] = stage.adopted[1] ?? [];
    expect(more).toEqual([]);
    expect(stage.budgets.open.has(one?.fd ?? -1)).toBe(true);
    expect([one?.grant.owner, stage.budgets.open.size, stage.count]).toEqual(['worker 1', 2, 1]);
  });

  it('is counted by both, and as one that is closed for another', () => {
    const stage = new Stage();
    stage.wait();
    stage.send(stage.taken());
    stage.deliver();
    expect([0, 1].map((owner) => stage.counts(owner))).toEqual([
      [1, 0, 0],
      [0, 1, 0],
    ]);
    // Over TLS; each 200 ms at most.
    const exchange = stage.exchanges[0] as WorkerExchange;
    expect([exchange.mayReopen(stage.pool(0)), exchange.mayReopen(stage.pool(0))]).toEqual([true, false]);
    expect(stage.counts(0)).toEqual([1, 0, 1]);
  });

  it('goes alone: no other one follows before it has arrived, as it never does in a thread that hangs', () => {
    const stage = new Stage();
    stage.wait();
    stage.clock.advance(1000);
    const wants = () => stage.exchanges[0]?.wants(stage.pool(0));
    expect(wants()).toBe(true);
    stage.send(stage.taken());
    stage.clock.advance(10_000);
    expect(wants()).toBe(false);
    // Others have their turns.
    stage.budgets.budget(2).publishWait('worker 2', stage.pool(0).key, stage.clock.nowMs(), false);
    stage.clock.advance(1000);
    expect(wants()).toBe(true);
    stage.budgets.budget(2).publishWait('worker 2', stage.pool(0).key, 0, false);
    expect(wants()).toBe(false);
    stage.deliver();
    expect(wants()).toBe(true);
  });

  it('goes to a third thread while others hang, and to none of these', () => {
    const stage = new Stage();
    stage.wait();
    stage.clock.advance(1000);
    stage.send(stage.taken());
    stage.budgets.budget(2).publishWait('worker 2', stage.pool(0).key, stage.clock.nowMs(), false);
    stage.clock.advance(1000);
    stage.send(stage.taken());
    expect(stage.posted.map(({ owner }) => owner)).toEqual([1, 2]);
    stage.clock.advance(10_000);
    const wants = () => stage.exchanges[0]?.wants(stage.pool(0));
    expect(wants()).toBe(false);
    // Where one goes although, it stays.
    stage.send(stage.taken());
    expect([stage.posted.length, stage.adopted[0]?.length]).toEqual([2, 1]);
    // The third one has taken its server up, the second one has not.
    stage.posted.reverse();
    const [hanging] = stage.posted.splice(1);
    stage.deliver();
    stage.clock.advance(1000);
    expect(wants()).toBe(true);
    stage.send(stage.taken());
    expect(stage.posted.map(({ owner }) => owner)).toEqual([2]);
    expect(hanging?.owner).toBe(1);
  });

  it('that is on its way is remembered when its pool is forgotten for want of clients that wait', async () => {
    const stage = new Stage();
    stage.wait();
    stage.clock.advance(1000);
    stage.send(stage.taken());
    stage.clock.advance(10_000);
    const exchange = stage.exchanges[0];
    const looks = stage.looks;
    exchange?.refused(SERVER.database, SERVER.user);
    await waitFor(() => stage.looks > looks);
    expect(exchange?.wants(stage.pool(0))).toBe(false);
  });

  it('that rests is offered again when somebody has waited for long enough, though nobody asks', async () => {
    const stage = new Stage();
    stage.idle = 1;
    stage.wait();
    const exchange = stage.exchanges[0] as WorkerExchange;
    expect(exchange.wants(stage.pool(0))).toBe(false);
    exchange.stays(stage.pool(0));
    exchange.stays(stage.pool(0));
    await waitFor(() => stage.offers > 0);
    expect(stage.offers).toBe(1);
    stage.clock.advance(SPACING_MS);
    expect(exchange.wants(stage.pool(0))).toBe(true);
  });

  it('that goes on to a client of its own loop is not looked at again, nor is one that rests while nobody waits', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const stage = new Stage();
    stage.idle = 1;
    const exchange = stage.exchanges[0] as WorkerExchange;
    exchange.stays(stage.pool(0));
    stage.wait();
    expect(exchange.wants(stage.pool(0))).toBe(false);
    vi.advanceTimersByTime(1000);
    expect(stage.offers).toBe(0);
    exchange.stays(stage.pool(0));
    vi.advanceTimersByTime(SPACING_MS);
    expect(stage.offers).toBe(1);
  });

  it('goes soon behind another one, once that has arrived', async () => {
    const stage = new Stage();
    stage.idle = 1;
    stage.wait();
    stage.clock.advance(SPACING_MS);
    const exchange = stage.exchanges[0] as WorkerExchange;
    stage.send(stage.taken());
    await waitFor(() => stage.offers > 0);
    // As an offer does.
    expect(exchange.wants(stage.pool(0))).toBe(false);
    exchange.stays(stage.pool(0));
    await waitFor(() => stage.offers > 1);
    stage.deliver();
    stage.clock.advance(SPACING_MS);
    expect(exchange.wants(stage.pool(0))).toBe(true);
  });

  it('over TLS is closed no sooner than that, though nobody waits here any more', async () => {
    const stage = new Stage();
    stage.wait();
    const exchange = stage.exchanges[0] as WorkerExchange;
    const looks = stage.looks;
    exchange.refused(SERVER.database, SERVER.user);
    expect(exchange.mayReopen(stage.pool(0))).toBe(true);
    await waitFor(() => stage.looks > looks);
    expect(exchange.mayReopen(stage.pool(0))).toBe(false);
  });

  it('is asked for anew, and soon, by who begins to wait alone', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const stage = new Stage();
    const { key } = stage.pool(0);
    stage.budgets.budget(1).publishWait('worker 1', key, 0, true);
    const clients = { isWaiting: true, waiting: { length: 2 } };
    stage.found = { ...stage.pool(0), clients } as unknown as Pool;
    const exchange = stage.exchanges[0] as WorkerExchange;
    const asked = (ms: number): number => {
      vi.advanceTimersByTime(ms);
      return stage.asked;
    };
    exchange.refused(SERVER.database, SERVER.user);
    expect([5, 10, 20, 40, 80, 100, 99].map(asked)).toEqual([1, 2, 3, 4, 5, 6, 6]);
    // Of many, one more changes nothing about when the next question comes.
    exchange.refused(SERVER.database, SERVER.user);
    expect(asked(1)).toBe(7);
    clients.waiting.length = 1;
    exchange.refused(SERVER.database, SERVER.user);
    expect([5, 9, 1].map(asked)).toEqual([8, 8, 9]);
    // Where none rests there is nothing to be had; one that comes to rest then is given away by its own loop.
    stage.budgets.budget(1).publishWait('worker 1', key, 0, false);
    stage.budgets.budget(2).publishWait('worker 2', key, stage.clock.nowMs(), false);
    expect([20, 40, 80].map(asked)).toEqual([9, 9, 9]);
    stage.budgets.budget(2).publishWait('worker 2', key, stage.clock.nowMs(), true);
    expect(asked(100)).toBe(10);
  });

  it('is forgotten with its pool, unless it is on its way', () => {
    const stage = new Stage();
    const exchange = stage.exchanges[0] as WorkerExchange;
    const pool = stage.pool(0);
    stage.wait();
    stage.clock.advance(1000);
    expect([exchange.mayReopen(pool), exchange.mayReopen(pool)]).toEqual([true, false]);
    exchange.forget(pool);
    expect(exchange.mayReopen(pool)).toBe(true);
    exchange.forget(pool);
    stage.send(stage.taken());
    exchange.forget(pool);
    stage.clock.advance(1000);
    expect(exchange.wants(pool)).toBe(false);
    stage.deliver();
    expect(exchange.wants(pool)).toBe(true);
  });

  it('over TLS is closed once for each who waits longest: a thread that hangs opens none', () => {
    const stage = new Stage();
    const exchange = stage.exchanges[0];
    const mayReopen = () => exchange?.mayReopen(stage.pool(0));
    stage.wait();
    expect(mayReopen()).toBe(true);
    stage.clock.advance(1000);
    expect(mayReopen()).toBe(false);
    stage.wait();
    expect(mayReopen()).toBe(true);
  });

  it('over TLS is closed for those who wait behind a thread that hangs, with the usual time in between', () => {
    const stage = new Stage();
    const exchange = stage.exchanges[0];
    const wants = () => exchange?.wants(stage.pool(0));
    const mayReopen = () => exchange?.mayReopen(stage.pool(0));
    stage.wait();
    stage.clock.advance(1000);
    stage.budgets.budget(2).publishWait('worker 2', stage.pool(0).key, stage.clock.nowMs(), false);
    stage.clock.advance(100);
    expect([wants(), mayReopen()]).toEqual([true, true]);
    expect([wants(), mayReopen()]).toEqual([true, false]);
    stage.clock.advance(200);
    expect([wants(), mayReopen()]).toEqual([true, true]);
    stage.clock.advance(200);
    expect([wants(), mayReopen()]).toEqual([false, false]);
    // Another client waits longest there by now.
    stage.budgets.budget(2).publishWait('worker 2', stage.pool(0).key, stage.clock.nowMs(), false);
    stage.clock.advance(100);
    expect([wants(), mayReopen()]).toEqual([true, true]);
    // And who still waits after so long has not got it.
    stage.clock.advance(2000);
    expect([wants(), mayReopen()]).toEqual([true, true]);
  });

  it('that nobody could take is not offered again at once', () => {
    const stage = new Stage();
    stage.wait();
    stage.clock.advance(1000);
    const grant = granted(stage.budgets.budget(0).askServer(SERVER));
    stage.send({ ...stage.taken(), grant });
    expect([stage.posted, stage.adopted[0]?.length]).toEqual([[], 1]);
    expect(stage.exchanges[0]?.wants(stage.pool(0))).toBe(false);
    stage.clock.advance(1000);
    expect(stage.exchanges[0]?.wants(stage.pool(0))).toBe(true);
  });

  it('is of an era that never goes back, though what a thread has missed is repeated for it', () => {
    const exchange = new Stage().exchanges[0];
    exchange?.enter(6);
    exchange?.enter(5);
    expect(exchange?.era()).toBe(6);
  });

  it('stays where it is when the other thread is not there any more', async () => {
    const stage = new Stage();
    stage.wait();
    const moved = stage.taken();
    await stage.budgets.keeper.reclaim(1);
    stage.send(moved);
    expect(stage.posted).toEqual([]);
    expect(stage.adopted[0]).toEqual([{ fd: moved.parts.fd, grant: moved.grant }]);
  });

  it.each([
    ['its giver dies', 0],
    ['its receiver dies, and another thread comes in its place', 1],
  ])('is not taken up when %s', async (_, dead) => {
    const stage = new Stage();
    stage.wait();
    stage.send(stage.taken());
    const orphans = await stage.budgets.keeper.reclaim(dead);
    stage.restart(dead);
    stage.deliver();
    expect(stage.adopted).toEqual([]);
    expect([orphans.length, stage.count, stage.budgets.open.size]).toEqual([1, 1, 1]);
    for (const orphan of orphans) await stage.budgets.keeper.release(orphan);
    expect([stage.count, stage.budgets.open.size, stage.lines]).toEqual([0, 0, []]);
  });

  it.each<[string, (stage: Stage) => void]>([
    ['it cannot be taken up', (stage) => void (stage.isBroken = true)],
    ['no descriptor is left', (stage) => void (stage.budgets.isExhausted = true)],
  ])('is ended by the main thread when %s, and its place comes back then', async (_, fail) => {
    const stage = new Stage();
    stage.wait();
    stage.send(stage.taken());
    fail(stage);
    stage.deliver();
    const orphans = stage.budgets.keeper.orphans();
    expect([stage.budgets.leftBehind, orphans.length, stage.count]).toEqual([1, 1, 1]);
    expect(stage.lines).toHaveLength(1);
    for (const orphan of orphans) await stage.budgets.keeper.release(orphan);
    expect([stage.count, stage.budgets.open.size]).toEqual([0, 0]);
  });

  it('that nobody takes, and cannot be taken back, is ended by the main thread, too', async () => {
    const stage = new Stage();
    const moved = stage.taken();
    stage.isBroken = true;
    stage.send(moved);
    expect([stage.budgets.leftBehind, stage.budgets.keeper.orphans().length]).toEqual([1, 1]);
    expect(moved.grant.owner).toBe(A);
  });
});

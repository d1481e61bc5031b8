import { expect, test } from 'vitest';
import { type WorkerLife, WorkerRows } from '../../src/daemon/worker-rows.ts';
import { OWNER_NUMBERS } from '../../src/pool/shared-owners.ts';
import { granted, SERVER, SharedStage } from '../pool/budget-stage.ts';
import { ManualClock } from '../support/manual-clock.ts';

function started() {
  const stage = new SharedStage().joinAll();
  const clock = new ManualClock();
  const lives: WorkerLife[] = [{ number: 1, isReady: true, startWallMs: clock.wallMs() }];
  const rows = new WorkerRows(clock, stage.keeper, () => lives);
  const publish = (what: keyof typeof OWNER_NUMBERS, value: number) =>
    stage.budget(0).publishNumber(OWNER_NUMBERS[what], value);
  return { stage, clock, lives, rows, publish, first: () => rows.all()[0] };
}

test('a thread’s row is what the threads share of it', () => {
  const { stage, lives, rows, publish, first } = started();
  lives.push({ number: 2, isReady: false, startWallMs: 5 }, { number: 3, isReady: false, startWallMs: null });
  granted(stage.budget(0).askServer(SERVER));
  granted(stage.budget(2).askServer({ ...SERVER, owner: 'worker 2' }));
  publish('cpu', 123);
  publish('sent', 2 ** 31 + 5);
  expect(first()).toMatchObject({ worker: 1, servers: 1, clients: 0, cpuUs: 1_230_000 });
  expect(first()?.moves).toEqual({ sent: 2 ** 31 + 5, received: 0, reopened: 0 });
  expect(rows.all().map(({ state, servers }) => [state, servers])).toEqual([
    ['serving', 1],
    ['starting', 0],
    ['dead', 1],
  ]);
});

test('averages cover between one and two periods, and begin with a thread’s life', () => {
  const { clock, lives, rows, publish, first } = started();
  const since = () => [first()?.since.sent, (first()?.windowUs ?? 0) / 1e6];
  // Nobody has looked before.
  clock.advance(10_000);
  publish('sent', 50);
  expect(since()).toEqual([0, 10]);
  rows.turn();
  clock.advance(60_000);
  publish('sent', 350);
  expect(since()).toEqual([0, 70]);
  rows.turn();
  clock.advance(30_000);
  expect(since()).toEqual([50, 90]);
  // It dies, and another begins at zero.
  lives[0] = { number: 1, isReady: false, startWallMs: null };
  expect(first()).toMatchObject({ state: 'dead', moves: { sent: 0 }, windowUs: 0 });
  rows.turn();
  publish('sent', 0);
  clock.advance(1000);
  lives[0] = { number: 1, isReady: true, startWallMs: clock.wallMs() };
  clock.advance(2000);
  publish('sent', 4);
  expect([first()?.moves.sent, ...since()]).toEqual([4, 0, 2]);
});

import { describe, expect, it } from 'vitest';
import {
  askInMs,
  decideMove,
  HEAD_START_MS,
  IDLE_WAIT_MS,
  MOVES_PER_SECOND,
  type MoveView,
  SPACING_MS,
} from '../../src/pool/decide-move.ts';
import { withSeed } from '../support/random.ts';
import { type LoopLoad, MoveWorld, type Times } from './move-world.ts';

const FIRST: MoveView = {
  waitMs: null,
  otherWaitMs: null,
  sinceMoveMs: Number.POSITIVE_INFINITY,
  movesLastSecond: 0,
};

describe('a server at rest', () => {
  it.each<[string, Partial<MoveView>, string]>([
    ['while nobody waits', {}, 'nobody waits'],
    ['while nobody waits elsewhere', { waitMs: 100 }, 'nobody waits'],
    ['for one who has only just come', { otherWaitMs: IDLE_WAIT_MS - 0.1 }, 'not longer'],
    ['for one who waits as long as one here', { waitMs: 50, otherWaitMs: 50 }, 'not longer'],
    ['for one who waits little longer', { waitMs: 1, otherWaitMs: HEAD_START_MS + 0.9 }, 'not longer'],
    ['for one who waits less than half as long again', { waitMs: 1000, otherWaitMs: 1499 }, 'not longer'],
    ['right behind another one', { otherWaitMs: 1000, sinceMoveMs: SPACING_MS - 0.1 }, 'too soon'],
    [
      'while somebody waits here, for less than half of the wait there since another one',
      { waitMs: 10, otherWaitMs: 100, sinceMoveMs: 49 },
      'too soon',
    ],
    ['behind many others', { otherWaitMs: 1000, movesLastSecond: MOVES_PER_SECOND }, 'too many'],
  ])('stays %s', (_name, view, reason) => {
    expect(decideMove({ ...FIRST, ...view })).toEqual({ action: 'keep', reason });
  });

  it.each<[string, Partial<MoveView>]>([
    ['waits while nobody does here', { otherWaitMs: IDLE_WAIT_MS }],
    ['waits longer than whoever does here', { waitMs: 1, otherWaitMs: HEAD_START_MS + 1 }],
    ['waits half as long again', { waitMs: 1000, otherWaitMs: 1500 }],
    ['has waited since the last one went', { waitMs: 10, otherWaitMs: 100, sinceMoveMs: 50 }],
    ['waits while nobody does here, right behind another one', { otherWaitMs: 100, sinceMoveMs: SPACING_MS }],
    [
      'waits, the last one having gone a while ago',
      { otherWaitMs: 9, sinceMoveMs: SPACING_MS, movesLastSecond: MOVES_PER_SECOND - 1 },
    ],
  ])('goes to who %s', (_name, view) => {
    expect(decideMove({ ...FIRST, ...view })).toEqual({ action: 'move' });
  });

  it('is asked for once somebody has waited for a moment, and then again and again', () => {
    const never = Number.POSITIVE_INFINITY;
    expect(askInMs(0, never)).toBe(IDLE_WAIT_MS);
    expect(askInMs(IDLE_WAIT_MS + 1, never)).toBe(0);
    expect(askInMs(IDLE_WAIT_MS + 1, 1)).toBe(SPACING_MS - 1);
  });
});

const SECONDS = 10;

/** Ten simulated seconds behind one in which servers find their places. */
function world(random: Parameters<Parameters<typeof withSeed>[0]>[0], loads: LoopLoad[], times: Times) {
  const it = new MoveWorld(random, loads, times);
  it.run(1000);
  const settled = it.moves;
  it.run(1000 + SECONDS * 1000);
  return { it, perSecond: (it.moves - settled) / SECONDS };
}

const EVEN: readonly [string, LoopLoad[], Times][] = [
  [
    'short transactions',
    [20, 20].map((clients) => ({ clients, servers: 5 })),
    { thinkMs: 5, transactionMs: 1 },
  ],
  ['a full house', [40, 40].map((clients) => ({ clients, servers: 5 })), { thinkMs: 4, transactionMs: 1 }],
  [
    'long transactions',
    [20, 20].map((clients) => ({ clients, servers: 5 })),
    { thinkMs: 10, transactionMs: 80 },
  ],
  [
    'four loops',
    [20, 20, 20, 20].map((clients) => ({ clients, servers: 4 })),
    { thinkMs: 5, transactionMs: 2 },
  ],
];

describe.each(EVEN)('loops with as much to do, %s', (_name, loads, times) => {
  it('hardly move anything, and keep nobody waiting for longer than is said', () =>
    withSeed(async (random) => {
      const { it, perSecond } = world(random, [...loads], times);
      expect(it.worstExcessMs).toBeLessThanOrEqual(0);
      expect(it.excused / it.served).toBeLessThan(0.1);
      // Of 100 on each loop that could be.
      expect(perSecond).toBeLessThan(30);
      // Not because nothing happens.
      expect(it.served).toBeGreaterThan(500);
    }));
});

const UNEVEN: readonly [string, LoopLoad[], Times][] = [
  [
    'all servers are where hardly anybody is',
    [
      { clients: 2, servers: 10 },
      { clients: 60, servers: 0 },
    ],
    { thinkMs: 5, transactionMs: 1 },
  ],
  [
    'nine clients of ten are on one of them',
    [
      { clients: 54, servers: 5 },
      { clients: 6, servers: 5 },
    ],
    { thinkMs: 2, transactionMs: 3 },
  ],
  [
    'all are on one of three',
    [
      { clients: 0, servers: 4 },
      { clients: 50, servers: 4 },
      { clients: 0, servers: 4 },
    ],
    { thinkMs: 1, transactionMs: 5 },
  ],
  [
    'there is one server for both',
    [
      { clients: 5, servers: 1 },
      { clients: 5, servers: 0 },
    ],
    { thinkMs: 2, transactionMs: 3 },
  ],
  [
    'transactions are long',
    [
      { clients: 40, servers: 8 },
      { clients: 10, servers: 2 },
      { clients: 10, servers: 10 },
    ],
    { thinkMs: 10, transactionMs: 60 },
  ],
];

describe.each(UNEVEN)('loops of which %s', (_name, loads, times) => {
  it('share so that nobody is overtaken by more than is said, at a bounded rate', () =>
    withSeed(async (random) => {
      const before = loads.map(({ servers }) => servers);
      const { it } = world(random, [...loads], times);
      expect(it.worstExcessMs).toBeLessThanOrEqual(0);
      expect(it.mostInASecond).toBeLessThanOrEqual(MOVES_PER_SECOND);
      expect(it.moves).toBeGreaterThan(0);
      const total = (counts: readonly number[]) => counts.reduce((sum, each) => sum + each, 0);
      // One or two may be on their way.
      expect(total(it.servers)).toBeGreaterThan(total(before) - 3);
      expect(total(it.servers)).toBeLessThanOrEqual(total(before));
    }));
});

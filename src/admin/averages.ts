import { emptyStats, type PoolStats } from '../pool/stats.ts';
import type { StatCounters, StatsSnapshot } from './snapshot.ts';

/** Every counter at zero. */
export const zeroCounters: StatCounters = Object.freeze(emptyStats());

const COUNTER_NAMES = Object.keys(zeroCounters) as readonly (keyof StatCounters)[];

function combine(
  a: StatCounters,
  b: StatCounters,
  operation: (x: number, y: number) => number,
): StatCounters {
  const result: PoolStats = emptyStats();
  for (const name of COUNTER_NAMES) result[name] = operation(a[name], b[name]);
  return result;
}

/** Sum, counter by counter. */
export function addCounters(a: StatCounters, b: StatCounters): StatCounters {
  return combine(a, b, (x, y) => x + y);
}

/**
 * Averages of a window: counts and bytes per second, transaction and query time per transaction and query,
 * wait time per server assignment; whole numbers, rounded down, 0 where the divisor is 0.
 */
export function averages(totals: StatCounters, since: StatCounters, windowUs: number): StatCounters {
  const delta = combine(totals, since, (x, y) => x - y);
  const rate = (count: number): number => quotient(count * 1e6, windowUs);
  return {
    serverAssignmentCount: rate(delta.serverAssignmentCount),
    xactCount: rate(delta.xactCount),
    queryCount: rate(delta.queryCount),
    received: rate(delta.received),
    sent: rate(delta.sent),
    xactTimeUs: quotient(delta.xactTimeUs, delta.xactCount),
    queryTimeUs: quotient(delta.queryTimeUs, delta.queryCount),
    waitTimeUs: quotient(delta.waitTimeUs, delta.serverAssignmentCount),
    clientParseCount: rate(delta.clientParseCount),
    serverParseCount: rate(delta.serverParseCount),
    bindCount: rate(delta.bindCount),
    clientLoginCount: rate(delta.clientLoginCount),
  };
}

function quotient(dividend: number, divisor: number): number {
  return divisor > 0 ? Math.floor(dividend / divisor) : 0;
}

/** What several pools come to. */
export interface PoolsSum {
  readonly totals: StatCounters;
  readonly average: StatCounters;
}

/** Adds pools up. The window is the longest of theirs, so that a young pool doesn't inflate the rates. */
export function sumPools(pools: readonly StatsSnapshot[]): PoolsSum {
  let totals = zeroCounters;
  let since = zeroCounters;
  let windowUs = 0;
  for (const pool of pools) {
    totals = addCounters(totals, pool.totals);
    since = addCounters(since, pool.since);
    windowUs = Math.max(windowUs, pool.windowUs);
  }
  return { totals, average: averages(totals, since, windowUs) };
}

/**
 * Remembers counters as they were at the last two turns of the statistics period, so that averages cover
 * between one and two periods. One per pool, owned by whoever owns the counters. Source: PgBouncer's
 * `stats_period`.
 */
export class StatsWindow {
  #older: { readonly atMs: number; readonly counters: StatCounters };
  #newer: { readonly atMs: number; readonly counters: StatCounters };

  /**
   * `counters` is what they were at the last two turns, at `olderMs` and `newerMs` of the monotonic clock; it is
   * copied.
   */
  constructor(olderMs: number, counters: StatCounters, newerMs: number = olderMs) {
    this.#older = { atMs: olderMs, counters: { ...counters } };
    this.#newer = { atMs: newerMs, counters: this.#older.counters };
  }

  /** The period has turned: forgets the older moment, remembers this one. */
  turn(nowMs: number, counters: StatCounters): void {
    this.#older = this.#newer;
    this.#newer = { atMs: nowMs, counters: { ...counters } };
  }

  /** The counters when the window began. */
  get since(): StatCounters {
    return this.#older.counters;
  }

  /** The window's length so far, in whole microseconds. */
  lengthUs(nowMs: number): number {
    return Math.round((nowMs - this.#older.atMs) * 1000);
  }
}

/**
 * The log line of `log_stats` in PgBouncer's wording, for the averages over all pools ({@link sumPools}). Logged
 * right after the windows turned, it covers exactly the period that ended.
 */
export function statsLine(average: StatCounters): string {
  const counts = [
    `${average.xactCount} xacts/s`,
    `${average.queryCount} queries/s`,
    `${average.clientParseCount} client parses/s`,
    `${average.serverParseCount} server parses/s`,
    `${average.bindCount} binds/s`,
    `${average.clientLoginCount} client logins/s`,
    `in ${average.received} B/s`,
    `out ${average.sent} B/s`,
    `xact ${average.xactTimeUs} us`,
    `query ${average.queryTimeUs} us`,
    `wait ${average.waitTimeUs} us`,
  ];
  return `stats: ${counts.join(', ')}`;
}

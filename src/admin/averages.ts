import type { StatCounters } from './snapshot.ts';

/** Every counter at zero. */
export const zeroCounters: StatCounters = Object.freeze({
  serverAssignmentCount: 0,
  xactCount: 0,
  queryCount: 0,
  receivedBytes: 0,
  sentBytes: 0,
  xactTimeUs: 0,
  queryTimeUs: 0,
  waitTimeUs: 0,
  clientParseCount: 0,
  serverParseCount: 0,
  bindCount: 0,
  clientLoginCount: 0,
});

const COUNTER_NAMES = Object.keys(zeroCounters) as readonly (keyof StatCounters)[];

function combine(
  a: StatCounters,
  b: StatCounters,
  operation: (x: number, y: number) => number,
): StatCounters {
  const result: { -readonly [K in keyof StatCounters]: number } = { ...zeroCounters };
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
    receivedBytes: rate(delta.receivedBytes),
    sentBytes: rate(delta.sentBytes),
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

/**
 * Remembers counters as they were at the last two turns of the statistics period, so that averages cover
 * between one and two periods. One per pool, owned by whoever owns the counters. Source: PgBouncer's
 * `stats_period`.
 */
export class StatsWindow {
  #older: { readonly atMs: number; readonly counters: StatCounters };
  #newer: { readonly atMs: number; readonly counters: StatCounters };

  /** `nowMs` is the monotonic clock; `counters` is copied. */
  constructor(nowMs: number, counters: StatCounters) {
    this.#newer = { atMs: nowMs, counters: { ...counters } };
    this.#older = this.#newer;
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

/** The log line of `log_stats` for averages over all databases, in PgBouncer's wording. */
export function statsLine(average: StatCounters): string {
  const counts = [
    `${average.xactCount} xacts/s`,
    `${average.queryCount} queries/s`,
    `${average.clientParseCount} client parses/s`,
    `${average.serverParseCount} server parses/s`,
    `${average.bindCount} binds/s`,
    `${average.clientLoginCount} client logins/s`,
    `in ${average.receivedBytes} B/s`,
    `out ${average.sentBytes} B/s`,
    `xact ${average.xactTimeUs} us`,
    `query ${average.queryTimeUs} us`,
    `wait ${average.waitTimeUs} us`,
  ];
  return `stats: ${counts.join(', ')}`;
}

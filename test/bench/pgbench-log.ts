import type { LoadResult } from './load.ts';

/**
 * Reads pgbench's per-transaction log (`--log`) and keeps what completed in the window [startMs, endMs), both in
 * Unix time.
 *
 * pgbench's own latency starts after the connection is made. With `cycles` it is therefore replaced by the time
 * since the same client's completion before, which includes closing, connecting and logging in.
 *
 * Source: pgbench, Per-Transaction Logging: `client_id transaction_no time script_no time_epoch time_us …`, times
 * in µs; `time` is a word for failed and skipped transactions, which count as errors.
 */
export function readPgbenchLog(text: string, startMs: number, endMs: number, cycles: boolean): LoadResult {
  const latencies: number[] = [];
  const lastEndUs = new Map<string, number>();
  let transactions = 0;
  let errors = 0;
  for (const line of text.split('\n')) {
    const [client = '', , time, , epoch, micros] = line.split(' ');
    const latencyUs = Number(time);
    // A killed pgbench leaves a cut last line: no `micros`, no number.
    const endUs = Number(epoch) * 1e6 + Number(micros);
    if (Number.isNaN(endUs)) continue;
    const isInside = endUs >= startMs * 1000 && endUs < endMs * 1000;
    if (Number.isNaN(latencyUs)) {
      if (isInside) errors += 1;
      continue;
    }
    const before = lastEndUs.get(client);
    lastEndUs.set(client, endUs);
    if (!isInside) continue;
    transactions += 1;
    if (!cycles) latencies.push(latencyUs);
    else if (before !== undefined) latencies.push(endUs - before);
  }
  const latenciesUs = Float64Array.from(latencies).sort();
  return { transactions, errors, windowMs: endMs - startMs, latenciesUs };
}

/** When the transaction of the first whole line began, in Unix time, in ms; null: there is no such line yet. */
export function firstTransactionMs(text: string): number | null {
  const end = text.indexOf('\n');
  if (end < 0) return null;
  const [, , time, , epoch, micros] = text.slice(0, end).split(' ');
  const latencyUs = Number(time);
  const endUs = Number(epoch) * 1e6 + Number(micros);
  return Number.isNaN(endUs) ? null : (endUs - (Number.isNaN(latencyUs) ? 0 : latencyUs)) / 1000;
}

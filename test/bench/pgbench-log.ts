import type { LoadResult } from './load.ts';

/**
 * Reads pgbench's per-transaction log (`--log`) and keeps what completed in the window [startMs, endMs), both in
 * Unix time.
 *
 * pgbench's own latency starts after the connection is made. With `cycles` it is therefore replaced by the time
 * since the same client's completion before, which includes closing, connecting and logging in.
 *
 * Source: pgbench, Per-Transaction Logging: `client_id transaction_no time script_no time_epoch time_us …`, times
 * in µs; `time` is a word for failed and skipped transactions.
 */
export function readPgbenchLog(text: string, startMs: number, endMs: number, cycles: boolean): LoadResult {
  const latencies: number[] = [];
  const lastEndUs = new Map<string, number>();
  let transactions = 0;
  for (const line of text.split('\n')) {
    const [client = '', , time, , epoch, micros] = line.split(' ');
    const latencyUs = Number(time);
    // A killed pgbench leaves a cut last line: no `micros`, no number.
    const endUs = Number(epoch) * 1e6 + Number(micros);
    if (Number.isNaN(latencyUs) || Number.isNaN(endUs)) continue;
    const before = lastEndUs.get(client);
    lastEndUs.set(client, endUs);
    if (endUs < startMs * 1000 || endUs >= endMs * 1000) continue;
    transactions += 1;
    if (!cycles) latencies.push(latencyUs);
    else if (before !== undefined) latencies.push(endUs - before);
  }
  return { transactions, windowMs: endMs - startMs, latenciesUs: Float64Array.from(latencies).sort() };
}

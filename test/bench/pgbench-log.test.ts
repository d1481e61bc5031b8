import { describe, expect, test } from 'vitest';
import { firstTransactionMs, readPgbenchLog } from './pgbench-log.ts';

/** A line as pgbench writes it: the end at `endMs` of Unix time, the latency in µs. */
function line(client: number, latencyUs: number | string, endMs: number): string {
  const micros = String((endMs % 1000) * 1000).padStart(6, '0');
  return `${client} 1 ${latencyUs} 0 ${Math.floor(endMs / 1000)} ${micros}\n`;
}

describe('reading the transaction log of pgbench', () => {
  test('only transactions that end inside the window count, its start included and its end not', () => {
    const log = [line(0, 10, 4999), line(0, 30, 5000), line(1, 20, 5500), line(1, 40, 6000)].join('');
    const result = readPgbenchLog(log, 5000, 6000, false);
    expect(result.transactions).toBe(2);
    expect([...result.latenciesUs]).toEqual([20, 30]);
    expect(result.windowMs).toBe(1000);
  });

  test('with a connection per transaction the latency is the time since the same client was done before', () => {
    const log = [line(0, 1, 4990), line(1, 1, 5001), line(0, 1, 5010), line(1, 1, 5006)].join('');
    const result = readPgbenchLog(log, 5000, 6000, true);
    expect(result.transactions).toBe(3);
    expect([...result.latenciesUs]).toEqual([5000, 20_000]);
  });

  test('failed transactions are errors, inside the window, and a line cut in the middle is passed over', () => {
    const log = `${line(0, 'failed', 4100)}${line(0, 'failed', 5100)}${line(0, 7, 5200)}0 3 12 0 5`;
    expect(readPgbenchLog(log, 5000, 6000, false)).toMatchObject({ transactions: 1, errors: 1 });
  });

  test('the first transaction began its latency before it ended, and only a whole line tells', () => {
    expect(firstTransactionMs(`${line(3, 2500, 5100)}${line(1, 10, 5101)}`)).toBe(5097.5);
    expect(firstTransactionMs(line(0, 'failed', 5100))).toBe(5100);
    expect(firstTransactionMs('3 1 2500 0 5 1')).toBeNull();
    expect(firstTransactionMs('')).toBeNull();
  });

  test('latencies are sorted as numbers', () => {
    const log = [line(0, 100, 5100), line(0, 9, 5200), line(0, 20, 5300)].join('');
    expect([...readPgbenchLog(log, 5000, 6000, false).latenciesUs]).toEqual([9, 20, 100]);
  });
});

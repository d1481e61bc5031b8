import { expect, test } from 'vitest';
import { complaint } from './children.ts';
import { loadArgs, pgbenchReason } from './pgbench-load.ts';
import { type TransactionWorkload, workloads } from './workloads.ts';

test('the reason of a failed run is the first error that pgbench names, on one line', () => {
  const output =
    'pgbench (15.18)\n' +
    'pgbench: error: client 3 script 0 aborted in command 1 query 0: ERROR:  prepared statement "P0_1" is missing\n' +
    'pgbench: error: Run was aborted; the above results are incomplete.\n';
  expect(pgbenchReason(output)).toBe(
    'client 3 script 0 aborted in command 1 query 0: ERROR:  prepared statement "P0_1" is missing',
  );
  expect(pgbenchReason('pgbench (15.18)\n')).toBe('it said nothing');
});

test('clients that connect for each transaction do so all at a time', () => {
  const threads = (workload: TransactionWorkload): (string | undefined)[] => {
    const args = loadArgs({ workload, clients: 50, seconds: 1 });
    return ['-c', '-j', '-C'].map((name) => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined));
  };
  expect(threads(workloads.simple)).toEqual(['50', '1', undefined]);
  expect(threads(workloads.connect)).toEqual(['50', '50', '-c']);
  expect(threads(workloads['connect-scram1'])).toEqual(['50', '50', '-c']);
});

test('what a program complains of is the first error that it names, else the last thing it said', () => {
  expect(complaint('LOG: up\nFATAL: no port\nLOG: an error, too\n')).toBe('FATAL: no port');
  expect(complaint('one\n  two \n\n')).toBe('two');
});

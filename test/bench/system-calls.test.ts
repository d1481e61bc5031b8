import { expect, test } from 'vitest';
import { openFilesLimit } from './open-files.ts';
import { readStraceSummary } from './system-calls.ts';

test('calls are read from the summary of strace, with errors or without, and its total is left out', () => {
  const summary = [
    'strace: Process 42 attached',
    '% time     seconds  usecs/call     calls    errors syscall',
    '------ ----------- ----------- --------- --------- ----------------',
    ' 61.53    0.008000           2      4000       120 read',
    ' 38.46    0.005000           2      2000           write',
    '  0.01    0.000001           0         7           epoll_wait',
    '------ ----------- ----------- --------- --------- ----------------',
    '100.00    0.013001           2      6007       120 total',
    '',
  ].join('\n');
  expect([...readStraceSummary(summary)]).toEqual([
    ['read', 4000],
    ['write', 2000],
    ['epoll_wait', 7],
  ]);
  expect(readStraceSummary('strace: attach: ptrace(PTRACE_SEIZE, 1): Operation not permitted\n').size).toBe(
    0,
  );
});

test('the soft limit of open files is read from /proc', () => {
  const line = (soft: string) =>
    `Limit Soft Limit Hard Limit Units\nMax open files            ${soft}    4096    files\n`;
  expect(openFilesLimit(line('1024'))).toBe(1024);
  expect(openFilesLimit(line('unlimited'))).toBe(Number.POSITIVE_INFINITY);
  expect(openFilesLimit('')).toBeNull();
});

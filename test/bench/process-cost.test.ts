import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { waitFor } from '../support/wait-for.ts';
import {
  parseStat,
  processCpuUs,
  processMemory,
  processTree,
  processTreeOf,
  threadCpuUs,
} from './process-cost.ts';

/** Fields 4 to 17 of /proc/PID/stat with user 7, system 5, reaped user 3, reaped system 2. */
const fields = '41 40 40 0 -1 4194560 100 200 0 0 7 5 3 2';

describe('CPU and memory of a process tree', () => {
  test('user and system time of a process and of its reaped children are added', () => {
    expect(parseStat(`42 (node) S ${fields} 20 0`)).toEqual({ pid: 42, parentPid: 41, ticks: 17 });
  });

  test('a program name with spaces and brackets does not shift the fields', () => {
    expect(parseStat(`42 (a) S (b) c) R ${fields} 20 0`)).toEqual({ pid: 42, parentPid: 41, ticks: 17 });
  });

  test('the tree holds grandchildren in any order and nobody else', () => {
    const stat = (pid: number, parentPid: number) => ({ pid, parentPid, ticks: 0 });
    expect(processTree(10, [stat(3, 7), stat(7, 10), stat(10, 1), stat(11, 1)])).toEqual(new Set([10, 7, 3]));
  });

  test('work done by this process shows in its cost where there is a /proc', () => {
    const before = processCpuUs(process.pid);
    if (!existsSync('/proc/self/stat')) {
      expect(before).toBeNull();
      return;
    }
    const deadlineMs = performance.now() + 20_000;
    while ((processCpuUs(process.pid) ?? 0) - (before ?? 0) < 40_000 && performance.now() < deadlineMs);
    const shownUs = (processCpuUs(process.pid) ?? 0) - (before ?? 0);
    expect(shownUs).toBeGreaterThanOrEqual(40_000);
  });

  test.runIf(existsSync('/proc/self/stat'))('threads are told apart by their names', async () => {
    // Burns until it is ended: how soon the kernel shows what a thread used is the kernel's affair.
    const burning = `require('node:worker_threads').parentPort.once('message', () => { for (;;); });`;
    const threads = ['burning-1', 'burning-2'].map((name) => new Worker(burning, { eval: true, name }));
    try {
      const [busy] = threads as [Worker, Worker];
      await Promise.all(threads.map((thread) => once(thread, 'online')));
      const before = threadCpuUs(process.pid, 'burning-');
      expect(before.size).toBe(2);
      busy.postMessage('go');
      const used = () =>
        [...threadCpuUs(process.pid, 'burning-')].map(([thread, us]) => us - (before.get(thread) ?? 0));
      await waitFor(() => Math.max(...used()) >= 200_000);
      expect(Math.min(...used())).toBeLessThan(100_000);
      expect(threadCpuUs(process.pid, 'other-').size).toBe(0);
    } finally {
      await Promise.all(threads.map((thread) => thread.terminate()));
    }
  });

  test.runIf(existsSync('/proc/self/stat'))(
    'memory is that of the whole tree, in which the parts of what is shared are counted once',
    async () => {
      const alone = processMemory(process.pid) ?? 0;
      expect(alone).toBeGreaterThan(10 * 1024 * 1024);
      const child = spawn('sleep', ['60'], { stdio: 'ignore' });
      try {
        await new Promise((spawned) => child.once('spawn', spawned));
        expect(processTreeOf(process.pid)).toEqual(new Set([process.pid, child.pid]));
        const two = processMemory(process.pid) ?? 0;
        expect(two).toBeGreaterThan(10 * 1024 * 1024);
        // Without proportional shares it is the sum of both.
        expect(two).toBeLessThan(alone + 40 * 1024 * 1024);
      } finally {
        child.kill('SIGKILL');
      }
    },
  );

  test('a process that does not exist has no cost', () => {
    // Above the largest process ID that Linux gives out (2²²).
    expect(processCpuUs(2 ** 22 + 1)).toBeNull();
    expect(processMemory(2 ** 22 + 1)).toBeNull();
    expect(processTreeOf(2 ** 22 + 1)).toEqual(new Set([2 ** 22 + 1]));
  });
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
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
    const startUs = process.cpuUsage();
    const spentUs = () => {
      const { user, system } = process.cpuUsage(startUs);
      return user + system;
    };
    while (spentUs() < 60_000);
    const after = processCpuUs(process.pid);
    if (!existsSync('/proc/self/stat')) {
      expect([before, after]).toEqual([null, null]);
      return;
    }
    expect((after ?? 0) - (before ?? 0)).toBeGreaterThanOrEqual(40_000);
  });

  test.runIf(existsSync('/proc/self/stat'))('threads are told apart by their names', async () => {
    const burning = `const { parentPort } = require('node:worker_threads');
      parentPort.once('message', () => {
        const start = process.threadCpuUsage();
        for (;;) { const { user, system } = process.threadCpuUsage(start); if (user + system > 60_000) break; }
        parentPort.postMessage('done');
      });`;
    const threads = ['burning-1', 'burning-2'].map((name) => new Worker(burning, { eval: true, name }));
    try {
      const [busy] = threads as [Worker, Worker];
      await Promise.all(threads.map((thread) => once(thread, 'online')));
      const before = threadCpuUs(process.pid, 'burning-');
      expect(before.size).toBe(2);
      busy.postMessage('go');
      await once(busy, 'message');
      const after = threadCpuUs(process.pid, 'burning-');
      const used = [...after].map(([thread, us]) => us - (before.get(thread) ?? 0)).sort((a, b) => b - a);
      expect(used[0]).toBeGreaterThanOrEqual(40_000);
      expect(used[1]).toBeLessThan(40_000);
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

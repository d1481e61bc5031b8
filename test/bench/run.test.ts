import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import type { BenchResult } from './report.ts';

/** What a machine does that is too busy for windows of a second. */
const tooBusy = /^not one (transaction completed|byte moved) in the measured window$/;

test('a run measures pgweir by each kind of load, and leaves a result and a chart', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'pgweir-bench-test-'));
  try {
    const json = path.join(folder, 'result.json');
    const args = ['--quick', '--systems', 'pgweir,odyssey', '--scale', '1', '--clients', '4', '--idle', '50'];
    args.push('--workloads', 'connect-scram,copy-in,idle-tls', '--load', 'node', '--json', json);
    const main = path.join(import.meta.dirname, 'main.ts');
    const env = { ...process.env, PGWEIR_BENCH_ODYSSEY: path.join(folder, 'no-odyssey') };
    const { stdout } = await promisify(execFile)(process.execPath, [main, ...args], {
      env,
      timeout: 110_000,
    });
    const result = JSON.parse(readFileSync(json, 'utf8')) as BenchResult;
    for (const { workload, samples, failure } of result.cells) {
      if (failure === null) expect(samples, `${workload}\n${stdout}`).toHaveLength(1);
      else expect(failure, workload).toMatch(tooBusy);
    }
    const idle = result.cells.find(({ workload }) => workload === 'idle-tls');
    expect(idle?.failure).toBeNull();
    expect(idle?.samples[0]?.bytesPerClient).toBeTypeOf('number');
    expect(result.cells.map(({ workload, clients }) => [workload, clients])).toEqual([
      ['connect-scram', 4],
      ['copy-in', 1],
      ['idle-tls', 10],
    ]);
    expect(result.absentees).toMatchObject([{ name: 'odyssey', reason: expect.stringContaining('ENOENT') }]);
    expect(stdout).toContain('odyssey: left out: ');
    expect(result.refusals).toEqual({ pgweir: 0 });
    expect(Object.keys(result.configurations)).toEqual(['pgweir scram', 'pgweir plain', 'pgweir tls']);
    expect(stdout).toContain('pgweir: pgweir ');
    expect(readFileSync(path.join(folder, 'result.svg'), 'utf8')).toMatch(/^<svg .*<\/svg>\n$/s);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 120_000);

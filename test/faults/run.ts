/**
 * Breaks the sources in one place after the other, in a copy of the project, and tells which tests notice.
 * Arguments: parts of faults' names or of their test files', to run only those. Exit code 1 when a fault is noticed by no test, or when
 * the tests fail without any fault.
 */
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { Postgres } from '../../src/cli/start/postgres.ts';
import { testRoles, withMadeData } from '../support/postgres-settings.ts';
import { applyFault, type Fault } from './fault.ts';
import { faults } from './faults.ts';
import { type Verdict, Workbench } from './workbench.ts';

/** Faults that are tried out at a time, each in a copy of its own. A test waits for most of its time. */
const JOBS = availableParallelism();

/** How long the tests of all faults may take without any. */
const SOUND_DEADLINE_MS = 15 * 60_000;

async function main(parts: readonly string[]): Promise<number> {
  const chosen =
    parts.length === 0
      ? faults
      : faults.filter(({ name, tests }) => parts.some((part) => [name, ...tests].join('\n').includes(part)));
  if (chosen.length === 0) {
    console.error('no fault has such a name');
    return 1;
  }
  // Each run's PostgreSQL begins with a copy of this one's data.
  await using model = await Postgres.start({ keepTemplate: true, initialSql: testRoles });
  const { templateDir } = model;
  if (templateDir === null) throw new Error('the template was asked for');
  const env = withMadeData({ templateDir, password: model.address.password });
  await model.stop();
  using benches = new DisposableStack();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      benches.dispose();
      process.exit(1);
    });
  }
  const makeBench = () => benches.use(new Workbench(resolve(import.meta.dirname, '../..'), env));
  const first = makeBench();
  const files = [...new Set(chosen.flatMap(({ tests }) => tests))].sort();
  console.log(`${files.length} test files without any fault`);
  const sound = await first.run(files, { workers: JOBS, deadlineMs: SOUND_DEADLINE_MS });
  if (sound.kind !== 'passed') {
    console.log(`NOT SOUND  ${describe(sound)}`);
    return 1;
  }
  console.log(`${chosen.length} faults`);
  const waiting = chosen.values();
  let survivors = 0;
  const work = async (bench: Workbench): Promise<void> => {
    for (const fault of waiting) {
      const startMs = performance.now();
      const verdict = await tryOut(bench, fault);
      const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
      const isCaught = verdict.kind === 'failed';
      if (!isCaught) survivors++;
      console.log(
        `${isCaught ? 'caught  ' : 'SURVIVED'}  ${fault.name} (${seconds} s)\n${describe(verdict)}`,
      );
    }
  };
  const more = Array.from({ length: Math.min(JOBS, chosen.length) - 1 }, makeBench);
  await Promise.all([first, ...more].map(work));
  console.log(`${chosen.length - survivors} faults caught, ${survivors} not`);
  return survivors === 0 ? 0 : 1;
}

async function tryOut(bench: Workbench, fault: Fault): Promise<Verdict> {
  let texts: Map<string, string>;
  try {
    texts = applyFault(fault, bench.root);
  } catch (error) {
    return { kind: 'mute', reason: String(error) };
  }
  bench.change(texts);
  try {
    return await bench.run(fault.tests, { seed: fault.seed });
  } finally {
    bench.restore();
  }
}

function describe(verdict: Verdict): string {
  switch (verdict.kind) {
    case 'passed':
      return `    all ${verdict.count} tests passed`;
    case 'mute':
      return `    ${verdict.reason}`;
    case 'failed':
      return verdict.tests.map((name) => `    ${name}`).join('\n');
  }
}

process.exitCode = await main(process.argv.slice(2));

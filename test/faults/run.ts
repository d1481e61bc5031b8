/**
 * Breaks the sources in one place after the other, in a copy of the project, and tells which tests notice.
 * Arguments: parts of faults' names, to run only those. Exit code 1 when a fault is noticed by no test, or when
 * the tests fail without any fault.
 */
import { resolve } from 'node:path';
import { applyFault, type Fault } from './fault.ts';
import { faults } from './faults.ts';
import { type Verdict, Workbench } from './workbench.ts';

/** Names of failed tests that are shown. */
const SHOWN = 3;

async function main(parts: readonly string[]): Promise<number> {
  const chosen =
    parts.length === 0 ? faults : faults.filter(({ name }) => parts.some((part) => name.includes(part)));
  if (chosen.length === 0) {
    console.error('no fault has such a name');
    return 1;
  }
  using bench = new Workbench(resolve(import.meta.dirname, '../..'));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      bench[Symbol.dispose]();
      process.exit(1);
    });
  }
  const files = [...new Set(chosen.flatMap(({ tests }) => tests))].sort();
  console.log(`${files.length} test files without any fault`);
  const sound = await bench.run(files);
  if (sound.kind !== 'passed') {
    console.log(`NOT SOUND  ${describe(sound)}`);
    return 1;
  }
  console.log(`${chosen.length} faults`);
  let survivors = 0;
  for (const fault of chosen) {
    const startMs = performance.now();
    const verdict = await tryOut(bench, fault);
    const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
    const isCaught = verdict.kind === 'failed';
    if (!isCaught) survivors++;
    console.log(`${isCaught ? 'caught  ' : 'SURVIVED'}  ${fault.name} (${seconds} s)\n${describe(verdict)}`);
  }
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
    return await bench.run(fault.tests, fault.seed);
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
    case 'failed': {
      const { tests } = verdict;
      const more = tests.length > SHOWN ? [`    and ${tests.length - SHOWN} more`] : [];
      return [...tests.slice(0, SHOWN).map((name) => `    ${name}`), ...more].join('\n');
    }
  }
}

process.exitCode = await main(process.argv.slice(2));

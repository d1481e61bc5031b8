import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What tests need beside `node_modules`. */
const COPIED = [
  'src',
  'test',
  // A page that a test compares with its own names.
  'docs',
  'package.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'vitest.config.ts',
  'pgbouncer.example.ini',
];

/** How long a single test may hang before it counts as failed, and how long a run for one fault may take. */
const TEST_TIMEOUT_MS = 10_000;
const RUN_DEADLINE_MS = 180_000;

/** A run stops early: the fault is noticed by then. */
const ENOUGH_FAILURES = 1;

/** What became of a run of test files. */
export type Verdict =
  /** All tests that ran have passed. */
  | { readonly kind: 'passed'; readonly count: number }
  /** The full names of tests that failed. */
  | { readonly kind: 'failed'; readonly tests: readonly string[] }
  /** No test has said anything: the files could not be loaded, or the run hung. */
  | { readonly kind: 'mute'; readonly reason: string };

/** How {@link Workbench.run} runs test files. */
export interface RunOptions {
  /** What random tests begin with. */
  readonly seed?: number | undefined;
  /** How many files at a time. Default: one after the other. */
  readonly workers?: number;
  /** Default: what a run for one fault may take. */
  readonly deadlineMs?: number;
}

/** The part of vitest's JSON report that matters here. */
interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly message?: string;
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
}

/** A private copy of the project in which sources may be broken. */
export class Workbench implements Disposable {
  readonly root: string;
  readonly #original: string;
  readonly #env: Readonly<Record<string, string>>;
  /** What changed files held before, by path. */
  readonly #sound = new Map<string, string>();
  #runningPid: number | null = null;

  /** Of a project, and with this beside our own environment. */
  constructor(original: string, env: Readonly<Record<string, string>>) {
    this.#original = original;
    this.#env = env;
    this.root = mkdtempSync(join(tmpdir(), 'pgweir-faults-'));
    for (const name of COPIED) {
      cpSync(join(original, name), join(this.root, name), { recursive: true });
    }
    symlinkSync(join(original, 'node_modules'), join(this.root, 'node_modules'));
  }

  /** Puts changed files in place, by their paths in the project. */
  change(texts: ReadonlyMap<string, string>): void {
    for (const [file, text] of texts) {
      const path = join(this.root, file);
      if (!this.#sound.has(path)) this.#sound.set(path, readFileSync(path, 'utf8'));
      writeFileSync(path, text);
    }
  }

  /** Takes back what {@link change} did. */
  restore(): void {
    for (const [path, text] of this.#sound) writeFileSync(path, text);
    this.#sound.clear();
  }

  /** Runs test files. */
  async run(files: readonly string[], options: RunOptions = {}): Promise<Verdict> {
    const { seed, workers = 1, deadlineMs = RUN_DEADLINE_MS } = options;
    const reportPath = join(this.root, 'report.json');
    rmSync(reportPath, { force: true });
    const child = spawn(
      process.execPath,
      [
        join(this.#original, 'node_modules/vitest/vitest.mjs'),
        'run',
        ...files,
        '--reporter=json',
        `--outputFile=${reportPath}`,
        `--testTimeout=${TEST_TIMEOUT_MS}`,
        `--bail=${ENOUGH_FAILURES}`,
        `--maxWorkers=${workers}`,
        '--no-cache',
        '--no-fsModuleCache',
      ],
      // A process group of its own, so that all of it can be ended.
      {
        cwd: this.root,
        stdio: 'ignore',
        detached: true,
        env: {
          ...process.env,
          ...this.#env,
          PGWEIR_TEST_FAULTS: '1',
          ...(seed === undefined ? {} : { PGWEIR_TEST_SEED: String(seed) }),
        },
      },
    );
    this.#runningPid = child.pid ?? null;
    let isOverdue = false;
    const deadline = setTimeout(() => {
      isOverdue = true;
      this.#killRun();
    }, deadlineMs);
    await new Promise<void>((resolve) => {
      child.once('error', () => resolve());
      child.once('close', () => resolve());
    });
    clearTimeout(deadline);
    this.#runningPid = null;
    return isOverdue ? { kind: 'mute', reason: `no end after ${deadlineMs / 1000} s` } : read(reportPath);
  }

  [Symbol.dispose](): void {
    this.#killRun();
    rmSync(this.root, { recursive: true, force: true, maxRetries: 5 });
  }

  #killRun(): void {
    if (this.#runningPid === null) return;
    try {
      process.kill(-this.#runningPid, 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  }
}

function read(path: string): Verdict {
  let report: Report;
  try {
    report = JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return { kind: 'mute', reason: 'the run has left no report' };
  }
  const results = report.testResults.flatMap(({ assertionResults }) => assertionResults);
  const failed = results.filter(({ status }) => status === 'failed');
  if (failed.length > 0) return { kind: 'failed', tests: failed.map(({ fullName }) => fullName) };
  const broken = report.testResults.find(({ message }) => message !== undefined && message !== '');
  if (broken !== undefined) return { kind: 'mute', reason: `${broken.name}: ${broken.message}` };
  const count = results.filter(({ status }) => status === 'passed').length;
  return count > 0 ? { kind: 'passed', count } : { kind: 'mute', reason: 'no test ran' };
}

/**
 * Runs the tests of all drivers and writes README's table of them: `npm run drivers`. Exit code 1, and no table, when
 * there is a file whose tests did not run.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type DebianDriver, debianDrivers, probe } from './programs.ts';

const root = resolve(import.meta.dirname, '../..');
const START = '<!-- drivers:start -->\n';
const END = '<!-- drivers:end -->';

/** What is used of vitest's JSON report. */
export interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly assertionResults: readonly {
      readonly ancestorTitles: readonly string[];
      readonly title: string;
      readonly status: string;
    }[];
  }[];
}

/** Names of the drivers that have tests, in order: those of their files. */
export function driverNames(): string[] {
  return readdirSync(import.meta.dirname)
    .filter((file) => file.endsWith('.test.ts') && file !== 'table.test.ts')
    .map((file) => file.slice(0, -'.test.ts'.length))
    .sort();
}

/** The version of a package that package-lock.json holds. */
export function lockedVersion(name: string): string {
  const lock: { packages: Record<string, { version?: string }> } = JSON.parse(
    readFileSync(join(root, 'package-lock.json'), 'utf8'),
  );
  return lock.packages[`node_modules/${name}`]?.version ?? 'not installed';
}

/** The driver of this name, if it is one of Debian's packages. */
export function debianDriver(name: string): DebianDriver | undefined {
  return Object.values<DebianDriver>(debianDrivers).find((driver) => driver.name === name);
}

/** The table between README's markers, without the markers. */
export function readmeTable(): string {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  return readme.slice(readme.indexOf(START) + START.length, readme.indexOf(END));
}

/** The table from a run's report; throws for a driver without any tests in it. */
export function renderDrivers(report: Report, names: readonly string[] = driverNames()): string {
  const lines = names.map((name) => {
    const tests =
      report.testResults.find((file) => file.name.endsWith(`/${name}.test.ts`))?.assertionResults ?? [];
    const inMode = (mode: string) => {
      const own = tests.filter((test) => test.ancestorTitles.includes(`${mode} mode`));
      const passed = own.filter((test) => test.status === 'passed').length;
      const failed = own.filter((test) => test.status === 'failed').length;
      if (own.length === 0) throw new Error(`the tests of ${name} in ${mode} mode did not run`);
      if (failed > 0) return `${failed} of ${own.length} tests fail`;
      // Where a driver is not installed its tests are skipped, all of them.
      return passed === own.length ? 'yes' : 'not tested';
    };
    const titles = tests.map(({ title }) => title);
    const debian = debianDriver(name);
    const cells = [
      name,
      debian?.language ?? 'JavaScript',
      debian === undefined ? lockedVersion(name) : (probe(debian).version ?? 'not installed'),
      statementsOf(titles),
      cancelOf(titles),
      inMode('session'),
      inMode('transaction'),
    ];
    return `| ${cells.join(' | ')} |\n`;
  });
  return `| driver | language | version | statements | cancel request | session mode | transaction mode |
| --- | --- | --- | --- | --- | --- | --- |
${lines.join('')}`;
}

function statementsOf(titles: readonly string[]): string {
  if (titles.includes('its statements are kept under names')) return 'named';
  return titles.includes('its statements have no names') ? 'unnamed: the library has no names' : '–';
}

/** A driver without the test has no way to send one. */
function cancelOf(titles: readonly string[]): string {
  if (titles.includes('a query that is cancelled ends, and the connection goes on')) return 'yes';
  return titles.includes('a query that takes too long ends, and the connection goes on') ? 'no' : '–';
}

/** The report of a run of the drivers' tests; what vitest prints goes to the terminal. */
function runTests(): Report {
  const folder = mkdtempSync(join(tmpdir(), 'pgweir-drivers-'));
  try {
    const path = join(folder, 'report.json');
    const vitest = join(root, 'node_modules/vitest/vitest.mjs');
    const args = [vitest, 'run', ...driverNames().map((name) => `test/drivers/${name}.test.ts`)];
    spawnSync(process.execPath, args, {
      cwd: root,
      env: { ...process.env, PGWEIR_TEST_WIDE: '1', PGWEIR_TEST_JSON: path },
      stdio: 'inherit',
    });
    return JSON.parse(readFileSync(path, 'utf8'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const path = join(root, 'README.md');
  const table = renderDrivers(runTests());
  const readme = readFileSync(path, 'utf8');
  writeFileSync(
    path,
    readme.replace(`${START}${readmeTable()}${END}`, () => `${START}${table}${END}`),
  );
}

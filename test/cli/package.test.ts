import { existsSync, globSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { freePort } from '../../src/cli/start/postgres.ts';
import { VERSION_LINE } from '../../src/daemon/version.ts';
import { npm, registryTrouble, userEnvironment } from '../support/npm.ts';
import { olderNode } from '../support/older-node.ts';
import { writePoolerConfig } from '../support/pooler-config.ts';
import { connectTo, sharedPostgres } from '../support/postgres.ts';
import { allowRoot, Program, type ProgramRun, runProgram } from '../support/program.ts';
import { ProjectCopy, projectRoot } from '../support/project-copy.ts';
import { skip } from '../support/skip.ts';

/** Where the tarball is made, and the empty folder where somebody installs it. */
let copy: ProjectCopy;
let home: string;
let packed: string[];
let tarball: string;

beforeAll(async () => {
  copy = new ProjectCopy();
  home = mkdtempSync(join(tmpdir(), 'pgweir-home-'));
  const { code, stdout, stderr } = await npm(['pack', '--json'], copy.root);
  expect({ code }, stderr).toEqual({ code: 0 });
  // What the build prints comes ahead of it. From npm 12 on an object by names, before that an array.
  const report = JSON.parse(stdout.slice(stdout.search(/^[[{]$/m)));
  const [{ filename, files }] = Object.values(report) as [{ filename: string; files: { path: string }[] }];
  tarball = join(copy.root, filename);
  packed = files.map(({ path }) => path).sort();
});

afterAll(() => {
  copy[Symbol.dispose]();
  rmSync(home, { recursive: true, force: true });
});

/** Files below a folder of the project. */
function filesOf(...patterns: string[]): string[] {
  return globSync(patterns, { cwd: projectRoot });
}

/** Pages about working on the project, which stay in it. */
const forContributors = ['CONTRIBUTING.md', 'test/bench/README.md'];

describe('the package', () => {
  it('holds the built program, its pages and its examples, and nothing else', () => {
    const modules = filesOf('src/**/*.ts').filter((path) => !/^src\/cli\/start\b/.test(path));
    const expected = [
      ...modules.map((path) => path.replace(/^src\/(.*)\.ts$/, 'dist/$1.js')),
      ...filesOf('docs/**/*.md', 'docs/bench/speed.*', 'config/*'),
      ...['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json', 'pgbouncer.example.ini'],
    ];
    expect(packed).toEqual(expected.sort());
  });

  it('holds every page that README and its pages link to, but for those about working on it', () => {
    const pages = packed.filter((path) => path.endsWith('.md'));
    const links = pages.flatMap((page) =>
      [...readFileSync(join(projectRoot, page), 'utf8').matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map(
        ([, target]) => join(page, '..', target as string),
      ),
    );
    expect(links.length).toBeGreaterThan(10);
    expect(links.filter((path) => !packed.includes(path) && !forContributors.includes(path))).toEqual([]);
  });
});

describe('the installed package', () => {
  let installed: ProgramRun;
  /** The command as it is installed, for a user with a Node. */
  const as = (node?: string) => ({
    command: [join(home, 'bin/pgweir')],
    cwd: home,
    env: { ...userEnvironment(node), ...allowRoot },
  });

  beforeAll(async () => {
    const args = [
      'install',
      '--global',
      '--prefix',
      home,
      '--prefer-offline',
      '--no-audit',
      '--no-fund',
      tarball,
    ];
    installed = await npm(args, home);
  });

  beforeEach((context) => {
    const trouble = registryTrouble(installed);
    if (trouble !== null) skip(context, trouble);
    expect({ code: installed.code }, installed.stderr).toEqual({ code: 0 });
  });

  it('brings along what it depends on, and nothing of what it is developed with', () => {
    const { dependencies, devDependencies } = JSON.parse(
      readFileSync(join(projectRoot, 'package.json'), 'utf8'),
    ) as Record<'dependencies' | 'devDependencies', Record<string, string>>;
    const names = readdirSync(join(home, 'lib/node_modules/pgweir/node_modules'));
    expect(names).toEqual(expect.arrayContaining(Object.keys(dependencies)));
    expect(names.filter((name) => Object.hasOwn(devDependencies, name))).toEqual([]);
  });

  it('runs on the Node of engines', async () => {
    const { code, stdout, stderr } = await runProgram(['--version'], as());
    expect({ code, first: stdout.split('\n')[0], stderr }).toEqual({
      code: 0,
      first: VERSION_LINE,
      stderr: '',
    });
  });

  it('runs by a link, as the systemd units name it', async () => {
    const command = [process.execPath, join(home, 'bin/pgweir')];
    expect(await runProgram(['--version'], { ...as(), command })).toMatchObject({ code: 0, stderr: '' });
  });

  it('pools: two clients in turn are served by one connection to PostgreSQL', async () => {
    const settings = { listen_port: await freePort(), pool_mode: 'transaction', default_pool_size: 1 };
    const iniPath = writePoolerConfig(home, sharedPostgres(), { settings });
    await using served = new Program([iniPath], as());
    await served.says('process up');
    const address = { ...sharedPostgres(), port: settings.listen_port };
    const [one, other] = [await connectTo(address), await connectTo(address)];
    const pids = [];
    for (const client of [one, other, one]) {
      pids.push((await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid);
    }
    expect(pids).toEqual([pids[0], pids[0], pids[0]]);
    expect(pids[0]).toBeGreaterThan(0);
    expect(await runProgram(['ping', iniPath], as())).toMatchObject({
      code: 0,
      stdout: 'active\n',
      stderr: '',
    });
    // Nothing is amiss: neither a setting nor the native library.
    expect(served.stderr).not.toMatch(/ (WARNING|ERROR|FATAL) /);
    await Promise.all([one.end(), other.end()]);
    served.signal('SIGTERM');
    expect(await served.ended).toMatchObject({ code: 0 });
  });

  it('examines the example that comes with it', async () => {
    const example = join(home, 'lib/node_modules/pgweir/pgbouncer.example.ini');
    expect(existsSync(example)).toBe(true);
    const { code, stderr } = await runProgram(['check', example], as());
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });

  it('on an older Node says in one line what it needs', async (context) => {
    const older = olderNode();
    if (older === null) return skip(context, 'no Node from 18 to 25 in PATH');
    expect(await runProgram(['--version'], as(older.program))).toMatchObject({
      code: 1,
      stdout: '',
      stderr: `pgweir needs Node.js 26.x, this is ${older.version}\n`,
    });
  });
});

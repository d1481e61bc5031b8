import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { VERSION_LINE } from '../../src/daemon/version.ts';
import { olderNode } from '../support/older-node.ts';
import { waitFor } from '../support/wait-for.ts';

const root = resolve(import.meta.dirname, '../..');
const bin = join(root, 'src/cli/bin.ts');

let dir: string;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'pgweir-bin-'));
  // What an installed package looks like: dist/ beside package.json and node_modules/.
  copyFileSync(join(root, 'package.json'), join(dir, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'));
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const built = spawnSync(
    process.execPath,
    [tsc, '-p', join(root, 'tsconfig.build.json'), '--outDir', join(dir, 'dist')],
    { encoding: 'utf8' },
  );
  if (built.error !== undefined) throw built.error;
});

afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Node options that make a program believe in another version of Node. */
function pretend(version: string): string[] {
  const code = `Object.defineProperty(process,'versions',{value:{...process.versions,node:'${version}'}})`;
  return ['--import', `data:text/javascript,${encodeURIComponent(code)}`];
}

describe('the executable', () => {
  it('runs from its sources', () => {
    const { stdout, stderr, status } = spawnSync(process.execPath, [bin, '--version'], { encoding: 'utf8' });
    expect({ first: stdout.split('\n')[0], stderr, status }).toEqual({
      first: VERSION_LINE,
      stderr: '',
      status: 0,
    });
  });

  it('runs when built, from any folder', () => {
    const { stdout, stderr, status } = spawnSync(process.execPath, [join(dir, 'dist/cli/bin.js'), '-V'], {
      encoding: 'utf8',
      cwd: '/',
    });
    expect({ first: stdout.split('\n')[0], stderr, status }).toEqual({
      first: VERSION_LINE,
      stderr: '',
      status: 0,
    });
  });

  it('when built on an older Node says in one line what it needs', () => {
    const { program, version } = olderNode() ?? { program: process.execPath, version: '20.11.0' };
    const options = program === process.execPath ? pretend(version) : [];
    const { stdout, stderr, status } = spawnSync(program, [...options, join(dir, 'dist/cli/bin.js'), '-V'], {
      encoding: 'utf8',
    });
    expect({ stdout, stderr, status }).toEqual({
      stdout: '',
      stderr: `pgweir needs Node.js 26.x, this is ${version}\n`,
      status: 1,
    });
  });

  it.each([
    ['18.0.0', 1],
    ['25.9.0', 1],
    ['26.0.0', 0],
    ['26.99.1', 0],
    ['27.0.0', 1],
  ])('on Node %s ends with %i, as engines in package.json says', (version, status) => {
    const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      engines: { node: string };
    };
    expect(engines.node).toBe('>=26.0.0 <27');
    const result = spawnSync(process.execPath, [...pretend(version), bin, '-V'], { encoding: 'utf8' });
    expect(result.status).toBe(status);
  });

  it('depends on no other module before the version is checked', () => {
    const source = readFileSync(bin, 'utf8');
    expect(source).not.toMatch(/^\s*(import|export)\s[^(]/m);
  });

  it('bad usage ends with 1 and one line', () => {
    const { stdout, stderr, status } = spawnSync(process.execPath, [bin], { encoding: 'utf8' });
    expect({ stdout, stderr, status }).toEqual({
      stdout: '',
      stderr: 'pgweir: no config file given (see pgweir --help)\n',
      status: 1,
    });
  });
});

describe('the running executable', () => {
  let child: ChildProcess | null = null;

  afterEach(() => {
    child?.kill('SIGKILL');
    child = null;
  });

  /**
   * Runs the real bin.ts with a stand-in for main.ts, which installs no signal listeners of its own and answers
   * each line on stdin with the debugger's address.
   */
  async function start(name: string): Promise<{ ask: () => Promise<string>; stderr: () => string }> {
    const folder = join(dir, name);
    mkdirSync(folder);
    copyFileSync(bin, join(folder, 'bin.ts'));
    writeFileSync(
      join(folder, 'main.ts'),
      `import inspector from 'node:inspector';
       export const main = () => new Promise(() => {
         process.stdin.on('data', () => process.stdout.write(\`debugger: \${inspector.url()}\\n\`));
       });`,
    );
    const running = spawn(process.execPath, ['--inspect-port=0', join(folder, 'bin.ts')], { stdio: 'pipe' });
    child = running;
    let stdout = '';
    let stderr = '';
    running.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    running.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const ask = async () => {
      const before = stdout.length;
      running.stdin.write('?\n');
      await waitFor(() => stdout.endsWith('\n') && stdout.length > before, { what: 'an answer' });
      return stdout.slice(before);
    };
    await ask();
    return { ask, stderr: () => stderr };
  }

  it('opens no debugger port on SIGUSR1, even before the daemon has its own listeners', async () => {
    const { ask, stderr } = await start('usr1');
    for (let round = 0; round < 20; round++) {
      child?.kill('SIGUSR1');
      expect(await ask()).toBe('debugger: undefined\n');
    }
    expect(stderr()).toBe('');
    expect(child?.exitCode).toBe(null);
  });

  it('survives SIGPIPE', async () => {
    const { ask } = await start('pipe');
    child?.kill('SIGPIPE');
    expect(await ask()).toBe('debugger: undefined\n');
    expect(child?.signalCode).toBe(null);
  });
});

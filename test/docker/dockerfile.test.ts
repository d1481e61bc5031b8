import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parseArguments } from '../../src/cli/arguments.ts';
import { freePort } from '../../src/cli/start/postgres.ts';
import { VERSION_LINE } from '../../src/daemon/version.ts';
import {
  execForm,
  type ImageConfig,
  isIgnored,
  parseDockerfile,
  StageRunner,
} from '../support/dockerfile.ts';
import { registryTrouble, userEnvironment } from '../support/npm.ts';
import { writePoolerConfig } from '../support/pooler-config.ts';
import { connectTo, sharedPostgres } from '../support/postgres.ts';
import { isAlive } from '../support/processes.ts';
import { allowRoot, Program, type ProgramRun, runProgram } from '../support/program.ts';
import { projectRoot } from '../support/project-copy.ts';
import { waitFor } from '../support/wait-for.ts';
import { skip } from '../support/skip.ts';

const stages = parseDockerfile(readFileSync(join(projectRoot, 'docker/Dockerfile'), 'utf8'));
const [build, final] = stages;
if (build === undefined || final === undefined) throw new Error('docker/Dockerfile has two stages');

function only(name: string): string {
  const texts = final?.instructions.filter((each) => each.name === name).map(({ text }) => text) ?? [];
  if (texts.length !== 1) throw new Error(`${texts.length} times ${name}`);
  return texts[0] as string;
}

describe('docker/Dockerfile', () => {
  it('builds in one stage and runs in another, both on the slim image of the Node that engines asks for', () => {
    const { engines } = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8'));
    const major = /^>=(\d+)\./.exec(engines.node)?.[1];
    expect(stages.map(({ image, name }) => [image, name])).toEqual([
      [`node:${major}-slim`, 'build'],
      [`node:${major}-slim`, null],
    ]);
  });

  it('runs as a user that is not root, whom Kubernetes can tell from root', () => {
    expect(only('USER')).toMatch(/^[1-9]\d*:[1-9]\d*$/);
    // Nothing is made after that as somebody else.
    const names = final.instructions.map(({ name }) => name);
    expect(names.slice(names.indexOf('USER')).filter((name) => name === 'COPY' || name === 'RUN')).toEqual(
      [],
    );
  });

  it('has no shell between the signals and the program, and ends by the signal that lets clients leave', () => {
    expect(execForm(only('ENTRYPOINT'))?.[0]).toBe('node');
    expect(execForm(only('CMD'))).toEqual(['/etc/pgweir/pgbouncer.ini']);
    expect(only('STOPSIGNAL')).toBe('SIGTERM');
    expect(only('EXPOSE')).toBe('6432');
  });

  it('asks the pooler itself whether it is healthy, by the configuration that it runs with', () => {
    const text = only('HEALTHCHECK');
    const [node, program, ...args] = execForm(text.replace(/^.*?CMD /, '')) ?? [];
    expect([node, program]).toEqual(execForm(only('ENTRYPOINT')));
    const [configPath] = execForm(only('CMD')) ?? [];
    expect(parseArguments(args)).toEqual({ kind: 'ping', configPath });
    // Longer than ping itself waits for an answer.
    expect(Number(/--timeout=(\d+)s/.exec(text)?.[1])).toBeGreaterThan(5);
  });

  it('no secret, and nothing else that is not copied, gets into the context', () => {
    const ignoreText = readFileSync(join(projectRoot, '.dockerignore'), 'utf8');
    const copied = build.instructions
      .concat(final.instructions)
      .filter(({ name, text }) => name === 'COPY' && !text.startsWith('--from='))
      .flatMap(({ text }) => text.split(' ').slice(0, -1));
    const entries = readdirSync(projectRoot).concat('docker/secrets/userlist.txt', 'test/a/b.ts');
    expect(entries.filter((path) => !isIgnored(path, ignoreText)).sort()).toEqual(copied.sort());
    expect(isIgnored('src/cli/bin.ts', ignoreText)).toBe(false);
  });
});

/** The stages of the Dockerfile, carried out in folders. Only what the base image brings is this machine's own. */
describe('what docker/Dockerfile makes', () => {
  let folder: string;
  let root: string;
  let config: ImageConfig;
  let failed: ProgramRun | null = null;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pgweir-image-'));
    const runner = new StageRunner(projectRoot, folder);
    const run = async (text: string, cwd: string): Promise<void> => {
      if (failed !== null) return;
      const env = { ...userEnvironment(), npm_config_prefer_offline: 'true' };
      const ended = await runProgram(['-c', text], { command: ['/bin/sh'], cwd, env, deadlineMs: 240_000 });
      if (ended.code !== 0) failed = ended;
    };
    await runner.make(build, run);
    if (failed === null) ({ root, config } = await runner.make(final, run));
  }, 300_000);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  beforeEach((context) => {
    if (failed === null) return;
    const trouble = registryTrouble(failed);
    if (trouble !== null) skip(context, trouble);
    throw new Error(failed.stderr);
  });

  /** A command line of the image's, with its paths below the root of its files; `etc`: in place of /etc/pgweir. */
  function inFolder(words: readonly string[], etc: string): string[] {
    return words.map((word) =>
      word === 'node'
        ? process.execPath
        : word.replace(/^\/opt\//, `${root}/opt/`).replace('/etc/pgweir', etc),
    );
  }

  function environment() {
    return { ...userEnvironment(), ...allowRoot, ...config.env };
  }

  it('is the built program with what it depends on', async () => {
    const workdir = join(root, config.workdir);
    expect(readdirSync(workdir).sort()).toEqual(['LICENSE', 'dist', 'node_modules', 'package.json']);
    const { dependencies, devDependencies } = JSON.parse(
      readFileSync(join(projectRoot, 'package.json'), 'utf8'),
    ) as Record<'dependencies' | 'devDependencies', Record<string, string>>;
    const has = (name: string) => existsSync(join(workdir, 'node_modules', name, 'package.json'));
    expect(Object.keys(dependencies).filter((name) => !has(name))).toEqual([]);
    expect(Object.keys(devDependencies).filter(has)).toEqual([]);
    const command = inFolder(config.entrypoint, '');
    const { code, stdout } = await runProgram(['--version'], { command, env: environment() });
    expect({ code, first: stdout.split('\n')[0] }).toEqual({ code: 0, first: VERSION_LINE });
  });

  it('pools, is healthy only as long as it answers, and lets its clients leave on SIGTERM', async () => {
    const etc = join(folder, 'etc');
    mkdirSync(etc);
    const listen_port = await freePort();
    writePoolerConfig(etc, sharedPostgres(), { settings: { listen_port, pool_mode: 'transaction' } });
    const health = async () => {
      const command = inFolder(config.health, etc);
      const { code, stderr } = await runProgram([], { command, cwd: '/', env: environment() });
      // Docker knows 0 and 1 alone.
      return [code, stderr];
    };
    expect(await health()).toEqual([1, expect.stringMatching(/^pgweir: .+\n$/)]);
    const command = inFolder([...config.entrypoint, ...config.cmd], etc);
    await using program = new Program([], { command, cwd: join(root, config.workdir), env: environment() });
    await program.says('process up');
    expect(await health()).toEqual([0, '']);
    process.kill(program.pid, 'SIGSTOP');
    try {
      expect(await health()).toEqual([1, 'pgweir: no answer within 5 s\n']);
    } finally {
      process.kill(program.pid, 'SIGCONT');
    }
    expect(await health()).toEqual([0, '']);

    const client = await connectTo({ ...sharedPostgres(), port: listen_port });
    await client.query('BEGIN');
    program.signal(only('STOPSIGNAL') as NodeJS.Signals);
    await program.says('got SIGTERM');
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await client.query('COMMIT');
    await client.end();
    expect(await program.ended).toMatchObject({ code: 0, signal: null });
    expect(await health()).toEqual([1, expect.stringMatching(/^pgweir: .+\n$/)]);
  });

  it('as PID 1 listens to signals, and leaves no zombies of its health check', async (context) => {
    const unshare = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
    const tried = await runProgram(['true'], { command: unshare });
    if (tried.code !== 0) return skip(context, `no PID namespace: ${tried.stderr.trim()}`);
    const etc = join(folder, 'etc-1');
    mkdirSync(etc);
    const listen_port = await freePort();
    writePoolerConfig(etc, sharedPostgres(), { settings: { listen_port, pool_mode: 'transaction' } });
    const command = [...unshare, ...inFolder([...config.entrypoint, ...config.cmd], etc)];
    await using program = new Program([], { command, env: environment() });
    await program.says('process up');
    const [inner = 0] = childrenOf(program.pid);
    expect(readFileSync(`/proc/${inner}/status`, 'utf8')).toMatch(/^NSpid:\t\d+\t1$/m);
    // As the engine does: the check enters the namespace.
    const enter = ['nsenter', `--target=${inner}`, '--pid', '--mount'];
    const check = [...enter, ...inFolder(config.health, etc)];
    for (let round = 0; round < 3; round++) {
      expect(await runProgram([], { command: check, env: environment() })).toMatchObject({ code: 0 });
    }
    expect(childrenOf(inner)).toEqual([]);
    process.kill(inner, 'SIGTERM');
    expect(await program.ended).toMatchObject({ code: 0 });
    await waitFor(() => !isAlive(inner), { what: 'the end of PID 1' });
  });
});

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

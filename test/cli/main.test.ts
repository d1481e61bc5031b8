import { describe, expect, it } from 'vitest';
import { type MainEnvironment, main } from '../../src/cli/main.ts';
import { VERSION_LINE } from '../../src/daemon/version.ts';

interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly runs: unknown[];
}

async function run(argv: readonly string[], environment: Partial<MainEnvironment> = {}): Promise<Outcome> {
  let stdout = '';
  let stderr = '';
  const runs: unknown[] = [];
  const exitCode = await main(argv, {
    stdout: (text) => {
      stdout += text;
    },
    stderr: (text) => {
      stderr += text;
    },
    euid: 1000,
    env: {},
    runDaemon: async (options) => {
      runs.push(options);
      return 7;
    },
    ...environment,
  });
  return { exitCode, stdout, stderr, runs };
}

describe('the command pgweir', () => {
  it("runs the daemon with its options and ends with the daemon's exit code", async () => {
    expect(await run(['-qvv', 'a.ini'])).toEqual({
      exitCode: 7,
      stdout: '',
      stderr: '',
      runs: [{ configPath: 'a.ini', quiet: true, verbose: 2 }],
    });
  });

  it('prints the version line first and runs nothing', async () => {
    const { exitCode, stdout, runs } = await run(['-V']);
    expect(exitCode).toBe(0);
    expect(stdout.split('\n')[0]).toBe(VERSION_LINE);
    expect(runs).toEqual([]);
  });

  it('prints help and runs nothing', async () => {
    const { exitCode, stdout, runs } = await run(['-h']);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('Usage: pgweir [OPTION]... CONFIG_FILE');
    expect(runs).toEqual([]);
  });

  it.each([
    [[]],
    [['a', 'b']],
    [['--nope', 'a']],
    [['-d', 'a.ini']],
  ])('refuses %j in one line on stderr with exit code 1', async (argv) => {
    const { exitCode, stdout, stderr, runs } = await run(argv);
    expect(exitCode).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^pgweir: [^\n]+\n$/);
    expect(runs).toEqual([]);
  });

  it('refuses to run as root', async () => {
    const { exitCode, stderr, runs } = await run(['a.ini'], { euid: 0 });
    expect(exitCode).toBe(1);
    expect(stderr).toBe('pgweir: should not run as root (PGWEIR_ALLOW_ROOT=1 allows it)\n');
    expect(runs).toEqual([]);
  });

  it('runs as root when the environment allows it with exactly 1', async () => {
    const allowed = await run(['a.ini'], { euid: 0, env: { PGWEIR_ALLOW_ROOT: '1' } });
    expect(allowed.exitCode).toBe(7);
    const refused = await run(['a.ini'], { euid: 0, env: { PGWEIR_ALLOW_ROOT: '0' } });
    expect(refused.exitCode).toBe(1);
  });
});

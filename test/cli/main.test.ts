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
    env: {},
    setTitle: (title) => {
      runs.push(title);
    },
    runDaemon: async (options) => {
      runs.push(options);
      return 7;
    },
    daemonize: async (...args) => {
      runs.push(args[0]);
      return 5;
    },
    ...environment,
  });
  return { exitCode, stdout, stderr, runs };
}

const foreground = {
  configPath: 'a.ini',
  quiet: false,
  verbose: 0,
  user: null,
  reboot: false,
  startupFd: null,
  allowRoot: false,
};

describe('the command pgweir', () => {
  it("runs the daemon with its options and ends with the daemon's exit code", async () => {
    expect(await run(['-qvv', '-u', 'www', 'a.ini'])).toEqual({
      exitCode: 7,
      stdout: '',
      stderr: '',
      runs: ['pgweir -qvv -u www a.ini', { ...foreground, quiet: true, verbose: 2, user: 'www' }],
    });
  });

  it('with -d runs itself once more, and says there where the report of the start goes', async () => {
    expect(await run(['-d', 'a.ini'])).toMatchObject({ exitCode: 5, runs: [['-d', 'a.ini']] });
    const env: Record<string, string | undefined> = { PGWEIR_STARTUP_FD: '3' };
    const { exitCode, runs } = await run(['-d', 'a.ini'], { env });
    expect({ exitCode, options: runs[1] }).toEqual({
      exitCode: 7,
      options: { ...foreground, quiet: true, startupFd: 3 },
    });
    expect(env).toEqual({});
  });

  it('takes a left-over PGWEIR_STARTUP_FD for nothing without -d', async () => {
    const { runs } = await run(['a.ini'], { env: { PGWEIR_STARTUP_FD: '1' } });
    expect(runs[1]).toEqual(foreground);
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
    [['-u']],
  ])('refuses %j in one line on stderr with exit code 1', async (argv) => {
    const { exitCode, stdout, stderr, runs } = await run(argv);
    expect(exitCode).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^pgweir: [^\n]+\n$/);
    expect(runs).toEqual([]);
  });

  it('may run as root when the environment allows it with exactly 1', async () => {
    for (const [value, allowRoot] of [
      ['1', true],
      ['0', false],
      ['yes', false],
    ] as const) {
      const { runs } = await run(['a.ini'], { env: { PGWEIR_ALLOW_ROOT: value } });
      expect(runs[1]).toEqual({ ...foreground, allowRoot });
    }
  });
});

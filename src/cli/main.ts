import { versionLines } from '../daemon/version.ts';
import { parseArguments, USAGE } from './arguments.ts';

/** Runs the daemon until it ends; resolves with the process's exit code. */
export type RunDaemon = (options: {
  readonly configPath: string;
  readonly quiet: boolean;
  readonly verbose: number;
}) => Promise<number>;

/** What the command line touches outside itself, for tests. */
export interface MainEnvironment {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  /** Effective user id; -1 where there are none. */
  readonly euid: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly runDaemon: RunDaemon;
}

const processEnvironment: MainEnvironment = {
  stdout: (text) => {
    process.stdout.write(text);
  },
  stderr: (text) => {
    process.stderr.write(text);
  },
  euid: process.geteuid?.() ?? -1,
  env: process.env,
  runDaemon: async (options) => {
    // Loaded only when it is to run: `--version` needs none of it.
    const { runDaemon } = await import('../daemon/run.ts');
    return runDaemon(options);
  },
};

/**
 * The command `pgweir`: reads the arguments (program and script already taken off), does what they say, resolves
 * with the exit code: 0, or 1 for bad usage, a refusal, or a daemon that could not start.
 */
export async function main(
  argv: readonly string[],
  environment: MainEnvironment = processEnvironment,
): Promise<number> {
  const { stdout, stderr, euid, env } = environment;
  const command = parseArguments(argv);
  switch (command.kind) {
    case 'help':
      stdout(USAGE);
      return 0;
    case 'version':
      stdout(`${versionLines().join('\n')}\n`);
      return 0;
    case 'error':
      stderr(`pgweir: ${command.message} (see pgweir --help)\n`);
      return 1;
    case 'check': {
      // Loaded only when it is asked for, as the daemon is.
      const { runCheck } = await import('../check/run.ts');
      return runCheck(command, stdout);
    }
    case 'run':
      if (euid === 0 && env.PGWEIR_ALLOW_ROOT !== '1') {
        stderr('pgweir: should not run as root (PGWEIR_ALLOW_ROOT=1 allows it)\n');
        return 1;
      }
      return environment.runDaemon({
        configPath: command.configPath,
        quiet: command.quiet,
        verbose: command.verbose,
      });
  }
}

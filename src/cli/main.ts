import { versionLines } from '../daemon/version.ts';
import type { RunOptions } from '../daemon/run.ts';
import { parseArguments, type RunCommand, USAGE } from './arguments.ts';
import { daemonize, STARTUP_FD_VARIABLE } from './daemonize.ts';

/** What the command line touches outside itself, for tests. */
export interface MainEnvironment {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  readonly env: Record<string, string | undefined>;
  /** Names the process in the system's list. */
  readonly setTitle: (title: string) => void;
  /** Runs the daemon until it ends; resolves with the process's exit code. */
  readonly runDaemon: (options: RunOptions) => Promise<number>;
  /** Starts it in the background; resolves with the exit code once it is known whether that worked. */
  readonly daemonize: typeof daemonize;
}

const processEnvironment: MainEnvironment = {
  stdout: (text) => {
    process.stdout.write(text);
  },
  stderr: (text) => {
    process.stderr.write(text);
  },
  env: process.env,
  setTitle: (title) => {
    process.title = title;
  },
  runDaemon: async (options) => {
    // Loaded only when it is to run: `--version` needs none of it.
    const { runDaemon } = await import('../daemon/run.ts');
    return runDaemon(options);
  },
  daemonize,
};

/**
 * The command `pgweir`: reads the arguments (program and script already taken off), does what they say, resolves
 * with the exit code: 0, or 1 for bad usage, a refusal, or a daemon that could not start.
 */
export async function main(
  argv: readonly string[],
  environment: MainEnvironment = processEnvironment,
): Promise<number> {
  const { stdout, stderr } = environment;
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
    case 'ping': {
      const { ping } = await import('./ping.ts');
      return ping(command.configPath, stdout, stderr);
    }
    case 'run':
      return run(argv, command, environment);
  }
}

async function run(
  argv: readonly string[],
  command: RunCommand,
  environment: MainEnvironment,
): Promise<number> {
  const { env } = environment;
  const startupFd = env[STARTUP_FD_VARIABLE];
  if (command.daemon && startupFd === undefined) return environment.daemonize(argv, environment.stderr);
  delete env[STARTUP_FD_VARIABLE];
  // In place of the interpreter and the script: what PgBouncer's own line in `ps` looks like.
  environment.setTitle(['pgweir', ...argv].join(' '));
  return environment.runDaemon({
    configPath: command.configPath,
    quiet: command.quiet || command.daemon,
    verbose: command.verbose,
    user: command.user,
    reboot: command.reboot,
    startupFd: command.daemon ? Number(startupFd) : null,
    allowRoot: env['PGWEIR_ALLOW_ROOT'] === '1',
  });
}

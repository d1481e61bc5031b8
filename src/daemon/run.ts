import { setFlagsFromString } from 'node:v8';
import { SystemClock } from '../base/clock.ts';
import type { Config } from '../config/config.ts';
import { ConfigError } from '../config/config-error.ts';
import { loadConfig } from '../config/load.ts';
import { openNative } from '../net/native.ts';
import { checkUnixSocketFree, ListenError, unixSocketPath } from '../net/unix-socket.ts';
import { readFdLimit } from './fd-limit.ts';
import { DaemonLog, LogfileError, type LogSettings } from './log.ts';
import { checkPidfile, type Pidfile, PidfileError, writePidfile } from './pidfile.ts';
import { createPooler, type Pooler } from './pooler.ts';
import { installSignals } from './signals.ts';
import { VERSION_LINE } from './version.ts';

/** What the command line says. */
export interface RunOptions {
  readonly configPath: string;
  /** `-q`: no log on stderr. */
  readonly quiet: boolean;
  /** How often `-v` was given. */
  readonly verbose: number;
}

/**
 * The relay is many small functions, which V8 puts together up to these sizes (bytes of bytecode; by default 460 and
 * 920): a tenth of our own share of a transaction.
 */
const INLINING = ['--max-inlined-bytecode-size=1500', '--max-inlined-bytecode-size-cumulative=5000'];

/** Runs the pooler until it ends; resolves with the process's exit code. Order of the checks: contract, §3. */
export async function runDaemon(options: RunOptions): Promise<number> {
  let config: Config;
  try {
    config = loadConfig(options.configPath, null);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const log = new DaemonLog({ logfile: '', quiet: false, verbose: 0, format: 'pgbouncer' });
    log.log('ERROR', error.message);
    log.log('FATAL', 'cannot load config file');
    return 1;
  }
  let log: DaemonLog;
  try {
    log = new DaemonLog(logSettings(config, options));
  } catch (error) {
    if (!(error instanceof LogfileError)) throw error;
    new DaemonLog({ ...logSettings(config, options), logfile: '', quiet: false }).log('FATAL', error.message);
    return 1;
  }
  try {
    return await serve(config, options, log);
  } catch (error) {
    const isSaid =
      error instanceof ListenError || error instanceof PidfileError || error instanceof ConfigError;
    if (!isSaid) throw error;
    log.log('FATAL', error.message);
    return 1;
  } finally {
    log.close();
  }
}

async function serve(config: Config, options: RunOptions, log: DaemonLog): Promise<number> {
  for (const flag of INLINING) setFlagsFromString(flag);
  for (const warning of config.warnings) log.log('WARNING', warning);
  const { settings } = config;
  const { pidfile: pidfilePath, unix_socket_dir, listen_port, max_client_conn } = settings;
  if (unix_socket_dir !== '') await checkUnixSocketFree(unixSocketPath(unix_socket_dir, listen_port));
  if (pidfilePath !== '') checkPidfile(pidfilePath);
  const fdLimit = readFdLimit();
  if (fdLimit !== null) {
    log.log(
      'LOG',
      `kernel file descriptor limit: ${fdLimit.soft} (hard: ${fdLimit.hard}); max_client_conn: ${max_client_conn}, ` +
        `max expected fd use: ${expectedFds(config)}`,
    );
  }
  const native = openNative();
  if (!native.available) {
    log.log('WARNING', `native calls are not available (${native.unavailableReason}): no peer credentials`);
  }
  let pidfile: Pidfile | null = null;
  let pooler: Pooler | null = null;
  let removeSignals = (): void => {};
  try {
    return await new Promise<number>((resolve, reject) => {
      const exit = (code: number): void => {
        pooler?.stop();
        resolve(code);
      };
      const start = async (): Promise<void> => {
        const created = await createPooler({
          config,
          clock: new SystemClock(),
          log,
          native,
          ...(fdLimit === null ? {} : { fdLimit: fdLimit.soft }),
          onConfig: (next) => {
            log.configure(logSettings(next, options));
            log.reopen();
          },
          onExit: () => exit(0),
        });
        pooler = created;
        if (pidfilePath !== '') pidfile = writePidfile(pidfilePath);
        removeSignals = installSignals(signalHandlers(created, log, exit), log);
        log.log(
          'LOG',
          `process up: ${VERSION_LINE}, node ${process.versions.node}, tls: OpenSSL ${process.versions.openssl}`,
        );
      };
      start().catch(reject);
    });
  } finally {
    removeSignals();
    // Read through a call: assigned inside the promise's callback, which the compiler cannot follow.
    release(pooler, pidfile);
  }
}

function release(pooler: Pooler | null, pidfile: Pidfile | null): void {
  pooler?.stop();
  pidfile?.remove();
}

function signalHandlers(
  pooler: Pooler,
  log: DaemonLog,
  exit: (code: number) => void,
): Parameters<typeof installSignals>[0] {
  const ask = (request: Parameters<Pooler['control']['request']>[0]) =>
    void pooler.control.request(request, new AbortController().signal);
  return {
    isShuttingDown: () => pooler.state.shutdown !== 'no',
    isPaused: () => pooler.state.isPaused,
    isSuspended: () => pooler.state.isSuspended,
    reload: () => {
      log.reopen();
      ask({ kind: 'reload' });
    },
    shutdownWaitForClients: () => pooler.shutdown('wait_for_clients'),
    shutdownWaitForServers: () => pooler.shutdown('wait_for_servers'),
    exitNow: exit,
    pause: () => ask({ kind: 'pause', database: null }),
    resume: () => ask({ kind: 'resume', database: null }),
  };
}

function logSettings(config: Config, options: RunOptions): LogSettings {
  return {
    logfile: config.settings.logfile,
    quiet: options.quiet,
    verbose: options.verbose + (config.settings.verbose ?? 0),
    format: config.own.log_format,
  };
}

/** Clients plus the server connections that the configured databases can add up to. */
function expectedFds(config: Config): number {
  const { max_client_conn, default_pool_size, reserve_pool_size } = config.settings;
  let servers = 0;
  for (const entry of config.databases.values()) {
    const size = entry.poolSize ?? default_pool_size;
    // Without a forced user every user in the file may have a pool there.
    const pools = entry.user === null ? Math.max(1, config.userlist.size) : 1;
    servers += pools * (size + (entry.reservePoolSize ?? reserve_pool_size));
  }
  return max_client_conn + servers;
}

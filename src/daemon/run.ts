import { availableParallelism } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import type { ControlRequest } from '../admin/control.ts';
import { SystemClock } from '../base/clock.ts';
import { boundYoungHeap } from '../base/young-heap.ts';
import type { Config } from '../config/config.ts';
import { ConfigError } from '../config/config-error.ts';
import { loadConfig } from '../config/load.ts';
import { secretFileWarnings } from '../config/secret-files.ts';
import { MAX_WORKERS, type Settings, workerCount } from '../config/settings.ts';
import type { PassedSocket } from '../net/listener.ts';
import { type Native, openNative } from '../net/native.ts';
import { checkUnixSocketFree, ListenError, unixSocketPath } from '../net/unix-socket.ts';
import { TlsContexts } from '../tls/contexts.ts';
import { readFdLimit } from './fd-limit.ts';
import { DaemonLog, LogfileError } from './log.ts';
import {
  checkPidfile,
  type Pidfile,
  PidfileError,
  type PidfileSuccessor,
  preparePidfile,
  writePidfile,
} from './pidfile.ts';
import { createPooler, type PoolerOptions, type RunningPooler } from './pooler.ts';
import { nativeWarnings } from './native-warnings.ts';
import { type LogOptions, logSettings, logWays } from './run-log.ts';
import { type SignalHandlers, StartEnded, StartSignals } from './signals.ts';
import { StartupReport } from './startup-report.ts';
import { refuseRoot, switchUser, unreadableFiles, UserError } from './switch-user.ts';
import { ServiceManager, takePassedSockets } from './systemd.ts';
import { Takeover, TakeoverError, type TakeoverHost } from './takeover.ts';
import { createThreadedPooler } from './threads.ts';
import { VERSION_LINE } from './version.ts';
import { areThreadsLeft } from './worker-thread.ts';

/** What the command line says. */
export interface RunOptions extends LogOptions {
  readonly configPath: string;
  /** `-u`, which wins over the setting `user`; null when it was not given. */
  readonly user: string | null;
  /** With `-d`: the descriptor that tells how the start went. Null in the foreground. */
  readonly startupFd: number | null;
  /** `-R`: takes the place of the process that runs. */
  readonly reboot: boolean;
  /** Whether it may run as root. */
  readonly allowRoot: boolean;
}

/**
 * The relay is many small functions, which V8 puts together up to these sizes (bytes of bytecode; by default 460 and
 * 920): a tenth of our own share of a transaction.
 */
const INLINING = ['--max-inlined-bytecode-size=1500', '--max-inlined-bytecode-size-cumulative=5000'];

/** Runs the pooler until it ends; resolves with the process's exit code. Order of the checks: contract, §3. */
export async function runDaemon(options: RunOptions): Promise<number> {
  const startup = options.startupFd === null ? null : new StartupReport(options.startupFd);
  const refuse = (...lines: string[]): number => {
    const log = new DaemonLog({ logfile: '', quiet: false, verbose: 0, format: 'pgbouncer' }, { startup });
    lines.forEach((line, index) => void log.log(index + 1 < lines.length ? 'ERROR' : 'FATAL', line));
    return 1;
  };
  const native = openNative();
  // Before any secret is read.
  native.process.forbidDumps();
  const tls = new TlsContexts();
  let isSwitched = false;
  let config: Config;
  let log: DaemonLog;
  try {
    config = loadConfig(options.configPath, null);
    if (startup !== null && config.settings.pidfile === '') return refuse('-d needs the setting pidfile');
    const user = options.user ?? config.settings.user;
    if (user !== null && user !== '') {
      tls.readAhead(config.settings);
      isSwitched = switchUser(user, native);
    }
    refuseRoot(options.allowRoot);
    // A change of user has allowed them again, where the system is set up so.
    native.process.forbidDumps();
    log = new DaemonLog(logSettings(config, options), { ...logWays(native), startup });
  } catch (error) {
    if (error instanceof ConfigError) return refuse(error.message, 'cannot load config file');
    return refuse(refusalText(error));
  }
  let exitCode: number;
  try {
    exitCode = await serve({ config, options, log, native, tls, isSwitched, startup });
  } catch (error) {
    exitCode = error instanceof StartEnded ? error.exitCode : 1;
    log.log(exitCode === 0 ? 'LOG' : 'FATAL', refusalText(error));
  } finally {
    log.close();
  }
  if (isResolving() || areThreadsLeft()) native.process.exit(exitCode);
  return exitCode;
}

/** A name server has not answered yet, for which Node's end would wait while no signal is heard. */
function isResolving(): boolean {
  return process.getActiveResourcesInfo().some((name) => /^Get(Addr|Name)InfoReqWrap$/.test(name));
}

const REFUSALS = [ListenError, PidfileError, ConfigError, TakeoverError, UserError, LogfileError, StartEnded];

/** Why it does not start; what is not an operator's to deal with is a bug. */
function refusalText(error: unknown): string {
  if (!(error instanceof Error)) return `internal error: ${String(error)}`;
  return REFUSALS.some((kind) => error instanceof kind) ? error.message : `internal error: ${error.stack}`;
}

/** What a start has prepared. */
interface Prepared {
  readonly config: Config;
  readonly options: RunOptions;
  readonly log: DaemonLog;
  readonly native: Native;
  readonly tls: TlsContexts;
  /** It has been root until now. */
  readonly isSwitched: boolean;
  readonly startup: StartupReport | null;
}

async function serve({ config, options, log, native, tls, isSwitched, startup }: Prepared): Promise<number> {
  for (const flag of INLINING) setFlagsFromString(flag);
  for (const warning of [...config.warnings, ...secretFileWarnings(config)]) log.log('WARNING', warning);
  if (isSwitched) for (const warning of unreadableFiles(config)) log.log('WARNING', warning);
  const { settings } = config;
  const passed = takePassedSockets(process.env, process.pid);
  // Before there is anything to undo.
  const signals = new StartSignals(options.reboot);
  const host = { log, ended: signals.ended };
  const takeover = options.reboot ? await beginTakeover(settings, passed, host) : null;
  if (takeover === null) await checkFree(settings, passed);
  const fdLimit = checkFdLimit(config, log);
  for (const warning of nativeWarnings(native)) log.log('WARNING', warning);
  const manager = ServiceManager.take(process.env, process.pid, native.datagram, log);
  const ended = Promise.withResolvers<number>();
  let pooler: RunningPooler | null = null;
  let successor: PidfileSuccessor | null = null;
  let pidfile: Pidfile | null = null;
  try {
    signals.ended.throwIfAborted();
    if (takeover !== null && settings.pidfile !== '') {
      if (!takeover.changesPidfile(settings.pidfile)) checkPidfile(settings.pidfile);
      successor = preparePidfile(settings.pidfile);
    }
    const poolerOptions: PoolerOptions = {
      config,
      clock: new SystemClock(),
      log,
      native,
      tls,
      passed,
      ended: signals.ended,
      ...(takeover === null ? {} : { takesOver: takeover.socket }),
      ...(fdLimit === null ? {} : { fdLimit }),
      onConfig: (next) => log.configure(logSettings(next, options)),
      onReload: (phase) => {
        if (phase === 'begins') manager.reloading();
        else manager.reloaded();
      },
      onStats: (line) => manager.status(line),
      onShutdown: () => manager.stopping(),
      onExit: () => ended.resolve(0),
    };
    const workers = workersFor(config, native, log);
    if (workers === 1) boundYoungHeap();
    pooler = await (workers === 1
      ? createPooler(poolerOptions)
      : createThreadedPooler(poolerOptions, workers));
    manager.watchOver(pooler.beat);
    if (successor !== null) pidfile = successor.put();
    else if (settings.pidfile !== '') pidfile = writePidfile(settings.pidfile);
    const { node, openssl } = process.versions;
    log.log('LOG', `process up: ${VERSION_LINE}, node ${node}, tls: OpenSSL ${openssl}`);
    manager.ready(takeover === null ? null : process.pid);
    await takeover?.shutDownOld();
    signals.handOver(signalHandlers(pooler, log, manager, ended.resolve), log);
    startup?.started();
    return await ended.promise;
  } finally {
    pooler?.stop();
    takeover?.end();
    pidfile?.remove();
    successor?.discard();
    manager.close();
  }
}

/** How many threads are to serve clients. */
function workersFor({ own }: Config, native: Native, log: DaemonLog): number {
  const count = workerCount(own.workers) || Math.min(MAX_WORKERS, availableParallelism());
  const missing = native.missing.get('listen') ?? native.missing.get('io');
  if (count === 1 || missing === undefined) return count;
  log.log('WARNING', `workers: one thread alone serves clients, for want of native calls (${missing})`);
  return 1;
}

/** Nothing may stand in the way of an ordinary start. */
async function checkFree(settings: Settings, passed: readonly PassedSocket[]): Promise<void> {
  const { pidfile, unix_socket_dir, listen_port } = settings;
  if (passed.length === 0 && unix_socket_dir !== '') {
    await checkUnixSocketFree(unixSocketPath(unix_socket_dir, listen_port));
  }
  if (pidfile !== '') checkPidfile(pidfile);
}

async function beginTakeover(
  settings: Settings,
  passed: readonly PassedSocket[],
  host: TakeoverHost,
): Promise<Takeover | null> {
  if (passed.length > 0)
    throw new TakeoverError('-R does not go together with sockets from the service manager');
  const takeover = await Takeover.begin(settings, host);
  host.log.log(
    'LOG',
    takeover === null
      ? 'old process not found, try to continue normally'
      : 'taking over from the running process',
  );
  return takeover;
}

function signalHandlers(
  pooler: RunningPooler,
  log: DaemonLog,
  manager: ServiceManager,
  exit: (code: number) => void,
): SignalHandlers {
  const ask = (request: ControlRequest): void => {
    pooler.control.request(request, new AbortController().signal).catch((error: unknown) => {
      // A bug, which must not end the process.
      log.log('ERROR', `internal error: ${error instanceof Error ? error.stack : String(error)}`);
    });
  };
  return {
    isShuttingDown: () => pooler.standing().shutdown !== 'no',
    isPaused: () => pooler.standing().isPaused,
    isSuspended: () => pooler.standing().isSuspended,
    reload: () => {
      log.reopen();
      ask({ kind: 'reload' });
    },
    shutdownWaitForClients: () => pooler.shutdown('wait_for_clients'),
    shutdownWaitForServers: () => pooler.shutdown('wait_for_servers'),
    exitNow: (code) => {
      manager.stopping();
      // At once: what comes in after the signal is for nobody.
      pooler.stop();
      exit(code);
    },
    pause: () => ask({ kind: 'pause', database: null }),
    resume: () => ask({ kind: 'resume', database: null }),
  };
}

/** Logs the limit of open files, and whether it is too low; returns it, or null when it is unknown. */
function checkFdLimit(config: Config, log: DaemonLog): number | null {
  const limit = readFdLimit();
  if (limit === null) return null;
  const { max_client_conn } = config.settings;
  const expected = expectedFds(config);
  log.log(
    'LOG',
    `kernel file descriptor limit: ${limit.soft} (hard: ${limit.hard}); max_client_conn: ${max_client_conn}, ` +
      `max expected fd use: ${expected}`,
  );
  if (expected > limit.soft) {
    log.log(
      'WARNING',
      'the file descriptor limit is below the expected use: raise it, or lower max_client_conn',
    );
  }
  return limit.soft;
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

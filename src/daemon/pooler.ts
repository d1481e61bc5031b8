import { randomBytes } from 'node:crypto';
import { statsLine, sumPools } from '../admin/averages.ts';
import type { Control, ShutdownMode } from '../admin/control.ts';
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { secretFileWarnings } from '../config/secret-files.ts';
import type { LookupAll } from '../net/dns-cache.ts';
import { type Listeners, type ListenOptions, openListeners, type PassedSocket } from '../net/listener.ts';
import type { ListenerInfo } from '../net/listening-socket.ts';
import type { Native } from '../net/native.ts';
import { beyondNode } from '../net/tcp-options.ts';
import type { SocketFileIdentity } from '../net/unix-socket.ts';
import { LocalBudget } from '../pool/budget.ts';
import type { PreparedTls, TlsContexts } from '../tls/contexts.ts';
import type { CancelElsewhere } from './client-services.ts';
import type { PoolerState } from './context.ts';
import type { LocalControl } from './control.ts';
import { createLoop, type Loop } from './loop.ts';
import { Predecessors } from './predecessors.ts';
import { applyTls, prepareTls, prepareTlsForSet } from './reload.ts';
import { snapshotOf } from './snapshots.ts';
import type { Standing } from './worker-messages.ts';
import { tcpOptions } from './tcp-settings.ts';

/** What a pooler is made from. */
export interface PoolerOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Logger;
  readonly native: Native;
  /** Default: nothing is read ahead. */
  readonly tls?: TlsContexts;
  readonly fdLimit?: number;
  /** Sockets that are open already, in place of those that the configuration names. */
  readonly passed?: readonly PassedSocket[];
  /** Takes the place of the process whose unix socket this is, and shares TCP with it. */
  readonly takesOver?: SocketFileIdentity;
  /** Aborted when the start is ended, with what is thrown then. */
  readonly ended?: AbortSignal;
  /** Asks for the addresses of a host name; default: the system. */
  readonly lookup?: LookupAll;
  /** A new configuration is in force (RELOAD, SET): what lies outside the pooler follows it. */
  readonly onConfig?: (config: Config) => void;
  /** A reload begins, and is over, however it went. */
  readonly onReload?: (phase: 'begins' | 'is over') => void;
  /** A line of statistics, every stats_period. */
  readonly onStats?: (line: string) => void;
  /** A shutdown begins. */
  readonly onShutdown?: () => void;
  /** The pooler has ended: by SHUTDOWN, or a graceful one is complete. */
  readonly onExit: () => void;
}

/** A running pooler, of one thread or several: listeners, clients, pools, console. */
export interface RunningPooler {
  /** Where it listens. */
  readonly addresses: readonly ListenerInfo[];
  readonly control: Control;
  /** What commands have brought about. */
  standing(): Pick<Standing, 'isPaused' | 'isSuspended' | 'shutdown'>;
  /** Resolves when each event loop that serves clients has turned once more, or its thread has ended. Never rejects. */
  readonly beat: () => Promise<unknown>;
  /** Begins a shutdown as the console's SHUTDOWN does. */
  shutdown(mode: ShutdownMode): void;
  /** Cuts every connection and stops listening. Idempotent. */
  stop(): void;
}

/** One whose clients are all served by this thread. */
export interface Pooler extends RunningPooler {
  readonly control: LocalControl;
  readonly state: PoolerState;
  /** Reads the configuration file again; throws ConfigError and changes nothing when it is wrong. */
  reload(): void;
}

/**
 * Puts the parts together and starts to listen. Throws ListenError when it cannot, ConfigError where TLS cannot be had.
 */
export async function createPooler(options: PoolerOptions): Promise<Pooler> {
  const { config, clock, log, native } = options;
  const { settings } = config;
  let nextId = 1;
  let isStopped = false;
  const loop: Loop = createLoop({
    config,
    clock,
    log,
    native,
    budget: new LocalBudget(),
    owner: 'main',
    custody: null,
    nextId: () => nextId++,
    mockSecret: randomBytes(32),
    ...(options.tls === undefined ? {} : { tls: options.tls }),
    ...(options.lookup === undefined ? {} : { lookup: options.lookup }),
    outside: {
      control: null,
      hooks: {
        reload: async () => reload(),
        set: async (next, key) => set(next, key),
        shutdownBegins: () => {
          options.onShutdown?.();
          state.isRetiring = true;
          listeners.retireTcp(() => {
            state.isRetiring = false;
          });
        },
        drained: (last) => {
          log.log('LOG', `${last} connections dropped, exiting`);
          exit();
        },
        exit: () => exit(),
      },
      isUnixReplaced: () => listeners.isUnixReplaced(),
      cancelElsewhere: cancelByProcesses(
        () => listeners.isUnixReplaced(),
        () => predecessors,
      ),
      onStatsPeriod: () => {
        const line = statsLine(sumPools(snapshotOf('stats', state, loop.windows)).average);
        if (state.config.settings.log_stats) log.log('LOG', line);
        options.onStats?.(line);
      },
    },
  });
  const { state } = loop;

  const stop = (): void => {
    if (isStopped) return;
    isStopped = true;
    predecessors.leave();
    listeners.close();
    loop.stop();
  };
  const exit = (): void => {
    options.onShutdown?.();
    stop();
    options.onExit();
  };
  const apply = (next: Config, nextTls: PreparedTls | null): void => {
    loop.apply(next, nextTls);
    listeners.defer(next.settings.tcp_defer_accept > 0);
    warnOfUntuned(next, native, log);
    options.onConfig?.(next);
  };
  const reload = (): void => {
    options.onReload?.('begins');
    try {
      const next = loadConfig(state.config.settings.conffile, state.config);
      const nextTls = prepareTls(state.tls, next);
      for (const warning of [...next.warnings, ...secretFileWarnings(next)]) log.log('WARNING', warning);
      apply(next, nextTls);
    } finally {
      options.onReload?.('is over');
    }
  };
  const set = (next: Config, key: string): string | null => {
    const { tls, notice } = prepareTlsForSet(state.tls, next, key, log);
    apply(next, tls);
    return notice;
  };
  const predecessors = new Predecessors(settings.unix_socket_dir, settings.listen_port, () =>
    log.log('LOG', 'the old process has ended'),
  );
  applyTls(state, prepareTls(state.tls, config));
  const listeners: Listeners = await openListeners(listenOptions(options), loop.accept, log);

  state.listening = () => listeners.bound();
  // Without a unix socket in a folder there is no `-R`.
  if (/^[^@]/.test(settings.unix_socket_dir))
    predecessors.adopt((options.passed ?? []).length === 0, options.takesOver ?? null);
  warnOfUntuned(config, native, log);
  loop.begin();

  return {
    addresses: listeners.addresses,
    control: loop.control,
    state,
    standing: () => state,
    beat: async () => {},
    reload,
    shutdown: (mode) => void loop.control.request({ kind: 'shutdown', mode }, new AbortController().signal),
    stop,
  };
}

/** What of the configuration and the process says where to listen. */
export function listenOptions({
  config,
  native,
  fdLimit,
  passed,
  takesOver,
  ended,
}: PoolerOptions): ListenOptions {
  const { settings } = config;
  return {
    listenAddr: settings.listen_addr,
    listenPort: settings.listen_port,
    unixSocketDir: settings.unix_socket_dir,
    unixSocketMode: settings.unix_socket_mode,
    unixSocketGroup: settings.unix_socket_group,
    backlog: settings.listen_backlog,
    reusePort: settings.so_reuseport,
    deferAccept: settings.tcp_defer_accept > 0,
    native,
    ...(fdLimit === undefined ? {} : { fdLimit }),
    passed: passed ?? [],
    ...(takesOver === undefined ? {} : { replaces: takesOver }),
    ...(ended === undefined ? {} : { ended }),
  };
}

/** Cancel requests that are for a process that has been here before us or is since. */
export function cancelByProcesses(
  isUnixReplaced: () => boolean,
  predecessors: () => Predecessors,
): CancelElsewhere {
  const handedTo = (which: string) => ({
    reason: `cancel request handed to the ${which} process`,
    isKnown: false,
  });
  return async (key, cameBy) => {
    if (!isUnixReplaced()) return (await predecessors().cancel(key)) ? handedTo('old') : null;
    // Whoever has our place knows all that there are. What comes by our unix socket, that one has sent.
    return cameBy === 'tcp' && (await predecessors().cancelAtSuccessor(key)) ? handedTo('new') : null;
  };
}

/** What cannot be asked of the kernel must not be believed to be in force. */
export function warnOfUntuned(config: Config, native: Native, log: Logger): void {
  const names = native.missing.has('options') ? beyondNode(tcpOptions(config)) : [];
  if (names.length > 0)
    log.log('WARNING', `set but without effect, for want of native calls: ${names.join(', ')}`);
}

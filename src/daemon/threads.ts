import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { statsLine, sumPools } from '../admin/averages.ts';
import { configRows } from '../config/show.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { secretFileWarnings } from '../config/secret-files.ts';
import { lookupBy } from '../net/dns-cache.ts';
import { type Listeners, openListeners } from '../net/listener.ts';
import type { ListenerInfo } from '../net/listening-socket.ts';
import type { Native } from '../net/native.ts';
import { socketFd } from '../net/native-sockets.ts';
import { type ConnSocket, RawSocket } from '../net/raw-socket.ts';
import { systemLookup } from '../net/system-lookup.ts';
import { tuneTcp } from '../net/tcp-options.ts';
import { BudgetKeeper } from '../pool/budget-keeper.ts';
import { budgetSizes, Layout } from '../pool/shared-memory.ts';
import { newStatementNaming } from '../prepared/statement.ts';
import { openCancel } from '../server/cancel.ts';
import { type PreparedTls, TICKET_SECRET_BYTES, TlsContexts, type TlsSettings } from '../tls/contexts.ts';
import { forwardCancel } from './client-services.ts';
import type { ShutdownState } from './context.ts';
import { createDns } from './dns.ts';
import { SWEEP_INTERVAL_MS } from './janitor.ts';
import { listenerFds } from './snapshot-sockets.ts';
import { dnsSnapshots, peerPoolSnapshots, peerSnapshots } from './snapshots.ts';
import { Orphans } from './orphans.ts';
import { Peers } from './peers.ts';
import {
  cancelByProcesses,
  listenOptions,
  type PoolerOptions,
  type RunningPooler,
  warnOfUntuned,
} from './pooler.ts';
import { Predecessors } from './predecessors.ts';
import { ProcessControl } from './process-control.ts';
import { prepareTls, prepareTlsForSet } from './reload.ts';
import { SpacedLines } from './spaced-lines.ts';
import { tcpOptions } from './tcp-settings.ts';
import type { MainEnd, WorkerQuestion } from './worker-messages.ts';
import { levelsOf } from './worker-log.ts';
import { WorkerRows } from './worker-rows.ts';
import { newThread } from './worker-thread.ts';
import { Workforce } from './workforce.ts';

/** A pooler of several threads. */
export interface ThreadedPooler extends RunningPooler {
  /** Reads the configuration file again; rejects with ConfigError and changes nothing when it is wrong. */
  reload(): Promise<void>;
  readonly workforce: Workforce;
  readonly keeper: BudgetKeeper;
}

/**
 * A pooler with `count` threads that serve clients, under one limit. The main thread serves nobody: it accepts
 * connections and gives them away, and is what there is one of: configuration, log, console. Throws as `createPooler`. See
 * docs/decisions/0013-threads.md.
 */
export async function createThreadedPooler(options: PoolerOptions, count: number): Promise<ThreadedPooler> {
  const { clock, log, native } = options;
  let { config } = options;
  let isStopped = false;
  let shutdown: ShutdownState = 'no';
  const tls = options.tls ?? new TlsContexts();
  const firstTls = prepareTls(tls, config);
  useTls(firstTls);
  let tlsSettings: TlsSettings = config.settings;
  let tlsTexts = firstTls.texts;
  const mockSecret = randomBytes(32);
  const ticketSecret = randomBytes(TICKET_SECRET_BYTES);
  const naming = newStatementNaming();
  const memory = Layout.make(budgetSizes(count, options.fdLimit ?? 0));
  const keeper: BudgetKeeper = new BudgetKeeper(memory, {
    ring: (owner) => workforce.tellOwner(owner, { kind: 'ring' }),
    closeDescriptor: closeSync,
  });
  const { settings } = config;
  const tune = (socket: ConnSocket): void => tuneTcp(native, socket, tcpOptions(config));

  const state = {
    clock,
    log,
    get config() {
      return config;
    },
  };
  // Servers are the workers'; peers are asked for anew each time.
  const dns = createDns(state, options.lookup ?? systemLookup, () => {});
  const lookup = lookupBy((host, done) => dns.resolve(host, done));
  const peers = new Peers(state, ({ host, port }, ...rest) =>
    openCancel({ host, port, lookup }, ...rest, tune),
  );
  const predecessors = new Predecessors(settings.unix_socket_dir, settings.listen_port, () =>
    log.log('LOG', 'the old process has ended'),
  );
  const elsewhere = cancelByProcesses(
    () => listeners?.isUnixReplaced() === true,
    () => predecessors,
  );

  const answer = (question: WorkerQuestion, from: MainEnd, signal: AbortSignal): unknown => {
    switch (question.kind) {
      case 'command':
        return control.request(question.request, signal);
      case 'snapshot':
        return control.snapshot(question.of);
      case 'cancel':
        return cancel(Buffer.from(question.key), question.cameBy, from);
    }
  };
  const cancel = async (key: Buffer, cameBy: 'tcp' | 'unix', from: MainEnd) => {
    const reason = await workforce.find({ kind: 'cancel', key }, from);
    if (reason !== null) return { reason, isKnown: true };
    return forwardCancel(peers, key, () => elsewhere(key, cameBy));
  };
  const workforce: Workforce = new Workforce({
    log,
    memory,
    batches: native.batch,
    bells: native,
    published: (owner, number) => keeper.published(owner, number),
    start: () => ({ config, tlsSettings, tlsTexts, mockSecret, ticketSecret, naming, levels: levelsOf(log) }),
    newThread,
    answer,
    drained: (last) => {
      if (orphans.areEnding) return;
      log.log('LOG', `${last} connections dropped, exiting`);
      exit();
    },
    leftBehind: () => orphans.endAll(),
    bury: async (owner) => {
      await keeper.reclaim(owner);
      orphans.endAll();
    },
  });
  const workerRows = new WorkerRows(clock, keeper, () => workforce.lives);
  const orphans = new Orphans(keeper, () => {
    const { server_close_timeout, server_cancel_timeout } = config.own;
    const patienceMs = (server_close_timeout + server_cancel_timeout) * 1000;
    return { log, native, tls: tls.server, tune, patienceMs };
  });

  /** What one thread could not do must not end the others. */
  const fault = (error: unknown): void => {
    log.log('ERROR', `internal error: ${error instanceof Error ? error.stack : String(error)}`);
  };
  const guard = (call: () => void): void => {
    try {
      call();
    } catch (error) {
      fault(error);
    }
  };
  const stop = (): void => {
    if (isStopped) return;
    isStopped = true;
    clearInterval(sweeper);
    predecessors.leave();
    listeners?.close();
    workforce.stop();
    peers.stop();
  };
  const exit = (): void => {
    options.onShutdown?.();
    stop();
    options.onExit();
  };
  function useTls({ warnings, ...prepared }: PreparedTls): void {
    for (const warning of warnings) log.log('WARNING', warning);
    tls.use({ ...prepared, warnings });
  }
  const apply = (next: Config, nextTls: PreparedTls | null): void => {
    config = next;
    if (nextTls !== null) {
      useTls(nextTls);
      tlsSettings = next.settings;
      tlsTexts = nextTls.texts;
    }
    peers.update(next);
    listeners?.defer(next.settings.tcp_defer_accept > 0);
    warnOfUntuned(next, native, log);
    options.onConfig?.(next);
    workforce.tell({ kind: 'levels', levels: levelsOf(log) });
    workforce.apply(next, nextTls === null ? null : nextTls.texts);
  };
  const reload = async (): Promise<void> => {
    options.onReload?.('begins');
    try {
      const next = loadConfig(config.settings.conffile, config);
      const nextTls = prepareTls(tls, next);
      for (const warning of [...next.warnings, ...secretFileWarnings(next)]) log.log('WARNING', warning);
      apply(next, nextTls);
      await workforce.heard();
    } finally {
      options.onReload?.('is over');
    }
  };
  const reportStats = async (): Promise<void> => {
    const line = statsLine(sumPools(await control.snapshot('stats')).average);
    if (config.settings.log_stats) log.log('LOG', line);
    options.onStats?.(line);
  };
  const control: ProcessControl = new ProcessControl({
    log,
    config: () => config,
    command: (request, signal) => workforce.command(request, signal),
    serverCount: (database) => keeper.count('server', database === null ? {} : { database }),
    isPaused: (database) => workforce.isPaused(database),
    snapshots: (kind) => workforce.snapshots(kind),
    isSuspended: () => workforce.isSuspended,
    pausedInPart: () => workforce.pausedInPart,
    heard: () => workforce.heard(),
    own: () => ({
      config: configRows(config),
      peers: peerSnapshots(config),
      peerPools: peerPoolSnapshots(peers),
      fds: listenerFds(listeners?.bound() ?? []),
      dnsHosts: dnsSnapshots(dns),
      workers: workerRows.all(),
    }),
    reload,
    set: async (next, key) => {
      const prepared = prepareTlsForSet(tls, next, key, log);
      apply(next, prepared.tls);
      await workforce.heard();
      return prepared.notice;
    },
    shutdownBegins: (mode) => {
      // Which decides about those whose login is under way.
      if (listeners?.isUnixReplaced() === true) workforce.tell({ kind: 'unix replaced' });
      if (shutdown === 'no') {
        options.onShutdown?.();
        listeners?.retireTcp(() => workforce.tell({ kind: 'retired' }));
      }
      shutdown = mode;
    },
    exit,
  });

  const lost = new SpacedLines(clock, log);
  const accept = (socket: ConnSocket, listener: ListenerInfo): void => {
    const { remoteAddress: ip, remotePort: port } = socket;
    const fd = descriptorOf(socket, native);
    if (fd === null) {
      lost.write('ERROR', 'cannot hand a connection over: no descriptor is left');
      return;
    }
    workforce.give({
      fd,
      peer: ip === undefined || port === undefined ? null : { ip, port },
      listener,
      isUnixReplaced: listeners?.isUnixReplaced() === true,
    });
  };
  let listeners: Listeners | null = null;
  try {
    await workforce.start(count);
    listeners = await openListeners(listenOptions(options), accept, log);
  } catch (error) {
    workforce.stop();
    throw error;
  }
  // Without a unix socket in a folder there is no `-R`.
  if (/^[^@]/.test(settings.unix_socket_dir))
    predecessors.adopt((options.passed ?? []).length === 0, options.takesOver ?? null);
  warnOfUntuned(config, native, log);
  let periodStartMs = clock.nowMs();
  const sweeper = setInterval(() => {
    const nowMs = clock.nowMs();
    guard(() => peers.sweep(nowMs));
    if (nowMs - periodStartMs < config.settings.stats_period * 1000) return;
    periodStartMs = nowMs;
    guard(() => workerRows.turn());
    reportStats().catch(fault);
  }, SWEEP_INTERVAL_MS);

  return {
    workforce,
    keeper,
    addresses: listeners.addresses,
    control,
    // Of what has been asked for, too, for a signal may follow another at once.
    standing: () => ({
      ...workforce.standing,
      isPaused: workforce.isPaused(null),
      isSuspended: workforce.isSuspended,
      shutdown,
    }),
    beat: () => workforce.beat(),
    reload,
    shutdown: (mode) =>
      void control.request({ kind: 'shutdown', mode }, new AbortController().signal).catch(fault),
    stop,
  };
}

/** For a worker, which makes a socket of its own around it; the connection stays as it is. Null: there is none left. */
function descriptorOf(socket: ConnSocket, native: Native): number | null {
  if (socket instanceof RawSocket) return socket.release();
  const fd = native.listen.duplicate(socketFd(socket));
  socket.destroy();
  return fd;
}

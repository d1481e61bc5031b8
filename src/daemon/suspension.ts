import { ADMIN_DATABASE } from '../admin/access.ts';
import type { ClientConnection } from '../client/connection.ts';
import { LoginPhase } from '../client/login.ts';
import { ClientSession } from '../client/session.ts';
import type { ServerConnection } from '../server/connection.ts';
import { sweepClosing } from '../pool/sweep.ts';
import { fatal } from '../wire/pg-error.ts';
import type { CurrentSuspension, PoolerState } from './context.ts';
import { serversOf } from './snapshot-sockets.ts';

/**
 * SUSPEND: from its beginning on nobody is given a server and no login goes on; every connection is read up to where
 * no message is half way and nothing waits to be sent, and not beyond. Consoles, cancel requests and new connections up
 * to their StartupMessage go on; what has been told goodbye is let go. Source: PgBouncer's SUSPEND, `suspend_timeout`.
 */
export class Suspension {
  readonly #state: PoolerState;
  #startMs = 0;
  /** Stops listening for the end of the console that asked. */
  #forget: () => void = () => {};

  constructor(state: PoolerState) {
    this.#state = state;
  }

  /** Begins; it ends by {@link end}, at the latest when `signal` says that the console that asked is gone. */
  begin(signal: AbortSignal, attempt: number | null): CurrentSuspension {
    const state = this.#state;
    const suspension = { ...Promise.withResolvers<void>(), attempt };
    state.suspension = suspension;
    this.#startMs = state.clock.nowMs();
    const onGone = (): void => {
      state.log.log('LOG', 'admin disconnected when suspended, doing RESUME');
      this.end();
    };
    signal.addEventListener('abort', onGone, { once: true });
    this.#forget = () => signal.removeEventListener('abort', onGone);
    this.#suspendAll();
    return suspension;
  }

  /** Every connection has come to rest. */
  isComplete(): boolean {
    return this.#restless().next().done === true;
  }

  /** In place of the janitor's pass, whose time limits rest: goodbyes, those who came since, and `suspend_timeout`. */
  sweep(): void {
    const { clock, config, connections, pools } = this.#state;
    const nowMs = clock.nowMs();
    for (const connection of connections) {
      // A console that isn't read would not be seen to leave.
      if (connection.isClosing || connection.database === ADMIN_DATABASE) connection.sweep(nowMs);
      else if (connection.visit !== null) connection.countHidden();
    }
    if (!this.#state.isSuspended) return;
    for (const pool of pools.all()) sweepClosing(pool, nowMs);
    this.#suspendAll();
    const timeoutMs = config.settings.suspend_timeout * 1000;
    if (timeoutMs === 0 || nowMs - this.#startMs <= timeoutMs) return;
    const text = 'suspend_timeout';
    for (const each of [...this.#restless()]) {
      if (each.kind === 'client') each.client.fail(fatal(text));
      else each.server.pool.closeLinked(each.server, text, text);
    }
  }

  /** RESUME: everything is read on, and whoever waits is served. Nothing happens when it is not suspended. */
  end(): void {
    const state = this.#state;
    const { suspension } = state;
    if (suspension === null) return;
    this.#forget();
    this.#forget = () => {};
    state.suspension = null;
    const nowMs = state.clock.nowMs();
    for (const connection of state.connections) {
      connection.resumed(this.#startMs);
      connection.conn.wake();
    }
    for (const server of serversOf(state)) {
      server.resumed(this.#startMs, nowMs);
      server.conn.wake();
    }
    for (const pool of state.pools.all()) {
      if (pool.welcome !== null) pool.introduce(pool.welcome);
      pool.service();
    }
    suspension.resolve();
  }

  #suspendAll(): void {
    for (const client of this.#clients()) {
      // Before a login has ended, what has come of a message is ours alone.
      client.conn.suspend(() => !(client.phase instanceof ClientSession) || client.phase.atBoundary);
    }
    for (const server of this.#servers()) server.conn.suspend(() => server.sinkAtBoundary);
  }

  *#restless(): Generator<
    | { readonly kind: 'client'; readonly client: ClientConnection }
    | { readonly kind: 'server'; readonly server: ServerConnection }
  > {
    for (const client of this.#clients()) {
      if (!isAtRest(client)) yield { kind: 'client', client };
    }
    for (const server of this.#servers()) if (!isAtRest(server)) yield { kind: 'server', server };
  }

  *#clients(): Generator<ClientConnection> {
    for (const client of this.#state.connections) {
      const { phase } = client;
      if (client.isClosing || client.database === ADMIN_DATABASE) continue;
      if (phase instanceof ClientSession || phase instanceof LoginPhase) yield client;
    }
  }

  *#servers(): Generator<ServerConnection> {
    for (const server of serversOf(this.#state)) if (server.state !== 'closing') yield server;
  }
}

/** A connection that is still being made has nothing to send but its first packet. */
function isAtRest({ conn }: ClientConnection | ServerConnection): boolean {
  return conn.isSuspended && (conn.pendingBytes === 0 || conn.socket.connecting);
}

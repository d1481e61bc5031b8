import {
  type Control,
  type ControlReply,
  type ControlRequest,
  controlFailure,
  controlOk,
  type ShutdownMode,
} from '../admin/control.ts';
import type { SnapshotKind, Snapshots } from '../admin/snapshot.ts';
import type { Pool } from '../pool/pool.ts';
import { fatal } from '../wire/pg-error.ts';
import { type ConfigHooks, commandReload, commandSet } from './config-commands.ts';
import type { PoolerState } from './context.ts';
import type { DatabaseState } from './databases.ts';
import { snapshotOf, type StatsWindows } from './snapshots.ts';
import { Suspension } from './suspension.ts';

/** What commands do beyond the state they all share. */
export interface ControlHooks extends ConfigHooks {
  /** A graceful shutdown begins: stop accepting over TCP. `isRetiring` is kept until nobody comes any more. */
  shutdownBegins(): void;
  /** A graceful shutdown has nothing to wait for any more: the last of these is gone. May be told again and again. */
  drained(last: 'server' | 'client'): void;
  /** The process is to end now. */
  exit(): void;
}

/** A command that waits. */
interface Waiter {
  /** Its answer, once there is one. */
  readonly outcome: () => ControlReply | null;
  readonly resolve: (reply: ControlReply) => void;
}

/** Carries out the console's commands (and the signals') on this process's one event loop. */
export class LocalControl implements Control {
  readonly suspension: Suspension;
  readonly #state: PoolerState;
  readonly #windows: StatsWindows;
  readonly #hooks: ControlHooks;
  readonly #waiters = new Set<Waiter>();

  constructor(state: PoolerState, windows: StatsWindows, hooks: ControlHooks) {
    this.#state = state;
    this.#windows = windows;
    this.#hooks = hooks;
    this.suspension = new Suspension(state);
  }

  async request(request: ControlRequest, signal: AbortSignal): Promise<ControlReply> {
    switch (request.kind) {
      case 'reload':
        return commandReload(this.#hooks, this.#state.log);
      case 'pause':
        return request.database === null ? this.#pauseAll(signal) : this.#pause(request.database, signal);
      case 'suspend':
        return this.suspend(signal);
      case 'resume':
        return request.database === null ? this.#resumeAll() : this.#resume(request.database);
      case 'disable':
        return this.#setDisabled(this.#state.databases.resolve(request.database), request);
      case 'enable':
        // An unknown one was never disabled: `*` makes none for this.
        return this.#setDisabled(this.#state.databases.get(request.database), request);
      case 'reconnect':
        return this.#eachDatabase(request.database, (pool) => pool.markAllCloseNeeded(false));
      case 'kill':
        return this.#kill(request.database);
      case 'killClient':
        return this.#killClient(request.id);
      case 'waitClose':
        return this.#waitClose(request.database, signal);
      case 'shutdown':
        return this.#shutdown(request.mode);
      case 'set':
        return commandSet(this.#hooks, this.#state.config, request);
    }
  }

  async snapshot<K extends SnapshotKind>(kind: K): Promise<Snapshots[K]> {
    return snapshotOf(kind, this.#state, this.#windows);
  }

  /** `attempt`: see {@link endSuspension}. */
  suspend(signal: AbortSignal, attempt: number | null = null): ControlReply | Promise<ControlReply> {
    const state = this.#state;
    if (state.shutdown !== 'no') return controlFailure.shuttingDown();
    if (this.#isHalted) return controlFailure.alreadyPaused();
    if (state.databases.all().some(({ paused }) => paused)) return controlFailure.pausedDatabases();
    const suspension = this.suspension.begin(signal, attempt);
    return this.#wait(() => {
      if (state.suspension !== suspension) return controlFailure.canceled();
      return this.suspension.isComplete() ? controlOk : null;
    }, signal);
  }

  /** Ends a SUSPEND that has failed elsewhere; nothing happens where it has here, too, or another one is in force. */
  endSuspension(attempt: number): ControlReply {
    if (this.#state.suspension?.attempt === attempt) {
      this.#state.log.log('LOG', 'SUSPEND has failed in another thread, doing RESUME');
      this.suspension.end();
      this.checkProgress();
    }
    return controlOk;
  }

  /** KILL of those of these databases that are not paused yet: it was of all, and others knew more of them. */
  killUnpaused(names: readonly string[]): ControlReply {
    const { databases } = this.#state;
    for (const name of names) if (databases.resolve(name)?.paused === false) this.#killKnown(name);
    return controlOk;
  }

  get #isHalted(): boolean {
    return this.#state.isPaused || this.#state.isSuspended;
  }

  /** Looks whether delayed commands are complete, and whether a graceful shutdown is. Called at every change. */
  checkProgress(): void {
    for (const waiter of this.#waiters) {
      const reply = waiter.outcome();
      if (reply === null) continue;
      this.#waiters.delete(waiter);
      waiter.resolve(reply);
    }
    const { shutdown, connections, budget, pools, isRetiring } = this.#state;
    if (isRetiring) return;
    if (shutdown === 'wait_for_servers' && budget.count('server') === 0) this.#hooks.drained('server');
    if (shutdown !== 'wait_for_clients' || connections.size > 0) return;
    // What the last client has left running would run on, with nobody there to cancel it.
    const isLeft = ({ servers }: Pool): boolean => servers.being_canceled.length + servers.closing.length > 0;
    if (!pools.all().some(isLeft)) this.#hooks.drained('client');
  }

  #pauseAll(signal: AbortSignal): ControlReply | Promise<ControlReply> {
    if (this.#isHalted) return controlFailure.alreadyPaused();
    this.#state.isPaused = true;
    this.#state.applyPause();
    return this.#wait(() => {
      if (!this.#state.isPaused) return controlFailure.canceled();
      return this.#state.pools.all().every(isDrained) ? controlOk : null;
    }, signal);
  }

  #pause(name: string, signal: AbortSignal): ControlReply | Promise<ControlReply> {
    const database = this.#state.databases.resolve(name);
    if (database === null) return controlFailure.noSuchDatabase(name);
    if (this.#isHalted) return controlFailure.alreadyPaused();
    database.paused = true;
    this.#state.applyPause();
    return this.#wait(() => {
      if (!database.paused) return controlFailure.canceled();
      return this.#state.pools.all(name).every(isDrained) ? controlOk : null;
    }, signal);
  }

  #resumeAll(): ControlReply {
    if (this.#state.shutdown !== 'no') return controlFailure.shuttingDown();
    if (!this.#isHalted) return controlFailure.notPaused();
    this.suspension.end();
    this.#state.isPaused = false;
    this.#state.applyPause();
    // A PAUSE that still waits has come to nothing.
    this.checkProgress();
    return controlOk;
  }

  #resume(name: string): ControlReply {
    const database = this.#state.databases.get(name);
    if (database === null) return controlFailure.noSuchDatabase(name);
    if (!database.paused) return controlFailure.databaseNotPaused(name);
    database.paused = false;
    this.#state.applyPause();
    this.checkProgress();
    return controlOk;
  }

  #setDisabled(
    database: DatabaseState | null,
    request: { readonly kind: 'disable' | 'enable'; readonly database: string },
  ): ControlReply {
    if (database === null) return controlFailure.noSuchDatabase(request.database);
    database.disabled = request.kind === 'disable';
    return controlOk;
  }

  #eachDatabase(name: string | null, act: (pool: Pool) => void): ControlReply {
    if (name !== null && this.#state.databases.resolve(name) === null)
      return controlFailure.noSuchDatabase(name);
    for (const pool of this.#state.pools.all(name ?? undefined)) act(pool);
    return controlOk;
  }

  /** The database is paused, then its clients and servers are closed and its pools forgotten. */
  #kill(name: string | null): ControlReply {
    const { databases } = this.#state;
    if (this.#isHalted) return controlFailure.alreadyPaused();
    if (name !== null && databases.resolve(name) === null) return controlFailure.noSuchDatabase(name);
    this.#killKnown(name);
    return controlOk;
  }

  #killKnown(name: string | null): void {
    for (const database of this.#state.databases.all()) {
      // Those that strangers have made up would be real from here on, and stay.
      if (name === null ? !database.isProbed : database.entry.name === name) database.paused = true;
    }
    for (const pool of this.#state.pools.all(name ?? undefined))
      killPool(this.#state, pool, 'database removed');
    this.#state.applyPause();
  }

  #killClient(id: number): ControlReply {
    // Those of SHOW CLIENTS: consoles, too, but nobody who is still to prove who it is.
    for (const connection of this.#state.connections) {
      if (connection.id !== id || !connection.isLoggedIn || connection.isClosing) continue;
      connection.fail(fatal('admin forced disconnect'));
      return controlOk;
    }
    return controlFailure.clientNotFound();
  }

  #waitClose(name: string | null, signal: AbortSignal): ControlReply | Promise<ControlReply> {
    if (name !== null && this.#state.databases.resolve(name) === null)
      return controlFailure.noSuchDatabase(name);
    return this.#wait(
      () => (this.#state.pools.all(name ?? undefined).every(hasNoCloseNeeded) ? controlOk : null),
      signal,
    );
  }

  #shutdown(mode: ShutdownMode): ControlReply {
    const state = this.#state;
    if (mode === 'immediate') {
      this.#hooks.exit();
      return controlOk;
    }
    // One under way may be made to wait for servers alone. There is no way back: clients have been refused since.
    if (state.shutdown === mode || state.shutdown === 'wait_for_servers') return controlOk;
    // Nothing that is to be waited for would move.
    this.suspension.end();
    state.shutdown = mode;
    this.#hooks.shutdownBegins();
    if (mode === 'wait_for_servers') {
      state.isPaused = true;
      state.applyPause();
      for (const pool of state.pools.all()) {
        for (const client of pool.clients.allWaiting()) client.refused(fatal('server shutting down'));
      }
    }
    // After the answer to the console is on its way.
    setImmediate(() => this.checkProgress());
    return controlOk;
  }

  #wait(outcome: Waiter['outcome'], signal: AbortSignal): ControlReply | Promise<ControlReply> {
    const reply = outcome();
    if (reply !== null) return reply;
    return new Promise((resolve) => {
      const abandon = (): void => {
        this.#waiters.delete(waiter);
        resolve(controlOk);
      };
      const waiter: Waiter = {
        outcome,
        resolve: (answer) => {
          // A console lives on and waits again: its signal would gather listeners.
          signal.removeEventListener('abort', abandon);
          resolve(answer);
        },
      };
      this.#waiters.add(waiter);
      signal.addEventListener('abort', abandon, { once: true });
    });
  }
}

/** Closes everything in a pool; clients are told `text`. The pool goes with its last server connection. */
export function killPool(state: PoolerState, pool: Pool, text: string): void {
  state.doomedPools.add(pool);
  // From here on nobody is given a server; those who wait go first, so that none slips in where one leaves.
  pool.setPaused(true, text);
  for (const client of [...pool.clients.allWaiting(), ...pool.clients.active]) {
    client.refused(fatal(text));
  }
  const { servers } = pool;
  for (const list of [
    servers.active,
    servers.dedicated,
    servers.idle,
    servers.used,
    servers.tested,
    servers.being_canceled,
    servers.new,
  ]) {
    for (const server of [...list]) pool.closeServer(server, text);
  }
  // The next login may lead to another server.
  pool.markAllCloseNeeded(true);
}

/** No server connection is in use or on its way out: PostgreSQL may be stopped. */
function isDrained(pool: Pool): boolean {
  const { active, dedicated, tested, being_canceled, closing } = pool.servers;
  return [active, dedicated, tested, being_canceled, closing].every((list) => list.length === 0);
}

function hasNoCloseNeeded(pool: Pool): boolean {
  const { active, tested, being_canceled } = pool.servers;
  for (const list of [active, tested, being_canceled]) {
    for (const server of list) if (server.closeNeeded) return false;
  }
  return true;
}

import { SqlState } from '../wire/pg-error.ts';
import type { SnapshotKind, Snapshots } from './snapshot.ts';

/** How SHUTDOWN ends the process: at once, when no server connection is left, or when no client is left. */
export type ShutdownMode = 'immediate' | 'wait_for_servers' | 'wait_for_clients';

/**
 * A command of the console as plain data, so that it can go to other threads. `database` null means all of
 * them. The console has already refused its own database and missing arguments.
 */
export type ControlRequest =
  | { readonly kind: 'reload' }
  | { readonly kind: 'pause'; readonly database: string | null }
  | { readonly kind: 'suspend' }
  | { readonly kind: 'resume'; readonly database: string | null }
  | { readonly kind: 'disable'; readonly database: string }
  | { readonly kind: 'enable'; readonly database: string }
  | { readonly kind: 'reconnect'; readonly database: string | null }
  | { readonly kind: 'kill'; readonly database: string | null }
  | { readonly kind: 'killClient'; readonly id: number }
  | { readonly kind: 'waitClose'; readonly database: string | null }
  | { readonly kind: 'shutdown'; readonly mode: ShutdownMode }
  | { readonly kind: 'set'; readonly key: string; readonly value: string };

/**
 * What became of a command. `notice` is told to the console's user before the command's tag; `detail` says more
 * about an error, in a field of its own.
 */
export type ControlReply =
  | { readonly ok: true; readonly notice?: string | null }
  | { readonly ok: false; readonly error: string; readonly sqlstate?: string; readonly detail?: string };

/** The process as the console sees it; the daemon implements it, over one thread or several. */
export interface Control {
  /**
   * Carries a command out. PAUSE, SUSPEND and WAIT_CLOSE resolve only when they are complete. `signal` aborts
   * when the client that asked is gone: the wait ends then, by a rejection or any reply, and what the command
   * has begun stays as it is (except SUSPEND, which is taken back).
   */
  request(request: ControlRequest, signal: AbortSignal): Promise<ControlReply>;
  /** A consistent copy of the given kind of facts as of now. */
  snapshot<K extends SnapshotKind>(kind: K): Promise<Snapshots[K]>;
}

/** The success without anything to add. */
export const controlOk: ControlReply = Object.freeze({ ok: true });

function failure(
  error: string,
  sqlstate: string = SqlState.protocolViolation,
  detail?: string,
): ControlReply {
  return { ok: false, error, sqlstate, ...(detail !== undefined && { detail }) };
}

/** The failures that the console knows, with PgBouncer's texts where it has them. */
export const controlFailure = {
  noSuchDatabase: (name: string): ControlReply => failure(`no such database: ${name}`),
  alreadyPaused: (): ControlReply => failure('already suspended/paused'),
  pausedDatabases: (): ControlReply => failure('cannot suspend with paused databases'),
  notPaused: (): ControlReply => failure('pooler is not paused/suspended'),
  shuttingDown: (): ControlReply => failure('pooler is shutting down'),
  databaseNotPaused: (name: string): ControlReply => failure(`database ${name} is not paused`),
  /** A PAUSE that was ended, by RESUME or a cancel request, before it was complete; PostgreSQL's text. */
  canceled: (): ControlReply => failure('canceling statement due to user request', SqlState.queryCanceled),
  clientNotFound: (): ControlReply => failure('client not found'),
  setFailed: (why?: string): ControlReply => failure('SET failed', SqlState.protocolViolation, why),
  reloadFailed: (why?: string): ControlReply =>
    failure('RELOAD failed, see logs for additional details', SqlState.configFileError, why),
} as const;

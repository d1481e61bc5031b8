/**
 * What the main thread and its workers say to each other: plain data. Both sides carry out commands and give snapshots
 * for the other one: a worker does so for its own loop, the main thread for the whole process.
 */
import type { ControlReply, ControlRequest } from '../admin/control.ts';
import type { LogLevel } from '../base/log.ts';
import type { SnapshotKind } from '../admin/snapshot.ts';
import type { Config } from '../config/config.ts';
import type { PeerAddress } from '../net/address.ts';
import type { MovedServer } from '../pool/moved-server.ts';
import type { Grant } from '../pool/budget.ts';
import type { YieldRequest } from '../pool/room-for-others.ts';
import type { SharedMemory } from '../pool/shared-memory.ts';
import type { StatementNaming } from '../prepared/statement.ts';
import type { TlsSettings } from '../tls/contexts.ts';
import type { TlsTexts } from '../tls/material.ts';
import type { ShutdownState } from './context.ts';
import type { Correspondence, Lasting } from './correspondence.ts';
import type { LoginReport, PoolName } from './login-board.ts';

/** What a worker is to carry out: what the process was asked, or what follows from what came of that in other threads. */
export type WorkerCommand =
  | Exclude<ControlRequest, { kind: 'suspend' }>
  /** `attempt`: which SUSPEND of the process it is. */
  | { readonly kind: 'suspend'; readonly attempt: number }
  /** Not all could carry that one out, so none is to. */
  | { readonly kind: 'end suspension'; readonly attempt: number }
  /** KILL of all has found these in some threads alone, for they were made from `*` there. */
  | { readonly kind: 'kill too'; readonly databases: readonly string[] };

/** What commands have brought about, for a worker that begins later. */
export interface Standing {
  /** Number of the last one of them. */
  readonly command: number;
  readonly isPaused: boolean;
  readonly isSuspended: boolean;
  /** Which SUSPEND it is that is in force. */
  readonly attempt: number | null;
  readonly pausedDatabases: readonly string[];
  readonly disabledDatabases: readonly string[];
  readonly shutdown: ShutdownState;
}

/** What a worker begins with. */
export interface WorkerStart {
  /** Its number in the budget, from 0 on. */
  readonly owner: number;
  /** All of them, its own too. */
  readonly owners: readonly number[];
  /** How statements are named: the same in all threads. */
  readonly naming: StatementNaming;
  readonly config: Config;
  /** Settings whose TLS is in force; those of `config` may be others, which could not be followed. */
  readonly tlsSettings: TlsSettings;
  /** The files that they name. */
  readonly tlsTexts: TlsTexts;
  /** See `LoopOptions`. */
  readonly mockSecret: Uint8Array;
  /** See `TlsContexts`. */
  readonly ticketSecret: Uint8Array;
  /** The budget of all loops. */
  readonly memory: SharedMemory;
  readonly standing: Standing;
  /** See `Workforce`. */
  readonly era: number;
  /** What its reads and writes are batched in; null: in nothing. */
  readonly batchContext: number | null;
  /** Connections for it: see `ConnectionRing`. */
  readonly connections: SharedArrayBuffer;
  /** Is rung when there is one. */
  readonly bell: number;
  /** The levels below LOG that are written. */
  readonly levels: readonly LogLevel[];
}

/** Of either side: answered by that kind's records. */
type Common = { readonly kind: 'snapshot'; readonly of: SnapshotKind };

/**
 * Of the main thread to a worker. `beat`: whatever, but soon. `command`, which is the `number`th one of the process: a ControlReply. `cancel`: the log
 * text, or null when the key is none of its clients'.
 */
export type MainQuestion =
  | Common
  | { readonly kind: 'beat' }
  | {
      readonly kind: 'command';
      readonly request: WorkerCommand;
      readonly number: number;
      readonly era: number;
    }
  | { readonly kind: 'cancel'; readonly key: Uint8Array };

/** Of a worker to the main thread. `command`: a ControlReply. `cancel`: a CancelOutcome, or null. */
export type WorkerQuestion =
  | Common
  | { readonly kind: 'command'; readonly request: ControlRequest }
  | { readonly kind: 'cancel'; readonly key: Uint8Array; readonly cameBy: PeerAddress['kind'] };

export type MainNotice =
  /** There are connections in the ring, of a worker that does not hear its bell. */
  | { readonly kind: 'connections' }
  /** `tls` null: what was in force stays so. */
  | { readonly kind: 'apply'; readonly era: number; readonly config: Config; readonly tls: TlsTexts | null }
  /** A server connection whose grant is the worker's; its descriptor is in custody. */
  | { readonly kind: 'server'; readonly moved: MovedServer }
  /** Another thread lacks a server of this pool. */
  | { readonly kind: 'offer'; readonly pool: PoolName; readonly mayClose: boolean }
  /** What another worker knows of logins to servers. */
  | { readonly kind: 'logins'; readonly report: LoginReport }
  /** What is known of them here is to be told again: of one pool, or (null) of all. */
  | { readonly kind: 'tell logins'; readonly of: PoolName | null }
  /** Something was freed that clients here may wait for. */
  | { readonly kind: 'ring' }
  /** Another thread lacks a server connection: an idle one is to be given up. */
  | { readonly kind: 'yield'; readonly request: YieldRequest }
  /** Another thread has made room for clients that wait here: the grant of what it has closed is the worker's. */
  | { readonly kind: 'room'; readonly grant: Grant }
  | { readonly kind: 'levels'; readonly levels: readonly LogLevel[] }
  /** Another process's unix socket stands where ours did. */
  | { readonly kind: 'unix replaced' }
  /** A graceful shutdown: no connection comes any more. */
  | { readonly kind: 'retired' };

export type WorkerNotice =
  /** `hearsBell`: it watches its bell; else it has to be told. */
  | { readonly kind: 'ready'; readonly hearsBell: boolean }
  | { readonly kind: 'log'; readonly lines: readonly (readonly [LogLevel, string])[] }
  | { readonly kind: 'standing'; readonly standing: Standing }
  /** For all other workers, as of this era. */
  | { readonly kind: 'logins'; readonly era: number; readonly report: LoginReport }
  /** For another worker. */
  | {
      readonly kind: 'pass on';
      readonly owner: number;
      readonly notice: Extract<MainNotice, { kind: 'ring' | 'yield' | 'room' | 'server' | 'offer' }>;
    }
  /** A server connection has become the keeper's. */
  | { readonly kind: 'left behind' }
  /** A graceful shutdown has nothing to wait for here, after so many connections: the last of these is gone. */
  | { readonly kind: 'drained'; readonly last: 'server' | 'client'; readonly taken: number };

/** A SUSPEND ends with the console that asked for it, also when it is complete. */
export const lasts: Lasting = (question, answer) => {
  const { kind, request } = question as MainQuestion & { request?: WorkerCommand };
  return kind === 'command' && request?.kind === 'suspend' && (answer as ControlReply).ok;
};

export type MainEnd = Correspondence<MainQuestion, MainNotice, WorkerQuestion, WorkerNotice>;
export type WorkerEnd = Correspondence<WorkerQuestion, WorkerNotice, MainQuestion, MainNotice>;

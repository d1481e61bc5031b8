import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Budget } from './budget.ts';
import type { MovedServer } from './moved-server.ts';
import type { LoginFailure, ServerConnector } from './peers.ts';
import type { Pool } from './pool.ts';
import type { YieldClaims } from './yield-claims.ts';

/** What every server of a pool reports at login: ParameterStatus in the server's order. Plain data. */
export type WelcomeData = readonly (readonly [name: string, value: string])[];

/** The way to other event loops that have the same pools. */
export interface ServerExchange<P> {
  /**
   * Counts what has this loop replace its servers or change its settings (RELOAD, SET, RECONNECT, KILL), all of which
   * reaches every loop in one order: what another one has sent before it knew of the last one is closed here.
   */
  era(): number;
  /** Whether a server of `pool` that rests is to go elsewhere now; see `decideMove`. */
  wants(pool: P): boolean;
  /** It stays at rest, though somebody may wait elsewhere: the exchange has it offered again before long. */
  stays(pool: P): void;
  /** Whether one is to be closed here, so that another can be opened there: none can go as it is, as over TLS. */
  mayReopen(pool: P): boolean;
  /** Takes a server of `pool` there, and its grant. */
  send(pool: P, moved: MovedServer): void;
  /** The pool is gone. */
  forget(pool: P): void;
}

/** What event loops that have the same pools tell each other of logins to servers. */
export interface LoginNews {
  /** A pool has been made: it hears what others know. */
  joined(pool: Pool): void;
  /** A login has succeeded. `pool` has what it knew before. */
  succeeded(pool: PoolIdentity & { readonly welcome: WelcomeData | null }, welcome: WelcomeData): void;
  failed(pool: PoolIdentity, failure: LoginFailure, atMs: number): void;
  /** Whether another loop has a server that can serve somebody. */
  hasUsable(pool: PoolIdentity): boolean;
  /** Somebody waits here, and no server may be opened, or none is ready yet: those of other loops are asked for. */
  lacks(pool: PoolIdentity): void;
}

/** What pools share, given by the daemon. */
export interface PoolContext<P = Pool> {
  readonly clock: Clock;
  readonly log: Logger;
  readonly budget: Budget;
  /** Name of this event loop in the budget. */
  readonly owner: string;
  readonly connector: ServerConnector<P>;
  /** What other pools want of those that servers come to rest in. */
  readonly claims: YieldClaims;
  /** How many event loops have pools of the same names; default: 1. */
  readonly loops?: number;
  /** Absent: there are no other loops. */
  readonly exchange?: ServerExchange<P>;
  readonly news?: LoginNews;
  /** SUSPEND is under way or in force: nobody is given a server, and none is opened. */
  isSuspended(): boolean;
}

/** What a pool is for. */
export interface PoolIdentity {
  readonly database: string;
  readonly user: string;
  /** The database entry names the user: the pool lives and fills without clients. */
  readonly isForcedUser: boolean;
}

import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Budget } from './budget.ts';
import type { ServerConnector } from './peers.ts';
import type { Pool } from './pool.ts';

/** What every server of a pool reports at login: ParameterStatus in the server's order. Plain data. */
export type WelcomeData = readonly (readonly [name: string, value: string])[];

/** What pools share, given by the daemon. */
export interface PoolContext {
  readonly clock: Clock;
  readonly log: Logger;
  readonly budget: Budget;
  /** Name of this event loop in the budget. */
  readonly owner: string;
  readonly connector: ServerConnector<Pool>;
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

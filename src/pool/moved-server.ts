import type { Grant } from './budget.ts';
import type { PoolIdentity, WelcomeData } from './context.ts';
import type { PoolLimits } from './limits.ts';

/** What whoever opens server connections knows of one that goes to another event loop. Plain data. */
export interface MovedParts {
  /** Its descriptor, whoever's it is that has this; -1 where the one in custody stands for it. */
  readonly fd: number;
}

/**
 * An idle server connection on its way from a pool of one event loop to that of the same database and user of another
 * one. It stands in no list meanwhile; its grant and its descriptor are the carrier's. Plain data, for structuredClone.
 */
export interface MovedServer {
  readonly id: number;
  /** Still that of the loop which it leaves. */
  readonly grant: Grant;
  readonly identity: PoolIdentity;
  /** Those of the pool that it leaves: where there is none for it any more, how long its end may take. */
  readonly limits: PoolLimits;
  /** As PoolContext.era has it, where it left. */
  readonly era: number;
  /** What servers of the pool report at login; null: not known. */
  readonly welcome: WelcomeData | null;
  /** For how long nobody has used it. */
  readonly restMs: number;
  readonly parts: MovedParts;
}

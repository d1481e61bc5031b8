import { TxStatus } from '../wire/codes.ts';
import { SqlState } from '../wire/pg-error.ts';
import type { Cell, Format } from '../wire/result.ts';
import { type CommandContext, failed, type Outcome } from './commands.ts';
import { endsFailedTransaction, type SessionEffect, standsAlone } from './driver-statements.ts';
import type { Plan } from './plan.ts';

/** A prepared statement; `plan` null: its text is empty. */
export interface Prepared {
  readonly plan: Plan | null;
  readonly text: string;
  /** How many parameters a Bind has to bring. */
  readonly parameters: number;
}

/** A portal: a prepared statement with the formats of its columns, and how far it has been run. */
export interface Portal {
  readonly prepared: Prepared;
  readonly formats: readonly Format[];
  /** How many savepoints there were when it was made: it goes with those that are rolled back. */
  depth: number;
  /** null before its first Execute. */
  rest: { readonly rows: readonly (readonly Cell[])[]; readonly tag: string; next: number } | null;
  /** It has been run, and had no rows: it is not run again. */
  isDone: boolean;
  /** The transaction in which it was made has failed. */
  isLost: boolean;
}

const MAX_SAVEPOINTS = 1000;

/** How errors name these commands, and their tags. */
const SAVEPOINT_TAGS = {
  savepoint: ['SAVEPOINT', 'SAVEPOINT'],
  release: ['RELEASE SAVEPOINT', 'RELEASE'],
  rollbackTo: ['ROLLBACK TO SAVEPOINT', 'ROLLBACK'],
} as const;

/** The answer to all else in a transaction that has failed. */
export const inFailedTransaction: Outcome = failed(
  'current transaction is aborted, commands ignored until end of transaction block',
  SqlState.inFailedSqlTransaction,
);

/**
 * What a driver has a session for: transaction status, prepared statements and portals. A transaction holds nothing
 * together here: commands take effect at once, and ROLLBACK takes nothing back.
 */
export class ConsoleSession {
  /** As ReadyForQuery says it. */
  status: number = TxStatus.Idle;
  readonly statements = new Map<string, Prepared>();
  readonly portals = new Map<string, Portal>();
  readonly savepoints: string[] = [];
  /** A portal has been run since the last Sync, so that PostgreSQL would have a transaction for all of that stretch. */
  #isPipelined = false;

  /** Runs a statement; what fails in a transaction is the end of it. */
  async run(plan: Plan, context: CommandContext): Promise<Outcome> {
    const { work } = plan;
    return this.refusal(plan) ?? (typeof work === 'function' ? work(context) : this.#apply(work));
  }

  /** The error for a statement (null: an empty one) in a failed transaction, if it doesn't end that; else null. */
  refusal(plan: Plan | null): Outcome | null {
    if (this.status !== TxStatus.Failed) return null;
    const isEnd = plan !== null && typeof plan.work !== 'function' && endsFailedTransaction(plan.work);
    return isEnd ? null : inFailedTransaction;
  }

  /** An error has been told. */
  failed(): void {
    if (this.status !== TxStatus.InTransaction) return;
    this.status = TxStatus.Failed;
    for (const portal of this.portals.values()) {
      if (portal.depth >= this.savepoints.length) portal.isLost = true;
    }
  }

  /** Sync, or the end of a Query: outside of a transaction block no portal outlives it. */
  settled(): void {
    this.#isPipelined = false;
    if (this.status === TxStatus.Idle) this.portals.clear();
  }

  /** An Execute has run a portal, or a part of it. */
  executed({ work }: Plan): void {
    if (typeof work === 'function' || !standsAlone(work)) this.#isPipelined = true;
  }

  #apply(effect: SessionEffect): Outcome {
    switch (effect.kind) {
      case 'begin':
        this.status = TxStatus.InTransaction;
        return done(effect.tag);
      case 'commit':
        return this.#end(this.status === TxStatus.Failed ? 'ROLLBACK' : 'COMMIT');
      case 'rollback':
        return this.#end('ROLLBACK');
      case 'savepoint':
      case 'release':
      case 'rollbackTo':
        return this.#savepoint(effect.kind, effect.name);
      case 'deallocate':
        return this.#deallocate(effect.name);
      case 'discardAll':
        if (this.status !== TxStatus.Idle || this.#isPipelined) {
          return failed('DISCARD ALL cannot run inside a transaction block', SqlState.activeSqlTransaction);
        }
        this.#dropStatements();
        this.portals.clear();
        return done('DISCARD ALL');
      case 'nothing':
        return { kind: 'done', tag: effect.tag, notice: effect.notice };
    }
  }

  #end(tag: string): Outcome {
    this.status = TxStatus.Idle;
    this.#isPipelined = false;
    this.portals.clear();
    this.savepoints.length = 0;
    return done(tag);
  }

  #savepoint(kind: keyof typeof SAVEPOINT_TAGS, name: string): Outcome {
    const [command, tag] = SAVEPOINT_TAGS[kind];
    if (this.status === TxStatus.Idle) {
      return failed(`${command} can only be used in transaction blocks`, SqlState.noActiveSqlTransaction);
    }
    if (kind === 'savepoint') {
      if (this.savepoints.length >= MAX_SAVEPOINTS) {
        return failed(`too many savepoints (limit ${MAX_SAVEPOINTS})`, SqlState.configurationLimitExceeded);
      }
      this.savepoints.push(name);
      return done(tag);
    }
    const index = this.savepoints.lastIndexOf(name);
    if (index < 0) {
      return failed(`savepoint "${name}" does not exist`, SqlState.invalidSavepointSpecification);
    }
    for (const [portalName, portal] of this.portals) {
      if (portal.depth <= index) continue;
      if (kind === 'release') portal.depth = index;
      else this.portals.delete(portalName);
    }
    this.savepoints.length = kind === 'release' ? index : index + 1;
    this.status = TxStatus.InTransaction;
    return done(tag);
  }

  /** The unnamed one stays, as in PostgreSQL. */
  #dropStatements(): void {
    for (const name of this.statements.keys()) if (name !== '') this.statements.delete(name);
  }

  #deallocate(name: string | null): Outcome {
    if (name === null) {
      this.#dropStatements();
      return done('DEALLOCATE ALL');
    }
    if (this.statements.delete(name)) return done('DEALLOCATE');
    return failed(`prepared statement "${name}" does not exist`, SqlState.invalidSqlStatementName);
  }
}

function done(tag: string): Outcome {
  return { kind: 'done', tag, notice: null };
}

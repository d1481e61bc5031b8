import type { MoveCounters, WorkerSnapshot } from '../admin/snapshot.ts';
import type { Clock } from '../base/clock.ts';
import type { BudgetKeeper } from '../pool/budget-keeper.ts';
import { OWNER_NUMBERS } from '../pool/shared-owners.ts';

/** A thread's life, as far as it has come. */
export interface WorkerLife {
  readonly number: number;
  readonly isReady: boolean;
  /** Null: it has died, and is not started again yet. */
  readonly startWallMs: number | null;
}

/** The counters at the last two turns of the statistics' period. */
interface Window {
  /** Of which life. */
  readonly startWallMs: number;
  older: { readonly atMs: number; readonly moves: MoveCounters };
  newer: Window['older'];
}

export const NO_MOVES: MoveCounters = Object.freeze({ sent: 0, received: 0, reopened: 0 });

/**
 * What SHOW WORKERS tells: read from what the threads share, so that it is told of one, too, that is busy for long. Counters
 * begin anew with a thread; averages cover between one and two periods of statistics, as those of SHOW STATS.
 */
export class WorkerRows {
  readonly #clock: Clock;
  readonly #keeper: Pick<BudgetKeeper, 'held' | 'published'>;
  readonly #lives: () => readonly WorkerLife[];
  readonly #windows = new Map<number, Window>();

  constructor(
    clock: Clock,
    keeper: Pick<BudgetKeeper, 'held' | 'published'>,
    lives: () => readonly WorkerLife[],
  ) {
    this.#clock = clock;
    this.#keeper = keeper;
    this.#lives = lives;
  }

  all(): WorkerSnapshot[] {
    const nowMs = this.#clock.nowMs();
    return this.#lives().map(({ number: worker, isReady, startWallMs }) => {
      const owner = worker - 1;
      const held = {
        clients: this.#keeper.held('client', owner),
        servers: this.#keeper.held('server', owner),
      };
      if (startWallMs === null) {
        const nothing = { cpuUs: 0, moves: NO_MOVES, since: NO_MOVES, windowUs: 0 };
        return { worker, state: 'dead', startWallMs, ...held, ...nothing };
      }
      const { older } = this.#window(worker, startWallMs);
      return {
        worker,
        state: isReady ? 'serving' : 'starting',
        startWallMs,
        ...held,
        cpuUs: this.#published(owner, 'cpu') * 10_000,
        moves: this.#moves(owner),
        since: older.moves,
        windowUs: Math.round((nowMs - older.atMs) * 1000),
      };
    });
  }

  /** A period of statistics is over. */
  turn(): void {
    const nowMs = this.#clock.nowMs();
    for (const { number, startWallMs } of this.#lives()) {
      if (startWallMs === null) continue;
      const window = this.#window(number, startWallMs);
      window.older = window.newer;
      window.newer = { atMs: nowMs, moves: this.#moves(number - 1) };
    }
  }

  /** Of a life that is seen for the first time it begins with that. */
  #window(worker: number, startWallMs: number): Window {
    let window = this.#windows.get(worker);
    if (window === undefined || window.startWallMs !== startWallMs) {
      const ageMs = Math.max(0, this.#clock.wallMs() - startWallMs);
      const start = { atMs: this.#clock.nowMs() - ageMs, moves: NO_MOVES };
      window = { startWallMs, older: start, newer: start };
      this.#windows.set(worker, window);
    }
    return window;
  }

  #moves(owner: number): MoveCounters {
    return {
      sent: this.#published(owner, 'sent'),
      received: this.#published(owner, 'received'),
      reopened: this.#published(owner, 'reopened'),
    };
  }

  #published(owner: number, what: keyof typeof OWNER_NUMBERS): number {
    return this.#keeper.published(owner, OWNER_NUMBERS[what]) >>> 0;
  }
}

import { setImmediate } from 'node:timers/promises';
import pg from 'pg';
import { cancelQueries, keepSession, type SessionParts } from './load-sessions.ts';
import { DATABASE, ROLES, type LoadStage } from './load-stage.ts';
import { abortsOf, errorsOf, type Tally } from './load-tally.ts';
import { Random } from './random.ts';
import { installedPgbench, type Load, runOwnLoad } from './tpcb.ts';
import { waitFor } from './wait-for.ts';

/** Something that runs over and over. */
interface Slot {
  readonly name: string;
  /** Resolves with whether all went well. */
  run(): Promise<boolean>;
  /** How often it has run to its end, and how often so without an error. */
  runs: number;
  goodRuns: number;
}

/** Runs are so short that a process which waits for its clients need not wait long. */
const BENCHES: readonly (Pick<Load, 'script' | 'protocol' | 'clients' | 'transactions'> & {
  readonly reconnects?: boolean;
})[] = [
  { script: 'select', protocol: 'simple', clients: 2, transactions: 30 },
  { script: 'select', protocol: 'prepared', clients: 2, transactions: 30 },
  { script: 'tpcb', protocol: 'prepared', clients: 3, transactions: 8 },
  { script: 'tpcb', protocol: 'simple', clients: 2, transactions: 3, reconnects: true },
];

/**
 * Load on a {@link LoadStage} until it is stopped: pgbench of several kinds, of which a ledger remains, sessions with settings
 * of their own, and queries that are cancelled. All that goes wrong is told to the tally.
 */
export class RunningLoad {
  readonly #slots: Slot[];
  readonly #running: Promise<void>[];
  #isStopped = false;

  constructor(stage: LoadStage, tally: Tally, random: Random) {
    const run = installedPgbench() ?? runOwnLoad;
    const bench = (load: (typeof BENCHES)[number]) => async () => {
      const { processed, complaints } = await run({
        ...load,
        isThreaded: true,
        address: stage.address,
        database: DATABASE,
        user: ROLES[0],
        secure: stage.secure,
      });
      tally.transactions += processed;
      tally.connections += load.reconnects === true ? load.clients * load.transactions : load.clients;
      if (load.script === 'tpcb') {
        tally.entries += processed;
        tally.unknown += abortsOf(complaints);
      }
      for (const text of errorsOf(complaints)) tally.error(null, text);
      return complaints === '';
    };
    let sessions = 0;
    const session = (kind: (parts: SessionParts) => Promise<void>) => async () => {
      let told: Error | null = null;
      try {
        await kind({
          stage,
          tally,
          random: new Random(random.below(2 ** 31)),
          name: `session_${sessions++}`,
          isStopped: () => this.#isStopped,
          told: (error) => {
            told ??= error;
          },
        });
        return true;
      } catch (error) {
        tally.thrown(error instanceof pg.DatabaseError ? error : (told ?? error));
        return false;
      }
    };
    const slot = (name: string, run: Slot['run']): Slot => ({ name, run, runs: 0, goodRuns: 0 });
    this.#slots = [
      ...BENCHES.map((load) =>
        slot(`pgbench ${load.script} ${load.protocol}${load.reconnects ? ' -C' : ''}`, bench(load)),
      ),
      ...[1, 2].map((n) => slot(`session ${n}`, session(keepSession))),
      slot('cancels', session(cancelQueries)),
    ];
    this.#running = this.#slots.map((each) => this.#loop(each));
  }

  async #loop(slot: Slot): Promise<void> {
    while (!this.#isStopped) {
      if (await slot.run()) slot.goodRuns++;
      // What fails at once must not keep everything else from its turn.
      else await setImmediate();
      slot.runs++;
    }
  }

  /** Waits until each kind of load has been through so many whole runs that began from now on. */
  async turn(runs = 1): Promise<void> {
    // The run that is under way has begun before.
    await this.#until((slot) => slot.runs, runs + 1);
  }

  /** Waits until each kind of load has been through without an error again. */
  async recovered(): Promise<void> {
    await this.#until((slot) => slot.goodRuns, 2);
  }

  async #until(count: (slot: Slot) => number, more: number): Promise<void> {
    for (const { slot, from } of this.#slots.map((each) => ({ slot: each, from: count(each) }))) {
      await waitFor(() => count(slot) >= from + more, { what: `runs of ${slot.name}`, deadlineMs: 60_000 });
    }
  }

  /** Nothing more is begun; what is under way may go wrong, for what it runs on is being taken away. */
  abandon(): void {
    this.#isStopped = true;
  }

  /** Ends it, after what is under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#running);
  }
}

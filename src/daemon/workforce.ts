import { closeSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import type { ControlReply } from '../admin/control.ts';
import type { SnapshotKind, Snapshots } from '../admin/snapshot.ts';
import type { LogLevel } from '../base/log.ts';
import type { Config } from '../config/config.ts';
import { OWNER_NUMBERS } from '../pool/shared-owners.ts';
import type { TlsTexts } from '../tls/material.ts';
import { CommandLedger } from './command-ledger.ts';
import type { GivenConnection } from './connection-ring.ts';
import { Correspondence } from './correspondence.ts';
import { Delivery } from './delivery.ts';
import {
  lasts,
  type MainEnd,
  type MainNotice,
  type MainQuestion,
  type Standing,
  type WorkerCommand,
  type WorkerNotice,
  type WorkerQuestion,
  type WorkerStart,
} from './worker-messages.ts';
import type { WorkerLife } from './worker-rows.ts';
import { NoThread } from './worker-thread.ts';
import type { WorkforceHost } from './workforce-host.ts';

/** Commands that have servers replaced. */
const NEW_ERA: ReadonlySet<WorkerCommand['kind']> = new Set(['reconnect', 'kill', 'kill too']);

/** A worker that dies sooner than this after its start is not started again at once. */
const SHORT_LIFE_MS = 1000;

/** A thread that serves clients. */
interface Living {
  readonly number: number;
  readonly thread: Worker;
  readonly end: MainEnd;
  readonly startMs: number;
  readonly startWallMs: number;
  /** It has said that it can serve. */
  hasBegun: boolean;
  /** It has heard since what it was told before: it gets connections. */
  isReady: boolean;
  isDrained: boolean;
  /** The databases that it has said are paused. */
  paused: readonly string[];
  /** Why it dies, when that has been said. */
  failure: Error | null;
  /** Connections for it. */
  readonly delivery: Delivery;
}

/**
 * The threads that serve clients: starts them, gives them connections, and starts another where one dies. Numbers are
 * from 1 on, as the log has them.
 */
export class Workforce {
  readonly #host: WorkforceHost;
  readonly #workers = new Map<number, Living>();
  /** Those that have died, and have left nothing. */
  readonly #buried = new Set<number>();
  /** Connections for which no worker is there yet. */
  #waiting: GivenConnection[] = [];
  #owners: number[] = [];
  #isStopped = false;
  #isRetired = false;
  readonly #ledger = new CommandLedger();
  /**
   * Counts what has workers replace their servers or change their settings. All hear of it in one order, but not at one
   * time: what a worker says as of an earlier era may be so no longer.
   */
  #era = 0;

  constructor(host: WorkforceHost) {
    this.#host = host;
  }

  /** What commands have brought about. */
  get standing(): Standing {
    return this.#ledger.standing;
  }

  isPaused(database: string | null): boolean {
    return this.#ledger.isPaused(database);
  }

  get isSuspended(): boolean {
    return this.#ledger.isSuspended;
  }

  /** Databases that are paused in some workers, as far as these have said, and not in others. */
  get pausedInPart(): string[] {
    const lists = [...this.#workers.values()].map(({ paused }) => paused);
    return [...new Set(lists.flat())].filter((name) => lists.some((list) => !list.includes(name)));
  }

  /** Those that serve clients now. */
  get threads(): Worker[] {
    return [...this.#ready()].map(({ thread }) => thread);
  }

  /** How many connections each of those has, or is about to have. */
  get connections(): number[] {
    return [...this.#ready()].map((worker) => this.#connectionsOf(worker));
  }

  /** All that there should be, by number. */
  get lives(): WorkerLife[] {
    return this.#owners.map((owner) => {
      const worker = this.#workers.get(owner + 1);
      const { isReady, startWallMs } = worker ?? { isReady: false, startWallMs: null };
      return { number: owner + 1, isReady, startWallMs };
    });
  }

  /** Of all, those that are about to serve clients among them. */
  snapshots<K extends SnapshotKind>(kind: K): Promise<Snapshots[K]>[] {
    return this.#askAll({ kind: 'snapshot', of: kind }) as Promise<Snapshots[K]>[];
  }

  /**
   * Has all carry a command out, those that are about to serve clients among them: they began with what was known of
   * earlier ones.
   */
  command(request: WorkerCommand, signal: AbortSignal): Promise<ControlReply>[] {
    if (NEW_ERA.has(request.kind)) this.#era++;
    const command = this.#ledger.add(request, this.#era);
    return this.#askAll({ kind: 'command', ...command }, signal) as Promise<ControlReply>[];
  }

  /** Resolves when all have heard what they have been told so far. */
  heard(): Promise<unknown> {
    return Promise.allSettled(this.#askAll({ kind: 'beat' }));
  }

  /** Resolves when each of those that serve clients, or are about to, has answered, or died. */
  beat(): Promise<unknown> {
    const begun = [...this.#workers.values()].filter(({ hasBegun }) => hasBegun);
    return Promise.allSettled(begun.map(({ end }) => end.ask({ kind: 'beat' })));
  }

  #askAll(question: MainQuestion, signal?: AbortSignal): Promise<unknown>[] {
    return [...this.#workers.values()].map(({ end }) => end.ask(question, signal));
  }

  /** Starts so many; resolves when they serve. Rejects with what the first one has died of before that. */
  async start(count: number): Promise<void> {
    this.#owners = Array.from({ length: count }, (_, i) => i);
    await Promise.all(this.#owners.map((owner) => this.#begin(owner + 1)));
  }

  /** Gives a connection, of which nothing has been read, to the worker with the fewest. */
  give(connection: GivenConnection): void {
    let least: Living | null = null;
    let fewest = Number.POSITIVE_INFINITY;
    for (const worker of this.#ready()) {
      const count = this.#connectionsOf(worker);
      if (count < fewest) {
        fewest = count;
        least = worker;
      }
    }
    if (least === null) {
      this.#waiting.push(connection);
      return;
    }
    least.isDrained = false;
    least.delivery.give(connection);
  }

  tell(notice: MainNotice): void {
    if (notice.kind === 'retired') this.#isRetired = true;
    for (const { end } of this.#workers.values()) end.tell(notice);
  }

  /** Puts another configuration in force; `tls` null: what was in force stays so. */
  apply(config: Config, tls: TlsTexts | null): void {
    this.tell({ kind: 'apply', era: ++this.#era, config, tls });
  }

  /** Tells a worker, by its number in the budget, if it is there still. */
  tellOwner(owner: number, notice: MainNotice): void {
    this.#workers.get(owner + 1)?.end.tell(notice);
  }

  /** Asks all but `asker` at once; the first answer that is not null, or null when all have answered. */
  async find(
    question: { readonly kind: 'cancel'; readonly key: Uint8Array },
    asker: MainEnd,
  ): Promise<string | null> {
    const others = [...this.#ready()].filter(({ end }) => end !== asker);
    const answers = others.map(async ({ end }) => {
      const answer = (await end.ask(question)) as string | null;
      if (answer === null) throw new Error('not its');
      return answer;
    });
    return Promise.any(answers).catch(() => null);
  }

  /** Ends them all, with everything that they have. */
  stop(): void {
    this.#isStopped = true;
    for (const { thread } of this.#workers.values()) void thread.terminate();
    for (const { fd } of this.#waiting) closeSync(fd);
    this.#waiting = [];
  }

  *#ready(): Generator<Living> {
    for (const worker of this.#workers.values()) if (worker.isReady) yield worker;
  }

  #connectionsOf({ number, delivery }: Living): number {
    return (delivery.count - this.#host.published(number - 1, OWNER_NUMBERS.gone)) | 0;
  }

  async #begin(number: number): Promise<void> {
    const { batches } = this.#host;
    const delivery = Delivery.open(this.#host.bells);
    if (delivery === null) throw new NoThread(`worker ${number} cannot be started: no descriptor is left`);
    const batchContext = batches.newContext();
    const letGo = (): GivenConnection[] => {
      if (batchContext !== null) batches.endContext(batchContext);
      return delivery.end();
    };
    const start: WorkerStart = {
      ...this.#host.start(),
      owner: number - 1,
      owners: this.#owners,
      memory: this.#host.memory,
      standing: this.standing,
      era: this.#era,
      batchContext,
      connections: delivery.memory,
      bell: delivery.bell,
    };
    let thread: Worker;
    try {
      thread = this.#host.newThread(number, start);
    } catch (error) {
      letGo();
      throw error;
    }
    const ready = Promise.withResolvers<void>();
    const end: MainEnd = new Correspondence(
      thread,
      (question: WorkerQuestion, signal) => this.#host.answer(question, end, signal),
      (notice: WorkerNotice) => {
        if (notice.kind !== 'ready') {
          this.#hear(worker, notice);
          return;
        }
        worker.hasBegun = true;
        if (!notice.hearsBell) delivery.tell = () => end.tell({ kind: 'connections' });
        ready.resolve();
      },
      lasts,
    );
    const worker: Living = {
      ...{ number, thread, end, startMs: performance.now(), startWallMs: Date.now() },
      ...{ hasBegun: false, isReady: false, isDrained: false, failure: null, delivery },
      paused: start.standing.pausedDatabases,
    };
    // In the place of one that has died: the others have heard what it hasn't.
    for (const { end: other } of this.#ready()) other.tell({ kind: 'tell logins', of: null });
    this.#workers.set(number, worker);
    this.#buried.delete(number);
    // What it does not know of, and others have been asked for already; nobody waits for its answer.
    for (const each of this.#ledger.unconfirmed) void end.ask({ kind: 'command', ...each }).catch(() => {});
    thread.on('error', (error) => {
      worker.failure = error instanceof Error ? error : new Error(String(error));
    });
    thread.on('exit', (code) => {
      this.#died(worker, letGo(), code);
      ready.reject(worker.failure ?? new Error(`worker ${number} has ended with code ${code}`));
    });
    await ready.promise;
    // Ahead of its connections: it has heard of all that it was told while it began.
    await end.ask({ kind: 'beat' }).catch((error: unknown) => {
      throw worker.failure ?? error;
    });
    worker.isReady = true;
    if (this.#isRetired) end.tell({ kind: 'retired' });
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const connection of waiting) this.give(connection);
  }

  #hear(worker: Living, notice: Exclude<WorkerNotice, { kind: 'ready' }>): void {
    switch (notice.kind) {
      case 'log':
        for (const [level, message] of notice.lines) this.#host.log.log(level satisfies LogLevel, message);
        break;
      case 'standing':
        worker.paused = notice.standing.pausedDatabases;
        this.#ledger.confirmed(notice.standing);
        break;
      case 'logins':
        this.#passOn(worker, notice);
        break;
      case 'pass on':
        this.tellOwner(notice.owner, notice.notice);
        break;
      case 'left behind':
        this.#host.leftBehind();
        break;
      case 'drained':
        // One may have been given to it since.
        if (notice.taken !== worker.delivery.count) break;
        worker.isDrained = true;
        this.#lookDrained(notice.last);
        break;
    }
  }

  /**
   * To all but who says so. What was said before a command or a configuration had been heard is asked for again: all
   * hear it between the same two of them then.
   */
  #passOn(from: Living, { era, report }: Extract<WorkerNotice, { kind: 'logins' }>): void {
    if (era !== this.#era) {
      from.end.tell({ kind: 'tell logins', of: { database: report.database, user: report.user } });
      return;
    }
    for (const worker of this.#workers.values()) {
      if (worker !== from) worker.end.tell({ kind: 'logins', report });
    }
  }

  #lookDrained(last: 'server' | 'client'): void {
    // They are said again and again to be drained.
    if (this.#waiting.length > 0) return;
    if (this.#owners.every((owner) => this.#isDrained(owner + 1))) this.#host.drained(last);
  }

  /** Of a worker that is not there any more nobody else says that a graceful shutdown need not wait for it. */
  #lookAlone(): void {
    const { shutdown } = this.#ledger;
    if (this.#isStopped || shutdown === 'no') return;
    this.#lookDrained(shutdown === 'wait_for_servers' ? 'server' : 'client');
  }

  /** One that has died has nothing any more when it is buried, unless connections wait for it. */
  #isDrained(number: number): boolean {
    const worker = this.#workers.get(number);
    if (worker === undefined) return this.#buried.has(number) && this.#waiting.length === 0;
    return worker.isDrained;
  }

  /** `untaken`: connections that nobody has read from. `code`: of its end, which says all where nothing was thrown. */
  #died(worker: Living, untaken: readonly GivenConnection[], code: number): void {
    const { number, end, failure } = worker;
    worker.isReady = false;
    this.#workers.delete(number);
    end.cut();
    if (this.#isStopped) {
      for (const { fd } of untaken) closeSync(fd);
      return;
    }
    for (const connection of untaken) this.give(connection);
    const why = failure === null ? `it has ended with code ${code}` : (failure.stack ?? failure.message);
    this.#host.log.log('ERROR', `worker ${number} has died, and its clients with it: ${why}`);
    const delayMs = performance.now() - worker.startMs < SHORT_LIFE_MS ? SHORT_LIFE_MS : 0;
    const burial = this.#host.bury(number - 1).then(
      () => {
        this.#buried.add(number);
        this.#lookAlone();
      },
      (error) => this.#host.log.log('ERROR', `worker ${number} is not started again: ${String(error)}`),
    );
    setTimeout(() => void burial.then(() => this.#replace(number)), delayMs).unref();
  }

  async #replace(number: number): Promise<void> {
    if (this.#isStopped || !this.#buried.has(number)) return;
    try {
      await this.#begin(number);
      this.#host.log.log('LOG', `worker ${number} serves again`);
    } catch (error) {
      // Otherwise it has died again, which has been said, and is being started again.
      if (!(error instanceof NoThread)) return;
      this.#host.log.log('ERROR', error.message);
      // Who has come too late for a shutdown is not waited for where nobody is left to serve it.
      if (this.#ledger.shutdown !== 'no' && this.#workers.size === 0)
        for (const { fd } of this.#waiting.splice(0)) closeSync(fd);
      this.#lookAlone();
      setTimeout(() => void this.#replace(number), SHORT_LIFE_MS).unref();
    }
  }
}

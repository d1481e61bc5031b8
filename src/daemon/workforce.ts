import { closeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import type { Logger, LogLevel } from '../base/log.ts';
import type { SharedMemory } from '../pool/shared-memory.ts';
import { Correspondence } from './correspondence.ts';
import { RemoteControl } from './remote-control.ts';
import { AT_START } from './standing.ts';
import type {
  MainEnd,
  MainNotice,
  Standing,
  WorkerNotice,
  WorkerQuestion,
  WorkerStart,
} from './worker-messages.ts';

/** What the workforce needs of the process. */
export interface WorkforceHost {
  readonly log: Logger;
  readonly memory: SharedMemory;
  /** What a worker begins with now, but for what the workforce knows. */
  start(): Omit<WorkerStart, 'column' | 'memory' | 'standing'>;
  answer(question: WorkerQuestion, from: MainEnd, signal: AbortSignal): unknown;
  /** A graceful shutdown has nothing to wait for in any worker. */
  drained(last: 'server' | 'client'): void;
  /** A worker has died: what it has left in this column is to be reclaimed; resolves when nothing is there any more. */
  bury(column: number): Promise<void>;
}

/** A worker that dies sooner than this after its start is not started again at once. */
const SHORT_LIFE_MS = 1000;

/** A thread that serves clients. */
interface Living {
  readonly number: number;
  /** Its column in shared memory, which is nobody else's until all that it had is reclaimed. */
  readonly column: number;
  readonly thread: Worker;
  readonly end: MainEnd;
  readonly control: RemoteControl;
  readonly startMs: number;
  isReady: boolean;
  isDrained: boolean;
  /** Why it dies, when that has been said. */
  failure: Error | null;
  /** Descriptors that were given to it, and how many ahead of the first one it has surely taken. */
  readonly given: number[];
  taken: number;
}

/**
 * The threads that serve clients: starts them, gives them connections, and starts another where one dies. Numbers are
 * from 1 on, as the log has them.
 */
export class Workforce {
  readonly #host: WorkforceHost;
  readonly #workers = new Map<number, Living>();
  /** Columns of the living and of the dead that still have something there. */
  readonly #columns = new Set<number>();
  /** Connections for which no worker is there yet. */
  #waiting: Extract<MainNotice, { kind: 'connection' }>[] = [];
  #isStopped = false;
  #isRetired = false;
  #standing: Standing = AT_START;

  constructor(host: WorkforceHost) {
    this.#host = host;
  }

  /** What commands have brought about. */
  get standing(): Standing {
    return this.#standing;
  }

  /** Of those that serve clients now, in the order of their numbers. */
  get controls(): RemoteControl[] {
    return [...this.#ready()].map(({ control }) => control);
  }

  /** Starts so many; resolves when they serve. Rejects with what the first one has died of before that. */
  async start(count: number): Promise<void> {
    await Promise.all(Array.from({ length: count }, (_, i) => this.#begin(i + 1)));
  }

  /** Gives the descriptor of a connection to the worker with the fewest. */
  give(connection: Extract<MainNotice, { kind: 'connection' }>): void {
    let least: Living | null = null;
    let fewest = Number.POSITIVE_INFINITY;
    for (const worker of this.#ready()) {
      const count = worker.taken + worker.given.length - this.#host.memory.connectionsGone(worker.column);
      if (count < fewest) {
        fewest = count;
        least = worker;
      }
    }
    if (least === null) {
      this.#waiting.push(connection);
      return;
    }
    this.#forgetTaken(least);
    least.given.push(connection.fd);
    least.end.tell(connection);
  }

  tell(notice: MainNotice): void {
    if (notice.kind === 'retired') this.#isRetired = true;
    for (const { end } of this.#workers.values()) end.tell(notice);
  }

  /** Tells the worker of this column, if there is one still. */
  tellColumn(column: number, notice: MainNotice): void {
    for (const worker of this.#workers.values()) if (worker.column === column) worker.end.tell(notice);
  }

  /** Asks all but `asker`, one after the other, until one has an answer that is not null. */
  async find(
    question: { readonly kind: 'cancel'; readonly key: Uint8Array },
    asker: MainEnd,
  ): Promise<string | null> {
    for (const { end } of [...this.#ready()]) {
      if (end === asker) continue;
      const answer = (await end.ask(question).catch(() => null)) as string | null;
      if (answer !== null) return answer;
    }
    return null;
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

  async #begin(number: number): Promise<void> {
    const { memory } = this.#host;
    const column = this.#freeColumn();
    if (column === null) throw new Error('no column is free');
    const start: WorkerStart = {
      ...this.#host.start(),
      column,
      memory: memory.buffer,
      standing: this.#standing,
    };
    const file = import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js';
    const thread = new Worker(new URL(file, import.meta.url), {
      workerData: start,
      name: `pgweir-${number}`,
    });
    const ready = Promise.withResolvers<void>();
    const end: MainEnd = new Correspondence(
      thread,
      (question: WorkerQuestion, signal) => this.#host.answer(question, end, signal),
      (notice: WorkerNotice) => {
        if (notice.kind === 'ready') ready.resolve();
        else this.#hear(worker, notice);
      },
    );
    const worker: Living = {
      ...{ number, column, thread, end, control: new RemoteControl(end), startMs: performance.now() },
      ...{ isReady: false, isDrained: false, failure: null, given: [], taken: 0 },
    };
    this.#workers.set(number, worker);
    thread.on('error', (error) => {
      worker.failure = error instanceof Error ? error : new Error(String(error));
    });
    thread.on('exit', () => {
      this.#died(worker);
      ready.reject(worker.failure ?? new Error(`worker ${number} has ended`));
    });
    await ready.promise;
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
        this.#standing = notice.standing;
        break;
      case 'pass on':
        this.tellColumn(notice.column, notice.notice);
        break;
      case 'drained':
        worker.isDrained = true;
        if ([...this.#workers.values()].every(({ isDrained }) => isDrained)) this.#host.drained(notice.last);
        break;
    }
  }

  #died(worker: Living): void {
    const { number, column, end } = worker;
    worker.isReady = false;
    this.#workers.delete(number);
    end.cut();
    if (this.#isStopped) return;
    this.#forgetTaken(worker);
    for (const fd of worker.given) closeSync(fd);
    const why = worker.failure === null ? '' : `: ${worker.failure.stack ?? worker.failure.message}`;
    this.#host.log.log('ERROR', `worker ${number} has died, and its clients with it${why}`);
    void this.#host.bury(column).then(() => this.#columns.delete(column));
    const delayMs = performance.now() - worker.startMs < SHORT_LIFE_MS ? SHORT_LIFE_MS : 0;
    setTimeout(() => void this.#replace(number), delayMs).unref();
  }

  async #replace(number: number): Promise<void> {
    if (this.#isStopped) return;
    try {
      await this.#begin(number);
      this.#host.log.log('LOG', `worker ${number} serves again`);
    } catch {
      // Where it has died again, that has been said, and another one is on its way.
      if (!this.#workers.has(number) && this.#columns.size >= this.#host.memory.columns)
        setTimeout(() => void this.#replace(number), SHORT_LIFE_MS).unref();
    }
  }

  /** Those descriptors are the worker's to close. */
  #forgetTaken(worker: Living): void {
    const taken = this.#host.memory.connectionsTaken(worker.column);
    worker.given.splice(0, taken - worker.taken);
    worker.taken = taken;
  }

  /** Null: the dead have them all, still. */
  #freeColumn(): number | null {
    const column = Array.from({ length: this.#host.memory.columns }, (_, i) => i).find(
      (one) => !this.#columns.has(one),
    );
    if (column === undefined) return null;
    this.#columns.add(column);
    return column;
  }
}

import { EventEmitter } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { silentLogger } from '../../src/base/log.ts';
import { AT_START } from '../../src/daemon/standing.ts';
import { NoThread } from '../../src/daemon/worker-thread.ts';
import type { MainEnd, WorkerNotice, WorkerStart } from '../../src/daemon/worker-messages.ts';
import type { WorkforceHost } from '../../src/daemon/workforce-host.ts';
import { Workforce } from '../../src/daemon/workforce.ts';
import { waitFor } from '../support/wait-for.ts';

/** What the main thread sends. */
interface Sent {
  readonly is: string;
  readonly id?: number;
  readonly question?: { readonly kind: string };
  readonly notice?: { readonly kind: string };
}

/** A thread as the main one sees it. */
class FakeThread extends EventEmitter {
  readonly sent: Sent[] = [];
  readonly start: WorkerStart;

  constructor(start: WorkerStart) {
    super();
    this.start = start;
  }

  postMessage(message: Sent): void {
    this.sent.push(message);
  }

  tell(notice: WorkerNotice): void {
    this.emit('message', { is: 'notice', notice });
  }

  /** Answers the questions of this kind that it was asked. */
  answer(kind: string, answer: unknown): void {
    for (const { id, question } of this.sent)
      if (question?.kind === kind) this.emit('message', { is: 'answer', id, answer });
  }

  terminate(): void {}

  die(): void {
    this.emit('exit', 1);
  }

  kinds(): string[] {
    return this.sent.map(({ question, notice }) => (question ?? notice)?.kind ?? '');
  }
}

/** A workforce of two. */
class Stage {
  readonly threads: FakeThread[] = [];
  readonly drained: string[] = [];
  readonly burials: PromiseWithResolvers<void>[] = [];
  readonly workforce: Workforce;
  areThreads = true;
  refusals = 0;

  constructor() {
    this.workforce = new Workforce({
      log: silentLogger,
      memory: {} as WorkforceHost['memory'],
      batches: { newContext: () => null, endContext: () => {} },
      published: () => 0,
      start: () => ({}) as ReturnType<WorkforceHost['start']>,
      answer: () => null,
      leftBehind: () => {},
      drained: (last) => void this.drained.push(last),
      bury: () => {
        const burial = Promise.withResolvers<void>();
        this.burials.push(burial);
        return burial.promise;
      },
      newThread: (number, start) => {
        if (!this.areThreads) {
          this.refusals++;
          throw new NoThread(`worker ${number} cannot be started`);
        }
        const thread = new FakeThread(start);
        this.threads.push(thread);
        return thread as unknown as Worker;
      },
    });
  }

  static async set(): Promise<Stage> {
    const stage = new Stage();
    const started = stage.workforce.start(2);
    for (const thread of stage.threads) thread.tell({ kind: 'ready' });
    await started;
    return stage;
  }

  thread(index: number): FakeThread {
    return this.threads[index] as FakeThread;
  }

  /** A graceful shutdown is asked for, and answered by those that are there. */
  shutDown(): void {
    const { signal } = new AbortController();
    const request = { kind: 'shutdown', mode: 'wait_for_clients' } as const;
    for (const reply of this.workforce.command(request, signal)) reply.catch(() => {});
  }
}

test('a graceful shutdown waits for all, and for what a dead one has left', async () => {
  const stage = await Stage.set();
  stage.shutDown();
  stage.areThreads = false;
  stage.thread(0).tell({ kind: 'drained', last: 'client' });
  stage.thread(1).die();
  stage.thread(0).tell({ kind: 'drained', last: 'client' });
  expect(stage.drained).toEqual([]);
  stage.burials[0]?.resolve();
  // The living one need not say so once more.
  await waitFor(() => stage.drained.length > 0);
  expect(stage.drained).toEqual(['client']);
  stage.workforce.stop();
});

test('a graceful shutdown ends though no thread is left and none can be started', async () => {
  const stage = await Stage.set();
  stage.areThreads = false;
  for (const thread of stage.threads) thread.die();
  for (const burial of stage.burials) burial.resolve();
  await waitFor(() => stage.refusals > 0);
  expect(stage.drained).toEqual([]);
  stage.shutDown();
  await waitFor(() => stage.drained.length > 0);
  stage.workforce.stop();
});

test('one that begins amid a shutdown knows of it, and hears that no connection comes any more', async () => {
  const stage = await Stage.set();
  stage.shutDown();
  stage.workforce.tell({ kind: 'retired' });
  stage
    .thread(0)
    .tell({ kind: 'standing', standing: { ...AT_START, command: 1, shutdown: 'wait_for_clients' } });
  stage.thread(1).die();
  stage.burials[0]?.resolve();
  await waitFor(() => stage.threads.length === 3);
  expect(stage.thread(2).start.standing.shutdown).toBe('wait_for_clients');
  stage.thread(2).tell({ kind: 'ready' });
  await waitFor(() => stage.thread(2).kinds().includes('retired'));
  // It has yet to say that it has nothing.
  stage.thread(0).tell({ kind: 'drained', last: 'client' });
  expect(stage.drained).toEqual([]);
  stage.thread(2).tell({ kind: 'drained', last: 'client' });
  expect(stage.drained).toEqual(['client']);
  stage.workforce.stop();
});

test('whose cancel key it is is asked of all others at once, and found without those that hang', async () => {
  const stage = await Stage.set();
  const key = { kind: 'cancel', key: Buffer.of(1) } as const;
  const found = stage.workforce.find(key, {} as MainEnd);
  expect(stage.threads.map((thread) => thread.kinds())).toEqual([['cancel'], ['cancel']]);
  stage.thread(1).answer('cancel', 'found');
  expect(await found).toBe('found');
  const nobody = stage.workforce.find(key, {} as MainEnd);
  for (const thread of stage.threads) thread.answer('cancel', null);
  expect(await nobody).toBeNull();
  stage.workforce.stop();
});

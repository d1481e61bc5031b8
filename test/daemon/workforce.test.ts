import { EventEmitter } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ConnectionRing, type GivenConnection, RING_CONNECTIONS } from '../../src/daemon/connection-ring.ts';
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
  readonly beats: number[] = [];
  readonly start: WorkerStart;

  constructor(start: WorkerStart) {
    super();
    this.start = start;
  }

  postMessage(message: Sent): void {
    if (message.question?.kind === 'beat') this.beats.push(message.id as number);
    else this.sent.push(message);
  }

  /** It is ready, and has heard what it was told. */
  begin(hearsBell = true): void {
    this.tell({ kind: 'ready', hearsBell });
    setImmediate(() => this.beat());
  }

  /** Answers whether it is alive. */
  beat(): void {
    for (const id of this.beats.splice(0)) this.emit('message', { is: 'answer', id, answer: null });
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

  /** By what was thrown, or by `terminate` or `process.exit` where nothing was. */
  die(thrown?: unknown, code = 1): void {
    if (thrown !== undefined) this.emit('error', thrown);
    this.emit('exit', code);
  }

  kinds(): string[] {
    return this.sent.map(({ question, notice }) => (question ?? notice)?.kind ?? '');
  }
}

/** A workforce of two. */
class Stage {
  readonly threads: FakeThread[] = [];
  readonly drained: string[] = [];
  readonly lines: string[] = [];
  readonly burials: PromiseWithResolvers<void>[] = [];
  readonly workforce: Workforce;
  areThreads = true;
  areBells = true;
  bells = 1000;
  rings = 0;
  readonly closedBells: number[] = [];
  /** Of the first worker's connections. */
  gone = 0;
  refusals = 0;

  constructor() {
    this.workforce = new Workforce({
      log: { enabled: () => true, log: (level, text) => void this.lines.push(`${level} ${text}`) },
      memory: {} as WorkforceHost['memory'],
      batches: { newContext: () => null, endContext: () => {} },
      bells: {
        newBell: () => (this.areBells ? ++this.bells : null),
        ringBell: () => void this.rings++,
        closeFd: (bell) => void this.closedBells.push(bell),
      },
      published: (owner) => (owner === 0 ? this.gone : 0),
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
    for (const thread of stage.threads) thread.begin();
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
  stage.thread(0).tell({ kind: 'drained', last: 'client', taken: 0 });
  stage.thread(1).die();
  stage.thread(0).tell({ kind: 'drained', last: 'client', taken: 0 });
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
  stage.thread(2).begin();
  await waitFor(() => stage.thread(2).kinds().includes('retired'));
  // It has yet to say that it has nothing.
  stage.thread(0).tell({ kind: 'drained', last: 'client', taken: 0 });
  expect(stage.drained).toEqual([]);
  stage.thread(2).tell({ kind: 'drained', last: 'client', taken: 0 });
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

/** What was given to a worker, as that takes it. */
const ringOf = ({ start }: FakeThread): ConnectionRing => new ConnectionRing(start.connections);

function connection(fd: number): GivenConnection {
  return {
    fd,
    peer: { ip: '10.0.0.1', port: fd },
    listener: { kind: 'tcp', port: 6432 },
    isUnixReplaced: false,
  };
}

const openFd = (): number => openSync('/dev/null', 'r');
const isOpen = (fd: number): boolean => {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
};

test('connections go to the worker with the fewest, which is woken once for those that it has not looked for', async () => {
  const stage = await Stage.set();
  for (let fd = 100; fd < 105; fd++) stage.workforce.give(connection(fd));
  expect([stage.workforce.connections, stage.rings]).toEqual([[3, 2], 2]);
  const [first, second] = [ringOf(stage.thread(0)), ringOf(stage.thread(1))];
  first.beginLooking();
  expect([first.take()?.fd, first.take()?.fd, first.take()?.fd, first.take()]).toEqual([100, 102, 104, null]);
  stage.gone = 2;
  stage.workforce.give(connection(105));
  stage.workforce.give(connection(106));
  expect([first.take()?.fd, first.take()?.fd, first.length]).toEqual([105, 106, 0]);
  expect([second.take()?.fd, second.take()?.fd, second.length, stage.rings]).toEqual([101, 103, 0, 3]);
  stage.workforce.stop();
});

test('a worker that does not hear its bell is told of connections', async () => {
  const stage = new Stage();
  const started = stage.workforce.start(1);
  stage.thread(0).begin(false);
  await started;
  stage.workforce.give(connection(100));
  expect([stage.thread(0).kinds(), stage.rings]).toEqual([['connections'], 0]);
  expect(ringOf(stage.thread(0)).take()?.fd).toBe(100);
  stage.workforce.stop();
});

test('what a dead worker has not taken is another’s, and closed when there is none any more', async () => {
  const stage = await Stage.set();
  const fds = [openFd(), openFd(), openFd()];
  for (const fd of fds) stage.workforce.give(connection(fd));
  ringOf(stage.thread(0)).take();
  stage.thread(0).die();
  expect(stage.closedBells).toEqual([stage.thread(0).start.bell]);
  const second = ringOf(stage.thread(1));
  expect([second.take()?.fd, second.length]).toEqual([fds[1], 1]);
  stage.workforce.stop();
  expect(fds.map(isOpen)).toEqual([true, true, true]);
  stage.thread(1).die();
  expect(fds.map(isOpen)).toEqual([true, true, false]);
  for (const fd of fds.slice(0, 2)) closeSync(fd);
});

test('what there was no room for goes to the worker when there is, and to another when it has died', async () => {
  const stage = new Stage();
  const started = stage.workforce.start(1);
  stage.thread(0).begin();
  await started;
  const late = [openFd(), openFd(), openFd()];
  // Never its own, so that nothing is closed that is another's.
  for (let i = 0; i < RING_CONNECTIONS; i++) stage.workforce.give(connection(-1));
  for (const fd of late) stage.workforce.give(connection(fd));
  const ring = ringOf(stage.thread(0));
  expect(stage.workforce.connections).toEqual([RING_CONNECTIONS + 3]);
  ring.take();
  await waitFor(() => ring.putCount === RING_CONNECTIONS + 1);
  for (let i = 0; i < RING_CONNECTIONS; i++) ring.take();
  expect(ring.takenCount).toBe(RING_CONNECTIONS + 1);
  await waitFor(() => ring.putCount === RING_CONNECTIONS + 3);
  for (let i = 0; i < RING_CONNECTIONS - 2; i++) stage.workforce.give(connection(-1));
  stage.workforce.give(connection(late[0] as number));
  for (let i = 0; i < RING_CONNECTIONS; i++) ring.take();
  stage.thread(0).die();
  expect(late.map(isOpen)).toEqual([true, true, true]);
  stage.burials[0]?.resolve();
  await waitFor(() => stage.threads.length === 2);
  stage.thread(1).begin();
  await waitFor(() => ringOf(stage.thread(1)).putCount === 1);
  expect(ringOf(stage.thread(1)).take()?.fd).toBe(late[0]);
  for (const fd of late) closeSync(fd);
  stage.workforce.stop();
});

test('a worker that has nothing left is not believed when it did not know of a connection yet', async () => {
  const stage = await Stage.set();
  stage.shutDown();
  stage.workforce.give(connection(100));
  for (const thread of stage.threads) thread.tell({ kind: 'drained', last: 'client', taken: 0 });
  expect(stage.drained).toEqual([]);
  ringOf(stage.thread(0)).take();
  stage.thread(0).tell({ kind: 'drained', last: 'client', taken: 1 });
  expect(stage.drained).toEqual(['client']);
  stage.workforce.stop();
});

test('a shutdown waits for connections that no worker has been given', async () => {
  const stage = new Stage();
  const started = stage.workforce.start(1);
  stage.workforce.give(connection(100));
  stage.shutDown();
  stage.thread(0).tell({ kind: 'ready', hearsBell: true });
  stage.thread(0).tell({ kind: 'drained', last: 'client', taken: 0 });
  expect(stage.drained).toEqual([]);
  await waitFor(() => stage.thread(0).beats.length > 0);
  stage.thread(0).beat();
  await started;
  ringOf(stage.thread(0)).take();
  stage.thread(0).tell({ kind: 'drained', last: 'client', taken: 1 });
  expect(stage.drained).toEqual(['client']);
  stage.workforce.stop();
});

test('a shutdown does not wait for who came too late, where no thread can be started', async () => {
  const stage = await Stage.set();
  stage.areThreads = false;
  const fd = openFd();
  stage.workforce.give(connection(fd));
  for (const thread of stage.threads) thread.die();
  stage.shutDown();
  for (const burial of stage.burials) burial.resolve();
  await waitFor(() => stage.drained.length > 0);
  expect(isOpen(fd)).toBe(false);
  stage.workforce.stop();
});

test('a worker that dies ahead of its first connection has died of what it says', async () => {
  const stage = new Stage();
  const started = stage.workforce.start(1);
  stage.thread(0).tell({ kind: 'ready', hearsBell: true });
  await waitFor(() => stage.thread(0).beats.length > 0);
  stage.thread(0).emit('error', new Error('its heap is full'));
  stage.thread(0).die();
  await expect(started).rejects.toThrow('its heap is full');
  stage.workforce.stop();
});

test('one that is about to serve, and hangs, keeps all from having answered', async () => {
  const stage = new Stage();
  const started = stage.workforce.start(1);
  stage.thread(0).tell({ kind: 'ready', hearsBell: true });
  await waitFor(() => stage.thread(0).beats.length > 0);
  let hasAnswered = false;
  const beat = stage.workforce.beat().then(() => void (hasAnswered = true));
  expect(stage.thread(0).beats.length).toBe(2);
  expect(hasAnswered).toBe(false);
  stage.thread(0).beat();
  await Promise.all([beat, started]);
  stage.workforce.stop();
});

test('a worker without a bell to be had is none', async () => {
  const stage = new Stage();
  stage.areBells = false;
  await expect(stage.workforce.start(1)).rejects.toThrow('worker 1 cannot be started: no descriptor is left');
  stage.workforce.stop();
});

test('one that begins gets its first connections when it has heard what it was told before', async () => {
  const stage = new Stage();
  const started = stage.workforce.start(1);
  stage.workforce.give(connection(100));
  stage.thread(0).tell({ kind: 'ready', hearsBell: true });
  await waitFor(() => stage.thread(0).beats.length > 0);
  const ring = ringOf(stage.thread(0));
  expect(ring.length).toBe(0);
  stage.thread(0).beat();
  await started;
  expect(ring.take()?.fd).toBe(100);
  stage.workforce.stop();
});

test('the log says what a worker has died of: what was thrown, or the code that it has ended with', async () => {
  const ends: readonly (readonly [thrown: unknown, code: number, why: RegExp])[] = [
    [new Error('a bug'), 1, /: Error: a bug\n +at /],
    ['no error at all', 1, /: Error: no error at all\n/],
    [undefined, 3, /: it has ended with code 3$/],
    [undefined, 1, /: it has ended with code 1$/],
  ];
  for (const [thrown, code, why] of ends) {
    const stage = await Stage.set();
    stage.thread(1).die(thrown, code);
    expect(stage.lines).toEqual([
      expect.stringMatching(new RegExp(`^ERROR worker 2 has died, and its clients with it${why.source}`)),
    ]);
    stage.workforce.stop();
  }
  const stage = new Stage();
  const started = stage.workforce.start(1);
  stage.thread(0).die(undefined, 3);
  await expect(started).rejects.toThrow('worker 1 has ended with code 3');
  stage.workforce.stop();
});

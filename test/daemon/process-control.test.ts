import { describe, expect, test } from 'vitest';
import {
  controlFailure,
  type ControlReply,
  type ControlRequest,
  controlOk,
} from '../../src/admin/control.ts';
import { silentLogger } from '../../src/base/log.ts';
import { ThreadGone } from '../../src/daemon/correspondence.ts';
import { ProcessControl, type ProcessHooks } from '../../src/daemon/process-control.ts';
import type { WorkerCommand } from '../../src/daemon/worker-messages.ts';
import { watch } from '../support/console.ts';
import { waitFor } from '../support/wait-for.ts';

/** A process whose threads have said `replies`, with servers left that are in none of their lists. */
class Stage {
  servers = 1;
  isPaused = true;
  isSuspended = false;
  pausedInPart: readonly string[] = [];
  looks = 0;
  readonly asked: (string | null)[] = [];
  /** What the threads have been given. */
  readonly commands: WorkerCommand[] = [];
  readonly #control: ProcessControl;

  constructor(...replies: readonly (ControlReply | Promise<ControlReply> | Error)[]) {
    this.#control = new ProcessControl({
      log: silentLogger,
      command: (request) => {
        this.commands.push(request);
        if (request.kind === 'end suspension') return [];
        return replies.map((reply) =>
          reply instanceof Error ? Promise.reject(reply) : Promise.resolve(reply),
        );
      },
      isSuspended: () => this.isSuspended,
      pausedInPart: () => this.pausedInPart,
      serverCount: (database) => {
        this.looks++;
        this.asked.push(database);
        return this.servers;
      },
      isPaused: () => this.isPaused,
    } as Partial<ProcessHooks> as ProcessHooks);
  }

  request(request: ControlRequest, signal = new AbortController().signal) {
    return watch(this.#control.request(request, signal));
  }

  get kinds(): string[] {
    return this.commands.map(({ kind }) => kind);
  }
}

test.each([null, 'db'])('PAUSE of %s is over when the last server connection is gone', async (database) => {
  const stage = new Stage(controlOk, controlOk);
  const pause = stage.request({ kind: 'pause', database });
  await waitFor(() => stage.looks > 3);
  expect(pause.settled).toBe(false);
  stage.servers = 0;
  expect(await pause.promise).toEqual(controlOk);
  expect(new Set(stage.asked)).toEqual(new Set([database]));
});

test('PAUSE that is taken back before that has come to nothing', async () => {
  const stage = new Stage(controlOk, controlOk);
  const pause = stage.request({ kind: 'pause', database: null });
  await waitFor(() => stage.looks > 0);
  stage.isPaused = false;
  expect(await pause.promise).toEqual(controlFailure.canceled());
});

test('PAUSE ends with the console that has asked for it', async () => {
  const stage = new Stage(controlOk, controlOk);
  const console = new AbortController();
  const pause = stage.request({ kind: 'pause', database: null }, console.signal);
  await waitFor(() => stage.looks > 0);
  console.abort();
  await pause.promise;
});

test('a PAUSE that has failed waits for nothing, nor do other commands', async () => {
  const failed = new Stage(controlFailure.alreadyPaused());
  expect(await failed.request({ kind: 'pause', database: null }).promise).toEqual(
    controlFailure.alreadyPaused(),
  );
  const other = new Stage(controlOk, controlOk);
  for (const kind of ['kill', 'reconnect', 'resume'] as const) {
    expect(await other.request({ kind, database: null }).promise).toEqual(controlOk);
  }
  expect([failed.looks, other.looks]).toEqual([0, 0]);
});

describe('SUSPEND is for all threads or for none:', () => {
  const refused = controlFailure.pausedDatabases();

  test.each([
    ['some refuse it', [controlOk, refused], refused],
    // In the place of the one that has died another begins with it, perhaps.
    ['one dies before it answers', [new ThreadGone('dead'), refused], refused],
  ] as const)('it ends in all, those that begin later included, when %s', async (_, replies, reply) => {
    const stage = new Stage(...replies);
    expect(await stage.request({ kind: 'suspend' }).promise).toEqual(reply);
    expect(stage.kinds).toEqual(['suspend', 'end suspension']);
  });

  test('it ends in all when one fails', async () => {
    const stage = new Stage(controlOk, new Error('a bug'));
    await expect(stage.request({ kind: 'suspend' }).promise).rejects.toThrow('a bug');
    expect(stage.kinds).toEqual(['suspend', 'end suspension']);
  });

  test('one that all refuse, or that RESUME has ended, ends no other one', async () => {
    const first = Promise.withResolvers<ControlReply>();
    const stage = new Stage(first.promise);
    const suspend = stage.request({ kind: 'suspend' });
    void stage.request({ kind: 'resume', database: null });
    void stage.request({ kind: 'suspend' });
    first.resolve(controlFailure.canceled());
    expect(await suspend.promise).toEqual(controlFailure.canceled());
    expect(stage.commands.slice(0, 4)).toEqual([
      { kind: 'suspend', attempt: 1 },
      { kind: 'resume', database: null },
      { kind: 'suspend', attempt: 2 },
      { kind: 'end suspension', attempt: 1 },
    ]);
  });

  test('where all have it, it stays', async () => {
    const stage = new Stage(controlOk, controlOk);
    expect(await stage.request({ kind: 'suspend' }).promise).toEqual(controlOk);
    expect(stage.kinds).toEqual(['suspend']);
  });
});

test('KILL of all is for all threads what it is for those that know a database; of one it needs no more', async () => {
  const stage = new Stage(controlOk, controlOk);
  stage.pausedInPart = ['made'];
  await stage.request({ kind: 'kill', database: null }).promise;
  expect(stage.commands.slice(1)).toEqual([{ kind: 'kill too', databases: ['made'] }]);
  await stage.request({ kind: 'kill', database: 'made' }).promise;
  stage.pausedInPart = [];
  await stage.request({ kind: 'kill', database: null }).promise;
  expect(stage.kinds).toEqual(['kill', 'kill too', 'kill', 'kill']);
});

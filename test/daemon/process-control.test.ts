import { expect, test } from 'vitest';
import {
  controlFailure,
  type ControlReply,
  type ControlRequest,
  controlOk,
} from '../../src/admin/control.ts';
import { silentLogger } from '../../src/base/log.ts';
import { ProcessControl, type ProcessHooks } from '../../src/daemon/process-control.ts';
import { watch } from '../support/console.ts';
import { waitFor } from '../support/wait-for.ts';

/** A process whose threads have all said `reply`, with servers left that are in none of their lists. */
class Stage {
  servers = 1;
  isPaused = true;
  looks = 0;
  readonly asked: (string | null)[] = [];
  readonly #control: ProcessControl;

  /** Of the commands that threads have been given. */
  readonly signals: AbortSignal[] = [];
  inVain = 0;

  constructor(reply: ControlReply = controlOk, other = reply) {
    this.#control = new ProcessControl({
      log: silentLogger,
      command: (_request, signal) => {
        this.signals.push(signal);
        return [Promise.resolve(reply), Promise.resolve(other)];
      },
      suspendedInVain: () => void this.inVain++,
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
}

test.each([null, 'db'])('PAUSE of %s is over when the last server connection is gone', async (database) => {
  const stage = new Stage();
  const pause = stage.request({ kind: 'pause', database });
  await waitFor(() => stage.looks > 3);
  expect(pause.settled).toBe(false);
  stage.servers = 0;
  expect(await pause.promise).toEqual(controlOk);
  expect(new Set(stage.asked)).toEqual(new Set([database]));
});

test('PAUSE that is taken back before that has come to nothing', async () => {
  const stage = new Stage();
  const pause = stage.request({ kind: 'pause', database: null });
  await waitFor(() => stage.looks > 0);
  stage.isPaused = false;
  expect(await pause.promise).toEqual(controlFailure.canceled());
});

test('PAUSE ends with the console that has asked for it', async () => {
  const stage = new Stage();
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
  const other = new Stage();
  for (const kind of ['kill', 'reconnect', 'resume'] as const) {
    expect(await other.request({ kind, database: null }).promise).toEqual(controlOk);
  }
  expect([failed.looks, other.looks]).toEqual([0, 0]);
});

test('SUSPEND is for all threads or for none: where it has succeeded it ends when another thread refuses it', async () => {
  const stage = new Stage(controlOk, controlFailure.alreadyPaused());
  expect(await stage.request({ kind: 'suspend' }).promise).toEqual(controlFailure.alreadyPaused());
  expect([stage.signals.map(({ aborted }) => aborted), stage.inVain]).toEqual([[true], 1]);
  // Another one is in force in all of them.
  const again = new Stage(controlFailure.alreadyPaused());
  expect(await again.request({ kind: 'suspend' }).promise).toEqual(controlFailure.alreadyPaused());
  expect([again.signals.map(({ aborted }) => aborted), again.inVain]).toEqual([[false], 0]);
  const all = new Stage();
  expect(await all.request({ kind: 'suspend' }).promise).toEqual(controlOk);
  expect([all.signals.map(({ aborted }) => aborted), all.inVain]).toEqual([[false], 0]);
});

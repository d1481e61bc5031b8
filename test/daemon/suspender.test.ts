import { expect, test } from 'vitest';
import { type ControlReply, controlFailure, controlOk } from '../../src/admin/control.ts';
import { silentLogger } from '../../src/base/log.ts';
import { Suspender } from '../../src/daemon/suspender.ts';

/** A SUSPEND that somebody has asked for, and how often RESUME was said. */
class Stage {
  readonly console = new AbortController();
  readonly reply = Promise.withResolvers<ControlReply>();
  readonly suspender: Suspender;
  readonly asked: Promise<ControlReply>;
  resumes = 0;

  constructor() {
    this.suspender = new Suspender({
      log: silentLogger,
      isSuspended: () => true,
      heard: async () => {},
      resume: async () => {
        this.resumes++;
      },
      suspend: () => this.reply.promise,
      endSuspension: async () => {},
    });
    this.asked = this.suspender.suspend(this.console.signal);
  }

  /** The console goes; all that hangs on it is done. */
  async leave(): Promise<void> {
    this.console.abort();
    for (let i = 0; i < 10; i++) await Promise.resolve();
  }
}

test.each([
  'before',
  'after',
])('SUSPEND ends with its console, which leaves %s it is complete', async (when) => {
  const stage = new Stage();
  if (when === 'after') {
    stage.reply.resolve(controlOk);
    await stage.asked;
  }
  await stage.leave();
  expect(stage.resumes).toBe(1);
});

test.each([
  'before',
  'after',
])('a console whose SUSPEND was ended by RESUME, %s it was complete, ends no other one', async (when) => {
  const stage = new Stage();
  if (when === 'before') stage.suspender.ended();
  stage.reply.resolve(controlOk);
  await stage.asked;
  if (when === 'after') stage.suspender.ended();
  await stage.leave();
  expect(stage.resumes).toBe(0);
});

test('a console whose SUSPEND was refused ends no other one', async () => {
  const stage = new Stage();
  stage.reply.resolve(controlFailure.shuttingDown());
  await stage.asked;
  await stage.leave();
  expect(stage.resumes).toBe(0);
});

import { expect, test } from 'vitest';
import type { ClientConnection } from '../../src/client/connection.ts';
import { ConsolePhase } from '../../src/client/console.ts';
import type { ConsoleAnswer } from '../../src/client/services.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { frontend } from '../support/peer-messages.ts';

const MINUTE_MS = 60_000;
const HIGH_WATER = 64 * 1024;

/** A stream as Node has them, without native calls and over TLS: a chunk waits as a whole until all of it is taken. */
class SlowStream {
  readonly taken: Buffer[] = [];
  isCongested = false;
  #waiting: Buffer[] = [];
  #takenOfFirst = 0;

  get pendingBytes(): number {
    return this.#waiting.reduce((sum, { length }) => sum + length, 0);
  }

  write(bytes: Buffer): void {
    this.#waiting.push(bytes);
    this.isCongested ||= this.pendingBytes >= HIGH_WATER;
  }

  resume(): void {}

  /** The client takes so many bytes. True: that was all that had been written. */
  take(bytes: number): boolean {
    this.#takenOfFirst += bytes;
    for (;;) {
      const [first] = this.#waiting;
      if (first === undefined || this.#takenOfFirst < first.length) break;
      this.#takenOfFirst -= first.length;
      this.taken.push(first);
      this.#waiting.shift();
    }
    const isDrained = this.isCongested && this.#waiting.length === 0;
    if (isDrained) {
      this.isCongested = false;
      this.#takenOfFirst = 0;
    }
    return isDrained;
  }
}

/** A console that has been asked, and is answered `answer`. */
async function stage(answer: Buffer) {
  const clock = new ManualClock();
  const conn = new SlowStream();
  const failures: string[] = [];
  const connection = {
    services: { clock },
    connectMs: 0,
    isClosing: false,
    conn,
    guard: (call: () => void) => call(),
    fail: ({ message }: { message: string }) => void failures.push(message),
    onFault: (error: unknown) => {
      throw error;
    },
  };
  const phase = new ConsolePhase(connection as unknown as ClientConnection, {
    welcome: [],
    cancelKey: Buffer.alloc(4),
    maxBodyBytes: 1000,
    closed: () => {},
    message: async (): Promise<ConsoleAnswer> => ({ bytes: answer, closeReason: null, error: null }),
  });
  conn.take(conn.pendingBytes);
  conn.taken.length = 0;
  const query = frontend.query('SHOW CONFIG');
  phase.bytes(query, query.length);
  for (let i = 0; i < 5; i++) await Promise.resolve();
  const pass = (ms: number): void => {
    clock.advance(ms);
    phase.sweep(clock.nowMs());
  };
  const take = (bytes: number): void => {
    if (conn.take(bytes)) phase.drained();
  };
  return { conn, phase, failures, pass, take };
}

test('a console that takes its answer slowly but steadily is not closed, and gets all of it', async () => {
  const answer = Buffer.from(Array.from({ length: 1_000_001 }, (_, i) => i % 251));
  const { conn, phase, failures, pass, take } = await stage(answer);
  expect(phase.isMidAnswer()).toBe(true);
  for (let minute = 0; minute < 40; minute++) {
    pass(MINUTE_MS);
    take(32 * 1024);
  }
  expect(failures).toEqual([]);
  expect(phase.isMidAnswer()).toBe(false);
  expect(Buffer.concat(conn.taken).equals(answer)).toBe(true);
});

test('a console that stops taking it is closed after five minutes, and told nothing in the middle of it', async () => {
  const { phase, failures, pass, take } = await stage(Buffer.alloc(1_000_000));
  take(100_000);
  for (let minute = 0; minute < 5; minute++) pass(MINUTE_MS);
  expect(failures).toEqual([]);
  pass(1);
  expect(failures).toEqual(['console answers are not read']);
  expect(phase.isMidAnswer()).toBe(true);
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PeerPool } from '../../src/pool/peer-pool.ts';
import { ManualClock } from '../support/manual-clock.ts';

const SENT = 'successfully sent cancel request';
const FAILED = 'failed to send cancel request';

/** How long a connection, and its end, may take where nothing else says so. */
const CONNECT_MS = 15_000;
const CLOSE_MS = 5000;

/** A connection to the peer, moved by hand. */
class Carrier {
  readonly key: string;
  readonly #maySend: () => boolean;
  readonly #done: (reason: string) => void;
  isSent = false;
  isOpen = true;

  constructor(key: Buffer, maySend: () => boolean, done: (reason: string) => void) {
    this.key = key.toString();
    this.#maySend = maySend;
    this.#done = done;
  }

  connect(): void {
    this.isSent = this.#maySend();
  }

  cut(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.#done(this.isSent ? SENT : FAILED);
  }
}

class Kit {
  readonly clock = new ManualClock();
  readonly carriers: Carrier[] = [];
  readonly ended: string[] = [];
  readonly pool: PeerPool;

  constructor(poolSize: number) {
    const { clock } = this;
    this.pool = new PeerPool(
      {
        get nowMs() {
          return clock.nowMs();
        },
        openCancel: (key, maySend, done) => {
          const carrier = new Carrier(key, maySend, done);
          this.carriers.push(carrier);
          return carrier;
        },
      },
      poolSize,
    );
  }

  request(name: string): void {
    this.pool.request(Buffer.from(name), (reason) => this.ended.push(`${name}: ${reason}`));
  }

  sweepAfter(ms: number, timeoutMs: number): void {
    this.clock.advance(ms);
    this.pool.sweep(this.clock.nowMs(), timeoutMs, CONNECT_MS, CLOSE_MS);
  }

  get open(): Carrier[] {
    return this.carriers.filter(({ isOpen }) => isOpen);
  }
}

describe('the way to a peer', () => {
  it('has pool_size connections at once; the others wait, first come, first served', () => {
    const kit = new Kit(2);
    for (const name of ['a', 'b', 'c', 'd']) kit.request(name);
    expect(kit.carriers.map(({ key }) => key)).toEqual(['a', 'b']);
    expect([kit.pool.waiting.length, kit.pool.connecting, kit.pool.sent.length]).toEqual([4, 2, 0]);
    kit.carriers[0]?.connect();
    expect([kit.pool.waiting.length, kit.pool.connecting, kit.pool.sent.length]).toEqual([3, 1, 1]);
    kit.carriers[0]?.cut();
    expect(kit.ended).toEqual([`a: ${SENT}`]);
    expect(kit.open.map(({ key }) => key)).toEqual(['b', 'c']);
    kit.carriers[1]?.cut();
    expect(kit.ended).toEqual([`a: ${SENT}`, `b: ${FAILED}`]);
    expect(kit.open.map(({ key }) => key)).toEqual(['c', 'd']);
  });

  it('without a size is open to all at once', () => {
    const kit = new Kit(0);
    for (let i = 0; i < 50; i++) kit.request(`${i}`);
    expect(kit.open).toHaveLength(50);
  });

  it('that grows takes more at once', () => {
    const kit = new Kit(1);
    for (const name of ['a', 'b', 'c']) kit.request(name);
    kit.pool.poolSize = 3;
    kit.pool.pump();
    expect(kit.open).toHaveLength(3);
  });

  it('is given up after cancel_wait_timeout by those that wait, connect, or are not let go', () => {
    const kit = new Kit(2);
    for (const name of ['sent', 'connecting', 'waiting']) kit.request(name);
    kit.carriers[0]?.connect();
    kit.sweepAfter(10_000, 10_000);
    expect(kit.ended).toEqual([]);
    kit.sweepAfter(1, 10_000);
    expect(kit.ended.toSorted()).toEqual(
      ['connecting', 'sent', 'waiting'].map((name) => `${name}: cancel_wait_timeout`),
    );
    expect([kit.open.length, kit.pool.isEmpty, kit.pool.carrierCount]).toEqual([0, true, 0]);
  });

  it('is waited for without end when cancel_wait_timeout is 0, but kept by nobody', () => {
    const kit = new Kit(1);
    for (const name of ['hung', 'next', 'last']) kit.request(name);
    kit.sweepAfter(CONNECT_MS, 0);
    kit.carriers[0]?.connect();
    kit.sweepAfter(CLOSE_MS, 0);
    expect([kit.ended, kit.pool.waiting.length]).toEqual([[], 2]);
    kit.sweepAfter(1, 0);
    expect(kit.ended).toEqual(['hung: cancel_wait_timeout']);
    // It has its own time from here on.
    kit.sweepAfter(CONNECT_MS, 0);
    expect(kit.open.map(({ key }) => key)).toEqual(['next']);
    kit.sweepAfter(1, 0);
    expect(kit.open.map(({ key }) => key)).toEqual(['last']);
    kit.pool.poolSize = 1;
    kit.request('waits');
    kit.carriers[2]?.cut();
    kit.sweepAfter(1000, 0);
    expect(kit.open.map(({ key }) => key)).toEqual(['waits']);
  });

  it('of a peer that is gone from the file lets those that were sent come to their end', () => {
    const kit = new Kit(2);
    for (const name of ['sent', 'connecting', 'waiting']) kit.request(name);
    kit.carriers[0]?.connect();
    kit.pool.giveUpWaiting('gone');
    expect(kit.ended).toEqual(['connecting: gone', 'waiting: gone']);
    kit.carriers[0]?.cut();
    expect([kit.ended.at(-1), kit.pool.isEmpty, kit.pool.carrierCount]).toEqual([`sent: ${SENT}`, true, 0]);
  });

  it('takes a flood up to a thousand that wait, and refuses the rest at once', () => {
    const kit = new Kit(1);
    for (let i = 0; i < 5000; i++) kit.request(`${i}`);
    expect([kit.pool.waiting.length, kit.ended.length, kit.open.length]).toEqual([1000, 4000, 1]);
    expect(new Set(kit.ended.map((line) => line.split(': ')[1]))).toEqual(new Set([FAILED]));
    kit.pool.cut();
    expect([kit.ended.length, kit.pool.isEmpty, kit.open.length]).toEqual([5000, true, 0]);
  });

  it('in any order of events keeps its size and its order, and ends each request once', () => {
    const step = fc.record({
      kind: fc.constantFrom('request', 'request', 'request', 'connect', 'cut', 'time', 'size', 'giveUp'),
      pick: fc.nat({ max: 9 }),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3 }), fc.array(step, { maxLength: 80 }), (size, steps) => {
        const kit = new Kit(size);
        let requested = 0;
        let largest = size;
        for (const { kind, pick } of steps) {
          const carrier = kit.open[pick % Math.max(1, kit.open.length)];
          if (kind === 'request') kit.request(`${requested++}`);
          else if (kind === 'connect' && carrier?.isSent === false) carrier.connect();
          else if (kind === 'cut') carrier?.cut();
          else if (kind === 'time') kit.sweepAfter(pick * 1000, 6000);
          else if (kind === 'giveUp') kit.pool.giveUpWaiting('gone');
          else if (kind === 'size') {
            kit.pool.poolSize = 1 + (pick % 4);
            kit.pool.pump();
          }
          largest = Math.max(largest, kit.pool.poolSize);
          expect(kit.open.length).toBe(kit.pool.carrierCount);
          expect(kit.open.length).toBeLessThanOrEqual(largest);
          expect(kit.ended.length + kit.pool.waiting.length + kit.pool.sent.length).toBe(requested);
          // Nobody waits while there is room.
          const idle = kit.pool.waiting.length - kit.pool.connecting;
          if (kit.open.length < kit.pool.poolSize) expect(idle).toBe(0);
        }
        kit.pool.cut();
        expect(kit.ended.length).toBe(requested);
        expect(new Set(kit.ended.map((line) => line.split(':')[0])).size).toBe(requested);
        const order = kit.carriers.map(({ key }) => Number(key));
        expect(order).toEqual(order.toSorted((a, b) => a - b));
      }),
      { numRuns: 500 },
    );
  });
});

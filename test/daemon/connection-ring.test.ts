import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { ConnectionRing, type GivenConnection, RING_CONNECTIONS } from '../../src/daemon/connection-ring.ts';
import { withSeed } from '../support/random.ts';
import { waitFor } from '../support/wait-for.ts';

const BY_TCP: GivenConnection = {
  fd: 7,
  peer: { ip: '10.1.2.3', port: 65535 },
  listener: { kind: 'tcp', port: 6432 },
  isUnixReplaced: false,
};
const LONGEST_IP = `fe80:1111:2222:3333:4444:5555:255.255.255.255%${'x'.repeat(15)}`;
const KINDS: readonly GivenConnection[] = [
  BY_TCP,
  { ...BY_TCP, fd: 8, peer: { ip: LONGEST_IP, port: 1 }, isUnixReplaced: true },
  { fd: 9, peer: null, listener: { kind: 'unix', port: 5432 }, isUnixReplaced: false },
  { fd: 10, peer: null, listener: { kind: 'unix', port: 0 }, isUnixReplaced: true },
];

describe('a ring of connections', () => {
  it('gives the other thread what was put, in order and once', () => {
    const ring = new ConnectionRing();
    const other = new ConnectionRing(ring.memory);
    expect(other.take()).toBeNull();
    for (const each of KINDS) expect(ring.put(each)).toBe(true);
    expect(ring.length).toBe(4);
    expect(other.take()).toEqual(KINDS[0]);
    expect(ring.length).toBe(3);
    expect(KINDS.slice(1).map(() => other.take())).toEqual(KINDS.slice(1));
    expect(other.take()).toBeNull();
    expect([ring.putCount, other.takenCount, ring.length]).toEqual([4, 4, 0]);
  });

  it('takes no more than it has room for, and again when some are taken', () => {
    const ring = new ConnectionRing();
    const other = new ConnectionRing(ring.memory);
    for (let fd = 0; fd < RING_CONNECTIONS; fd++) expect(ring.put({ ...BY_TCP, fd })).toBe(true);
    expect(ring.put(BY_TCP)).toBe(false);
    expect(other.take()?.fd).toBe(0);
    expect([ring.put({ ...BY_TCP, fd: 5000 }), ring.put(BY_TCP)]).toEqual([true, false]);
    const left = Array.from({ length: RING_CONNECTIONS }, () => other.take()?.fd);
    expect(left).toEqual([...Array.from({ length: RING_CONNECTIONS - 1 }, (_, i) => i + 1), 5000]);
  });

  it('goes on where counts wrap', () => {
    const ring = new ConnectionRing();
    new Int32Array(ring.memory).fill(0x7fffffff, 0, 17);
    const other = new ConnectionRing(ring.memory);
    for (const each of KINDS) ring.put(each);
    expect(ring.length).toBe(4);
    expect(KINDS.map(() => other.take())).toEqual(KINDS);
    expect([other.take(), ring.putCount]).toEqual([null, -0x7ffffffd]);
  });

  it('has the other woken once for whatever comes before it looks', () => {
    const ring = new ConnectionRing();
    const other = new ConnectionRing(ring.memory);
    expect([ring.mustWake(), ring.mustWake()]).toEqual([true, false]);
    other.beginLooking();
    expect([ring.mustWake(), ring.mustWake()]).toEqual([true, false]);
  });

  it('loses and doubles nothing between threads, and nobody sleeps on what is there', async () => {
    await withSeed(async (random) => {
      const ring = new ConnectionRing();
      const witness = new Int32Array(new SharedArrayBuffer(16));
      const taker = new Worker(new URL('./ring-taker.ts', import.meta.url), {
        workerData: { memory: ring.memory, witness: witness.buffer },
      });
      try {
        const TOTAL = 8000;
        let put = 0;
        await waitFor(() => {
          for (let burst = 0; burst < 20; burst++) {
            const some = 1 + random.below(60);
            for (let i = 0; i < some && put < TOTAL; i++) if (ring.put({ ...BY_TCP, fd: put })) put++;
            // As a bell does: the taker sleeps until this.
            if (!ring.mustWake()) continue;
            Atomics.add(witness, 0, 1);
            Atomics.notify(witness, 0);
          }
          return put === TOTAL;
        });
        await waitFor(() => Atomics.load(witness, 1) === TOTAL);
        expect([Atomics.load(witness, 1), Atomics.load(witness, 2), ring.length]).toEqual([TOTAL, 0, 0]);
      } finally {
        await taker.terminate();
      }
    });
  });
});

/** A thread that takes what is put into a ring, and sleeps in between. */
import { workerData } from 'node:worker_threads';
import { ConnectionRing } from '../../src/daemon/connection-ring.ts';

const { memory, witness } = workerData as { memory: SharedArrayBuffer; witness: SharedArrayBuffer };
const ring = new ConnectionRing(memory);
/** How often it was rung, how many it has taken, and how many of those were not the next one. */
const words = new Int32Array(witness);

for (let heard = 0; ; ) {
  Atomics.wait(words, 0, heard);
  heard = Atomics.load(words, 0);
  ring.beginLooking();
  for (let next = ring.take(); next !== null; next = ring.take()) {
    if (next.fd !== Atomics.load(words, 1) || next.peer?.ip !== '10.1.2.3') Atomics.add(words, 2, 1);
    Atomics.add(words, 1, 1);
  }
}

import { afterAll, expect, it } from 'vitest';
import { type Native, openNative } from '../../src/net/native.ts';
import { RawSocket } from '../../src/net/raw-socket.ts';
import { withSeed } from '../support/random.ts';
import { waitFor } from '../support/wait-for.ts';
import { World } from './batches-world.ts';
import { ConnStage } from './conn-stage.ts';
import { byEffort, isFull } from '../support/effort.ts';

const STEPS = byEffort({ quick: 250, wide: 700, full: 12_000 });

/** How many reads and writes system calls did together. */
const together = { reads: 0, writes: 0 };
const whole = openNative();
const context = whole.batch.newContext();
const native: Native = {
  ...whole,
  batch: {
    ...whole.batch,
    newContext: () => context,
    open(of) {
      const batch = whole.batch.open(of);
      if (batch === null) return null;
      const { read, write } = batch;
      batch.read = () => {
        if (batch.readCount > 1) together.reads++;
        return read.call(batch);
      };
      batch.write = () => {
        if (batch.writeCount > 1) together.writes++;
        write.call(batch);
      };
      return batch;
    },
  },
};
afterAll(() => {
  if (context !== null) whole.batch.endContext(context);
});

const stage = new ConnStage(native);

const turn = () => new Promise((resolve) => setImmediate(resolve));

it.runIf(process.platform === 'linux')(
  'every connection gets its own bytes, in order and whole, whatever those that are ready with it do',
  async () => {
    await withSeed(async (random) => {
      const world = new World(random, stage);
      const sound = () => {
        if (world.wrong.length > 0) throw new Error(world.wrong.slice(0, 5).join('\n'));
      };
      for (let step = 0; step < STEPS; step++) {
        world.poke();
        for (let i = random.below(3); i >= 0; i--) await turn();
        sound();
      }
      world.isOver = true;
      await waitFor(() => world.opening === 0, { what: 'all to be open' });
      const left = world.all.filter(({ isCut }) => !isCut);
      for (const { conn, peer } of left) {
        conn?.wake();
        conn?.resume();
        peer?.resume();
      }
      const lacking = () => left.filter((line) => !line.in.isComplete || !line.out.isComplete);
      try {
        await waitFor(() => lacking().length === 0, { what: 'all bytes', deadlineMs: 30_000 });
      } catch (error) {
        const told = lacking().map(({ in: from, out, conn }) => {
          const kind = conn?.socket instanceof RawSocket ? 'raw' : 'node';
          return `${kind}: in ${from.received}/${from.sent}, out ${out.received}/${out.sent}, closed ${conn?.isClosed}`;
        });
        throw new Error(told.join('\n'), { cause: error });
      }
      sound();
      expect(left.length).toBeGreaterThan(5);
      expect(together.reads).toBeGreaterThan(STEPS / 4);
      expect(together.writes).toBeGreaterThan(STEPS / 4);
      expect(Math.max(...world.numbers.values())).toBeGreaterThan(1);
      expect(world.moved).toBeGreaterThan(0);
      expect(world.slow).toBeGreaterThan(20);
    });
  },
  isFull ? 300_000 : 60_000,
);

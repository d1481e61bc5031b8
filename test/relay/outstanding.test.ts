import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OutstandingQueue, ReplyAction } from '../../src/relay/outstanding.ts';
import { FrontendType as F } from '../../src/wire/codes.ts';

interface Entry {
  readonly type: number;
  readonly action: ReplyAction;
  readonly payload: Buffer | null;
}

/** The whole queue as seen from outside. */
function contents(queue: OutstandingQueue): [number, number][] {
  return Array.from({ length: queue.length }, (_, i) => [queue.typeAt(i), queue.actionAt(i)]);
}

const entry: fc.Arbitrary<Entry> = fc.record({
  type: fc.constantFrom(F.Query, F.Sync, F.Parse, F.Execute, F.CopyDone),
  action: fc.constantFrom(...Object.values(ReplyAction)),
  payload: fc.option(
    fc.uint8Array({ minLength: 1, maxLength: 4 }).map((bytes) => Buffer.from(bytes)),
    { nil: null },
  ),
});

/** Pushes lead, so that queues grow past the ring's first size and wrap around. */
const step = fc.oneof(
  { weight: 25, arbitrary: entry.map((value) => ({ kind: 'push' as const, value })) },
  { weight: 15, arbitrary: fc.constant({ kind: 'pop' as const }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('remove' as const),
      count: fc.nat(10),
      keepsOurs: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'clear' as const }) },
);

describe('OutstandingQueue', () => {
  it('behaves as a list does, whatever is pushed, popped and taken out of the middle', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const queue = new OutstandingQueue();
        const list: Entry[] = [];
        for (const each of steps) {
          if (each.kind === 'push') {
            queue.push(each.value.type, each.value.action, each.value.payload);
            list.push(each.value);
          } else if (each.kind === 'pop' && list.length > 0) {
            queue.pop();
            list.shift();
          } else if (each.kind === 'remove' && list.length > 0) {
            const { keepsOurs } = each;
            const count = Math.min(each.count, list.length - 1);
            queue.removeBehindHead(count, keepsOurs);
            const isOurs = ({ action }: Entry) => action === ReplyAction.Synthesize;
            list.splice(1, count, ...list.slice(1, 1 + count).filter((one) => keepsOurs && isOurs(one)));
          } else if (each.kind === 'clear') {
            queue.clear();
            list.length = 0;
          }
          expect(contents(queue)).toEqual(list.map(({ type, action }) => [type, action]));
          expect(queue.headType).toBe(list[0]?.type ?? 0);
          expect(queue.headAction).toBe(list[0]?.action ?? ReplyAction.Forward);
          expect(queue.headPayload).toBe(list[0]?.payload ?? null);
          expect(queue.indexOf(F.Sync)).toBe(list.findIndex(({ type }) => type === F.Sync));
        }
        // Payloads of the middle came along.
        for (const { payload } of list) {
          expect(queue.headPayload).toBe(payload);
          queue.pop();
        }
        expect(queue.length).toBe(0);
      }),
    );
  });

  it('searches from where it is told', () => {
    const queue = new OutstandingQueue();
    for (const type of [F.Sync, F.Parse, F.Sync]) queue.push(type);
    expect([queue.indexOf(F.Sync), queue.indexOf(F.Sync, 1), queue.indexOf(F.Sync, 3)]).toEqual([0, 2, -1]);
    expect(queue.indexOf(F.Query)).toBe(-1);
  });

  it('counts what it holds by kinds, also once it was large and is empty again', () => {
    const queue = new OutstandingQueue();
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 2000; i++) for (const type of [F.Sync, F.CopyData, F.CopyDone]) queue.push(type);
      queue.removeBehindHead(3, false);
      expect([queue.length, queue.syncs, queue.copyData, queue.copyEnds]).toEqual([5997, 1999, 1999, 1999]);
      queue.clear();
      expect([queue.length, queue.syncs, queue.copyData, queue.copyEnds]).toEqual([0, 0, 0, 0]);
    }
  });

  it('tells whether a COPY may be under way behind what it holds: a Query or an Execute', () => {
    const queue = new OutstandingQueue();
    for (const type of [F.Parse, F.Bind, F.Describe, F.Close, F.Sync, F.CopyData, F.CopyDone])
      queue.push(type);
    expect(queue.mayCopy).toBe(false);
    for (const type of [F.Query, F.Execute]) {
      queue.clear();
      for (const each of [F.Parse, type, F.Sync]) queue.push(each);
      expect(queue.mayCopy).toBe(true);
      queue.pop();
      queue.pop();
      expect([queue.length, queue.mayCopy]).toEqual([1, false]);
    }
  });

  it('forwards by default and keeps nothing for it', () => {
    const queue = new OutstandingQueue();
    queue.push(F.Query);
    expect([queue.headAction, queue.headPayload]).toEqual([ReplyAction.Forward, null]);
  });
});

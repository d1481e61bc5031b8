import { expect, test } from 'vitest';
import { HeldBytes } from '../../src/client/held-bytes.ts';
import { TextBudget } from '../../src/prepared/text-budget.ts';

function takeAll(held: HeldBytes): Buffer {
  const { length } = held;
  const buffer = held.takeBuffer();
  const bytes = Buffer.from(buffer.subarray(0, length));
  HeldBytes.giveBack(buffer);
  return bytes;
}

test('gives back what was put in, in order and once', () => {
  const held = new HeldBytes();
  for (let i = 0; i < 5000; i++) held.add(Buffer.from([0xff, i & 0xff, 0xff]), 1, 2);
  expect(held.length).toBe(5000);
  expect(takeAll(held)).toEqual(Buffer.from(Array.from({ length: 5000 }, (_, i) => i & 0xff)));
  expect([held.length, held.take().length]).toEqual([0, 0]);
  held.add(Buffer.from('end'), 0, 3);
  expect(held.take().toString()).toBe('end');
});

test('a borrowed chunk is copied, an empty part of it is not kept', () => {
  const held = new HeldBytes();
  const chunk = Buffer.from('piece');
  held.add(chunk, 2, 2);
  expect(held.length).toBe(0);
  held.add(chunk, 0, 5);
  chunk.fill('x');
  expect(takeAll(held).toString()).toBe('piece');
});

test('one large piece and what comes behind it', () => {
  const held = new HeldBytes();
  held.add(Buffer.alloc(100_000, 'a'), 0, 100_000);
  held.add(Buffer.from('b'), 0, 1);
  expect(takeAll(held).toString()).toBe(`${'a'.repeat(100_000)}b`);
});

test('a buffer serves again once it was given back, and not before', () => {
  const [one, two] = [new HeldBytes(), new HeldBytes()];
  one.add(Buffer.from('first'), 0, 5);
  const taken = one.takeBuffer();
  two.add(Buffer.from('second'), 0, 6);
  one.add(Buffer.from('third'), 0, 5);
  expect(taken.subarray(0, 5).toString()).toBe('first');
  HeldBytes.giveBack(taken);
  const next = new HeldBytes();
  next.add(Buffer.from('x'), 0, 1);
  expect(next.takeBuffer()).toBe(taken);
  expect([takeAll(two).toString(), takeAll(one).toString()]).toEqual(['second', 'third']);
});

test('clear forgets', () => {
  const held = new HeldBytes();
  held.add(Buffer.from('gone'), 0, 4);
  held.clear();
  held.add(Buffer.from('kept'), 0, 4);
  expect(takeAll(held).toString()).toBe('kept');
});

test('what is held beyond 64 kB counts in the budget, and is refused where it is too much', () => {
  const budget = new TextBudget(100_000);
  const [one, two] = [new HeldBytes(budget), new HeldBytes(budget)];
  const piece = Buffer.alloc(70_000);
  one.add(piece, 0, 60_000);
  expect(budget.usedBytes).toBe(0);
  one.add(piece, 0, 60_000);
  two.add(piece, 0, 70_000);
  expect(budget.usedBytes).toBe(120_000 - 65_536 + 70_000 - 65_536);
  expect(() => two.add(piece, 0, 70_000)).toThrow('out of memory');
  expect(one.take().length).toBe(120_000);
  two.add(piece, 0, 70_000);
  two.clear();
  expect([budget.usedBytes, two.length]).toEqual([0, 0]);
});

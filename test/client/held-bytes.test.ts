import { expect, onTestFinished, test, vi } from 'vitest';
import { HeldBytes } from '../../src/client/held-bytes.ts';

test('gives back what was put in, in order and once', () => {
  const held = new HeldBytes();
  for (let i = 0; i < 1000; i++) held.push(Buffer.from([i & 0xff]));
  expect(held.length).toBe(1000);
  expect(held.take()).toEqual(Buffer.from(Array.from({ length: 1000 }, (_, i) => i & 0xff)));
  expect([held.length, held.take().length]).toEqual([0, 0]);
});

test('one piece comes back as it is, an empty one is not kept', () => {
  const held = new HeldBytes();
  const piece = Buffer.from('piece');
  held.push(Buffer.alloc(0));
  held.push(piece);
  expect(held.take()).toBe(piece);
});

test('many small pieces are joined: single bytes cost little more than their number', () => {
  const join = vi.spyOn(Buffer, 'concat');
  onTestFinished(() => join.mockRestore());
  const held = new HeldBytes();
  for (let i = 0; i < 10_000; i++) held.push(Buffer.from('x'));
  expect(held.take().length).toBe(10_000);
  const pieces = join.mock.calls.map(([list]) => list.length);
  expect(Math.max(...pieces)).toBe(64);
});

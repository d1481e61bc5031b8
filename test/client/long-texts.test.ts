import { expect, test } from 'vitest';
import { LongTexts } from '../../src/client/long-texts.ts';

test('a long text waits until the last one is answered or skipped, a short one never does', () => {
  const [short, long] = [16 * 1024, 16 * 1024 + 1];
  for (const end of ['settle', 'undo'] as const) {
    const texts = new LongTexts();
    expect([texts.sent(short), texts.mayBeSent(long)]).toEqual([[], true]);
    const [change] = texts.sent(long);
    expect([texts.mayBeSent(long), texts.mayBeSent(short)]).toEqual([false, true]);
    change?.[end]();
    expect(texts.mayBeSent(long)).toBe(true);
  }
});

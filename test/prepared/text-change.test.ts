import { describe, expect, it } from 'vitest';
import { TextChange } from '../../src/prepared/text-change.ts';

describe('a text in which names were replaced', () => {
  const text = Buffer.from('xxé "ä"; b; Fzz');
  const name = text.indexOf('"ä"');
  const change = new TextChange(
    text,
    2,
    text.length - 2,
    [
      { start: name, end: name + 4, text: 'ours_1' },
      { start: name + 6, end: name + 7, text: 'o' },
    ],
    true,
  );

  it('has the new names in it, and nothing of what is around the text', () => {
    expect(change.take().toString()).toBe('é ours_1; o; F');
  });

  it('tells where a character of it was before', () => {
    // é=1 space=2 name=3-8 ;=9 space=10 o=11 ;=12 space=13 F=14, before: name=3-5 ;=6 b=8 ;=9 F=11
    expect([1, 2, 3, 8, 9, 11, 12, 14].map((at) => change.position(at))).toEqual([1, 2, 3, 3, 6, 8, 9, 11]);
  });

  it('counts bytes where characters are not known', () => {
    const bytes = new TextChange(text, 0, text.length, [{ start: name, end: name + 4, text: 'n' }], false);
    expect(bytes.position(name + 2)).toBe(name + 5);
  });
});

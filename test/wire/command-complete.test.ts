import { describe, expect, it } from 'vitest';
import { mayBeSessionTag, sessionTag } from '../../src/wire/command-complete.ts';

const body = (tag: string) => Buffer.from(`${tag}\0`);

describe('a tag', () => {
  it.each([
    ['SET', 'set'],
    ['RESET', 'reset'],
    ['ROLLBACK', 'rollback'],
    ['DISCARD ALL', 'discard'],
    ['DEALLOCATE ALL', 'deallocate'],
  ] as const)('%s is acted on', (tag, meaning) => {
    const bytes = body(tag);
    expect(sessionTag(bytes)).toBe(meaning);
    expect(mayBeSessionTag(bytes.length, bytes[0] as number)).toBe(true);
    // The first byte may be in the next chunk.
    expect(mayBeSessionTag(bytes.length, -1)).toBe(true);
  });

  it.each(['SELECT 1', 'INSERT 0 1', 'BEGIN', 'COMMIT', 'DO', 'UPDATE 1'])('%s is not even kept', (tag) => {
    const bytes = body(tag);
    expect(mayBeSessionTag(bytes.length, bytes[0] as number)).toBe(false);
    expect(sessionTag(bytes)).toBeNull();
  });
});

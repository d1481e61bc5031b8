import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineFormatter, sanitizeMessage } from '../../src/daemon/log-line.ts';

describe('a log line', () => {
  it('has local time with milliseconds and zone, pid, level and message', () => {
    const line = new LineFormatter(4711).format(
      Date.UTC(2026, 0, 2, 3, 4, 5, 6),
      'WARNING',
      'pooler error: x',
    );
    expect(line).toMatch(
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.006 [A-Z+\-0-9]+ \[4711\] WARNING pooler error: x\n$/,
    );
  });

  it('indents what follows a newline in the message', () => {
    expect(sanitizeMessage('one\ntwo\n')).toBe('one\n\ttwo\n\t');
  });

  it('shows control characters instead of passing them to the terminal', () => {
    expect(sanitizeMessage('a\r\x1b[2J\x00\x7f\x9b\u2028\u202eb')).toBe(
      'a\\x0d\\x1b[2J\\x00\\x7f\\x9b\\u2028\\u202eb',
    );
  });

  it('keeps tabs, umlauts and characters beyond the basic plane', () => {
    expect(sanitizeMessage('ä\t日本 😀')).toBe('ä\t日本 😀');
  });

  it('cannot be forged: whatever the message, every further line begins with a tab', () => {
    const formatter = new LineFormatter(1);
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (message) => {
        const line = formatter.format(0, 'LOG', message);
        const [, ...rest] = line.slice(0, -1).split(/\r\n|[\n\r\v\f\x85\u2028\u2029]/);
        expect(rest.filter((continuation) => !continuation.startsWith('\t'))).toEqual([]);
      }),
    );
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseErrorFields } from '../../src/wire/error-fields.ts';
import { errorResponse } from '../../src/wire/error-response.ts';
import { fatal } from '../../src/wire/pg-error.ts';

function parse(body: string) {
  return parseErrorFields(Buffer.from(body, 'latin1'));
}

describe('parseErrorFields', () => {
  it('reads the fields of an error as PostgreSQL sends it, others skipped', () => {
    expect(
      parse(
        'SFEHLER\0VERROR\0C42P01\0Mrelation \xc3\xbc\0Ddetail\0Hhint\0P15\0sshop\0Fparse_relation.c\0L1449\0Rparser\0\0',
      ),
    ).toEqual({
      severity: 'FEHLER',
      severityNonlocalized: 'ERROR',
      sqlstate: '42P01',
      message: 'relation ü',
      detail: 'detail',
      hint: 'hint',
      routine: 'parser',
    });
  });

  it('reads what our own builder writes, from the middle of a chunk', () => {
    const bytes = Buffer.concat([
      Buffer.from('xx'),
      errorResponse(fatal('no such database: a')),
      Buffer.from('Sx\0'),
    ]);
    expect(parseErrorFields(bytes, 2 + 5, bytes.length - 3)).toEqual({
      severity: 'FATAL',
      severityNonlocalized: 'FATAL',
      sqlstate: '08P01',
      message: 'no such database: a',
    });
  });

  it.each([
    ['an error without SQLSTATE', 'SERROR\0Mno code\0\0', { severity: 'ERROR', message: 'no code' }],
    ['an empty body', '', {}],
    ['only the terminator', '\0', {}],
    ['a type byte alone', 'M', { message: '' }],
    ['a missing terminator', 'C57P01\0', { sqlstate: '57P01' }],
    ['a last text without end', 'C57P01\0Mgoing dow', { sqlstate: '57P01', message: 'going dow' }],
    ['fields behind the terminator', 'Ma\0\0\0C57P01\0\0', { message: 'a' }],
    ['a doubled field', 'Ma\0Mb\0\0', { message: 'a' }],
    ['an empty text', 'M\0C\0\0', { message: '', sqlstate: '' }],
    ['bytes that are no UTF-8', 'Ma\xffb\0\0', { message: 'a\ufffdb' }],
  ])('reads %s', (_, body, fields) => {
    expect(parse(body)).toEqual(fields);
  });

  it('gives the fields up to any cut, and reads nothing behind it', () => {
    const body = Buffer.from('SERROR\0C57014\0Mcanceled\0\0');
    for (let cut = 0; cut <= body.length; cut++) {
      const fields = parseErrorFields(body, 0, cut);
      expect('ERROR'.startsWith(fields.severity ?? ''), `cut at ${cut}`).toBe(true);
      expect(fields.sqlstate, `cut at ${cut}`).toBe(cut < 8 ? undefined : '57014'.slice(0, cut - 8));
      expect(fields.message, `cut at ${cut}`).toBe(cut < 15 ? undefined : 'canceled'.slice(0, cut - 15));
    }
  });

  it('cuts an overlong text between two characters and goes on behind it', () => {
    // One byte in front makes the limit fall into the middle of a four-byte character.
    const fields = parseErrorFields(Buffer.from(`Mx${'😀'.repeat(100_000)}\0C53200\0\0`));
    expect(fields.message).toBe(`x${'😀'.repeat(4095)}`);
    expect(fields.sqlstate).toBe('53200');
  });

  it('keeps a bounded text of bytes that are no UTF-8', () => {
    const fields = parseErrorFields(Buffer.concat([Buffer.from('M'), Buffer.alloc(1_000_000, 0x80)]));
    expect(fields.message?.length).toBeGreaterThan(16_000);
    expect(fields.message?.length).toBeLessThanOrEqual(16_384);
  });

  it('gives up after more fields than any server sends', () => {
    expect(parse(`${'Q\0'.repeat(63)}C57P01\0\0`)).toEqual({ sqlstate: '57P01' });
    expect(parse(`${'Q\0'.repeat(64)}C57P01\0\0`)).toEqual({});
  });

  it('never throws on random bytes', () => {
    const letters = fc.array(fc.constantFrom(0, 0x53, 0x43, 0x4d, 0xc3), { maxLength: 40 });
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 80 }),
          letters.map((list) => Uint8Array.from(list)),
        ),
        fc.nat({ max: 20 }),
        fc.nat({ max: 90 }),
        (bytes, start, end) => {
          for (const text of Object.values(parseErrorFields(Buffer.from(bytes), start, end))) {
            expect(text).toEqual(expect.not.stringContaining('\0'));
          }
        },
      ),
    );
  });
});

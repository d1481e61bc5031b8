import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type LookupAnswer, LookupReader } from '../../src/server/lookup-reader.ts';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';
import { cuttings, feedBorrowed } from '../support/cut.ts';
import { backend as b, lyingMessage, message } from '../support/peer-messages.ts';

const ready = b.readyForQuery;
const begun = [message('1'), message('2')];
const columns = b.rowDescription('name', 'secret');
const done = [b.commandComplete('SELECT 1'), ready()];

function read(chunks: readonly Buffer[], owed = 9): LookupAnswer[] {
  const answers: LookupAnswer[] = [];
  const reader = new LookupReader(
    () => answers.length < owed,
    (answer) => answers.push(answer),
  );
  feedBorrowed(chunks, (chunk) => void reader.feed(chunk, 0, chunk.length));
  return answers;
}

describe('answers to lookups', () => {
  it.each<readonly [string, Buffer[], Partial<LookupAnswer>[]]>([
    ['one row', [...begun, columns, b.dataRow('a', 's'), ...done], [{ columns: 2, row: ['a', 's'] }]],
    [
      'the last of several rows',
      [...begun, columns, b.dataRow('a', '1'), b.dataRow('b', '2'), ...done],
      [{ row: ['b', '2'] }],
    ],
    ['no row', [...begun, columns, ...done], [{ columns: 2, row: null, error: null }]],
    [
      'a name that the database’s encoding does not have',
      [message('1'), b.errorResponse({ S: 'ERROR', C: '22P05', M: 'no' }), ready()],
      [{ row: null, error: null, isForeign: true }],
    ],
    ['no result', [...begun, message('n'), ...done], [{ columns: 0, row: null }]],
    [
      'an error, and the next answer behind it',
      [b.errorResponse({ S: 'ERROR', M: 'no' }), ready(), ...begun, columns, b.dataRow('a', 's'), ...done],
      [
        { row: null, error: { severity: 'ERROR', message: 'no' } },
        { row: ['a', 's'], error: null },
      ],
    ],
  ])('%s, however they are cut', (_what, messages, expected) => {
    const noise = [b.parameterStatus('a', 'b'), message('N', Buffer.from('Mx\0\0'))];
    for (const { name, chunks } of cuttings(Buffer.concat([...noise, ...messages, ...noise]))) {
      expect(read(chunks), name).toMatchObject(expected);
    }
  });

  it.each<readonly [string, Buffer[]]>([
    ['a transaction left open', [...begun, columns, ready('T')]],
    ['a failed transaction', [ready('E')]],
    ['COPY', [message('G', Buffer.of(0, 0, 0))]],
    ['an unknown message', [message('?')]],
    ['a row that lies about its length', [lyingMessage('D', 2)]],
    ['a message that is too long', [lyingMessage('D', 2 ** 30)]],
    ['a suspended portal', [message('s')]],
  ])('%s ends it', (_what, messages) => {
    expect(() => read(messages)).toThrow(ProtocolViolation);
  });

  it('an answer that nobody has asked for ends it', () => {
    expect(() => read([...begun], 0)).toThrow(ProtocolViolation);
    expect(read([b.errorResponse({ M: 'going down' })], 0)).toEqual([]);
  });

  it('whatever bytes come, nothing but a ProtocolViolation is thrown', () => {
    const part = fc.oneof(
      fc.constantFrom(...begun, columns, ready(), b.dataRow('a')),
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      fc
        .tuple(fc.constantFrom('D', 'T', 'E', 'Z'), fc.uint8Array({ maxLength: 40 }))
        .map(([t, x]) => message(t, x)),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
        try {
          read(parts);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolViolation);
        }
      }),
      { numRuns: 500 },
    );
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Fence, newFence } from '../../src/server/fence.ts';
import { OwnQuery, type OwnQueryResult } from '../../src/server/own-query.ts';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';
import { cuttings, feedBorrowed } from '../support/cut.ts';
import { backend as b, int16, lyingMessage, message } from '../support/peer-messages.ts';

const ready = b.readyForQuery;
const error = b.errorResponse({ S: 'ERROR', C: '42601', M: 'no' });
const empty = message('I');

/** Feeds chunks the way a connection does: what is behind the result goes to the next reader. */
function answer(fence: Fence | null, chunks: readonly Buffer[]) {
  const results: OwnQueryResult[] = [];
  const parameters: string[] = [];
  let rest = 0;
  const query = new OwnQuery(
    fence,
    {
      parameterStatus: (name, value) => parameters.push(`${name}=${value}`),
      sessionTag: (tag) => {
        if (tag !== null) parameters.push(tag);
      },
      notified: (body) => parameters.push(`notified ${body.length}`),
      ending: ({ sqlstate }, body) => parameters.push(`ending ${sqlstate} ${body.length}`),
    },
    (result) => results.push(result),
  );
  feedBorrowed(chunks, (chunk) => {
    const pos = results.length > 0 ? 0 : query.feed(chunk, 0, chunk.length);
    rest += chunk.length - pos;
  });
  return { results, parameters, rest };
}

describe('a query of ours', () => {
  it.each<readonly [string, Buffer[], boolean, string | undefined]>([
    [
      'with rows',
      [b.rowDescription('a'), b.dataRow('x'), b.commandComplete('SELECT 1'), ready()],
      true,
      undefined,
    ],
    ['that is empty', [empty, ready()], true, undefined],
    ['that fails', [error, ready()], true, 'no'],
    ['that fails twice', [error, b.errorResponse({ M: 'again' }), ready()], true, 'no'],
    ['whose error says nothing', [b.errorResponse({}), ready()], true, undefined],
    ['that opens a transaction', [b.commandComplete('BEGIN'), ready('T')], false, undefined],
    ['in a failed transaction', [error, ready('E')], false, 'no'],
    [
      'with a notice and a notification',
      [message('N', Buffer.of(0)), message('A', 1, 'c', 'p'), ready()],
      true,
      undefined,
    ],
    [
      'that copies out',
      [message('H', Buffer.of(0), int16(0)), message('d', 'x'), message('c'), ready()],
      true,
      undefined,
    ],
  ])('%s ends with its ReadyForQuery, however the answer is cut', (_what, parts, isIdle, text) => {
    for (const { name, chunks } of cuttings(Buffer.concat([...parts, Buffer.from('rest')]))) {
      const { results, rest } = answer(null, chunks);
      expect(results, name).toHaveLength(1);
      expect([results[0]?.isIdle, results[0]?.error?.message], name).toEqual([isIdle, text]);
      expect(rest, name).toBe(4);
    }
  });

  it('an error counts even when it names no message', () => {
    expect(answer(null, [b.errorResponse({}), ready()]).results[0]?.error).toEqual({});
  });

  it.each([
    'FATAL',
    'PANIC',
  ])('tells of what ends the connection (%s), whatever language it is in', (severity) => {
    const end = b.errorResponse({ S: 'FATALE', V: severity, C: '57P01', M: 'over' });
    for (const { name, chunks } of cuttings(Buffer.concat([error, end]))) {
      const { results, parameters } = answer(null, chunks);
      expect([results, parameters], name).toEqual([[], [`ending 57P01 ${end.length - 5}`]]);
    }
    // The result has it already.
    expect(answer(newFence(), [end])).toMatchObject({ parameters: [], results: [{ isIdle: false }] });
    const old = b.errorResponse({ S: severity, C: '57P01', M: 'over' });
    expect(answer(null, [old]).parameters).toHaveLength(1);
  });

  it('reports the parameters that it changes', () => {
    const { parameters, results } = answer(null, [b.parameterStatus('TimeZone', 'UTC'), ready()]);
    expect([parameters, results.length]).toEqual([['TimeZone=UTC'], 1]);
  });

  it.each([
    ['DISCARD ALL', ['discard']],
    ['DEALLOCATE ALL', ['deallocate']],
    ['RESET', ['reset']],
    ['SET', ['set']],
    ['SELECT 1', []],
  ])('%s tells what has become of prepared statements', (tag, events) => {
    for (const { name, chunks } of cuttings(Buffer.concat([b.commandComplete(tag), ready()]))) {
      expect(answer(null, chunks).parameters, name).toEqual(events);
    }
  });

  it('skips rows however large they are', () => {
    const row = Buffer.alloc(3 << 20);
    expect(answer(null, [lyingMessage('D', row.length + 4), row, ready()]).results).toHaveLength(1);
  });

  it.each([
    ['COPY IN', message('G', Buffer.of(0), int16(0))],
    ['COPY BOTH', message('W', Buffer.of(0), int16(0))],
    ['ParseComplete', message('1')],
    ['an Authentication message', b.authenticationOk()],
    ['a malformed ParameterStatus', message('S', 'x')],
    ['ReadyForQuery without status', message('Z')],
    ['a type that does not exist', message('?')],
    ['an error over the limit', lyingMessage('E', 2 << 20)],
    ['a bad length', lyingMessage('D', 3)],
  ])('is broken off by %s', (_what, bytes) => {
    expect(() => answer(null, [bytes])).toThrow(ProtocolViolation);
    expect(() => answer(newFence(), [bytes])).toThrow(ProtocolViolation);
  });

  it('by any bytes is broken off, waits, or ends once', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 30 })),
        fc.boolean(),
        (parts, isFence) => {
          try {
            expect(
              answer(
                isFence ? newFence() : null,
                parts.map((part) => Buffer.from(part)),
              ).results.length,
            ).toBeLessThan(2);
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(ProtocolViolation);
          }
        },
      ),
    );
  });
});

describe('a fence', () => {
  const fence = newFence();
  const end = [fence.description, b.dataRow('1'), b.commandComplete('SELECT 1'), ready()];

  it.each<readonly [string, Buffer[]]>([
    ['nothing', []],
    ['stray ReadyForQuery', [ready(), ready('T'), ready()]],
    ['the answer to an empty query', [empty, ready()]],
    ['another row', [b.rowDescription('?column?'), b.dataRow('x'), b.commandComplete('SELECT 1'), ready()]],
    ['another fence', [newFence().description, b.dataRow('1'), b.commandComplete('SELECT 1'), ready()]],
    [
      'its name in a row',
      [b.rowDescription('a'), b.dataRow(fence.sql.slice('SELECT 1 AS '.length)), ready()],
    ],
    ['an unsolicited parameter', [b.parameterStatus('a', 'b')]],
  ])('holds behind %s', (_what, leftovers) => {
    const before = Buffer.concat(leftovers);
    expect(answer(fence, before.length > 0 ? [before] : []).results).toEqual([]);
    for (const { name, chunks } of cuttings(Buffer.concat([...leftovers, ...end]))) {
      expect(answer(fence, chunks).results, name).toEqual([{ error: null, isIdle: true }]);
    }
  });

  it('tells when it was answered inside a transaction', () => {
    expect(answer(fence, [...end.slice(0, 3), ready('T')]).results).toEqual([{ error: null, isIdle: false }]);
  });

  it('gives up at an error: what is behind may be skipped', () => {
    const { results, rest } = answer(fence, [ready(), error]);
    expect(results.map(({ isIdle, error: fields }) => [isIdle, fields?.message])).toEqual([[false, 'no']]);
    expect(rest).toBe(0);
  });

  it('tells of a notification, however it is cut: a client may wait for it', () => {
    const parts = [message('A', 1, 'c', 'p'), b.commandComplete('SELECT 1'), ready()];
    for (const { name, chunks } of cuttings(Buffer.concat(parts)))
      expect(answer(null, chunks).parameters, name).toEqual(['notified 8']);
  });
});

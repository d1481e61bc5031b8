import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FenceReader, newFence } from '../../src/server/fence.ts';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';
import { cuttings, feedBorrowed } from '../support/cut.ts';
import { backend as b, int16, lyingMessage, message } from '../support/peer-messages.ts';

const fence = newFence();
const ready = b.readyForQuery;
const ends = [() => {}, () => {}] as const;
const answer = [b.dataRow('1'), b.commandComplete('SELECT 1'), ready()];

/** Feeds chunks the way a connection does: what is behind the fence goes to the next reader. */
function read(chunks: readonly Buffer[]): {
  owed: Buffer;
  behind: Buffer;
  reached: number;
  failed: number;
} {
  const owed: Buffer[] = [];
  const behind: Buffer[] = [];
  let reached = 0;
  let failed = 0;
  const reader = new FenceReader(
    fence,
    {
      feed: (chunk, start, end) => {
        owed.push(Buffer.from(chunk.subarray(start, end)));
        return end;
      },
    },
    () => reached++,
    () => failed++,
  );
  feedBorrowed(chunks, (chunk) => {
    const isOver = reached + failed > 0;
    const pos = isOver ? 0 : reader.feed(chunk, 0, chunk.length);
    if (failed > 0) return;
    if (reached === 0) expect(pos).toBe(chunk.length);
    behind.push(Buffer.from(chunk.subarray(pos)));
  });
  return { owed: Buffer.concat(owed), behind: Buffer.concat(behind), reached, failed };
}

describe('a fence', () => {
  it('is a query that is new each time', () => {
    expect(fence.sql).toMatch(/^SELECT 1 AS pgweir_[0-9a-f]{32}$/);
    expect(newFence().sql).not.toBe(fence.sql);
  });

  it.each<readonly [string, Buffer[]]>([
    ['nothing', []],
    ['what a pipeline is owed', [message('1'), message('2'), b.commandComplete('INSERT 0 1'), ready()]],
    ['rows', [b.rowDescription('a'), b.dataRow('x'), b.commandComplete('SELECT 1'), ready()]],
    ['another fence', [newFence().description, ...answer]],
    [
      'the same bytes inside a row',
      [b.rowDescription('a'), b.dataRow(fence.description.toString()), ready()],
    ],
    ['a message without a body and a long one', [message('3'), message('d', Buffer.alloc(300))]],
  ])('lets through %s, takes out its own description and stops there, however it is cut', (_what, parts) => {
    const owed = Buffer.concat(parts);
    for (const { name, chunks } of cuttings(Buffer.concat([owed, fence.description, ...answer]))) {
      expect(read(chunks), name).toEqual({
        owed,
        behind: Buffer.concat(answer),
        reached: 1,
        failed: 0,
      });
    }
  });

  it('has failed with an error ahead of its answer, of which nobody gets anything, however it is cut', () => {
    const owed = Buffer.concat([ready(), message('N', Buffer.of(0))]);
    const error = b.errorResponse({ S: 'ERROR', C: '57014', M: 'canceling statement' });
    for (const { name, chunks } of cuttings(Buffer.concat([owed, error, ready()])))
      expect(read(chunks), name).toEqual({ owed, behind: Buffer.alloc(0), reached: 0, failed: 1 });
  });

  it('is not taken for reached by anything else', () => {
    const parts = [b.rowDescription('a'), ...answer, newFence().description, ...answer];
    expect(read(parts)).toMatchObject({ owed: Buffer.concat(parts), reached: 0 });
  });

  it('leaves a broken header, and all else that is wrong, to the reader of what is owed', () => {
    const heads: string[] = [];
    const reader = new FenceReader(
      fence,
      {
        feed: (chunk, start, end) => {
          heads.push(chunk.toString('hex', start, end));
          throw new ProtocolViolation('bad pkt header');
        },
      },
      () => heads.push('reached'),
      () => heads.push('failed'),
    );
    const bad = lyingMessage('T', 3, int16(0));
    expect(() => reader.feed(bad, 0, bad.length)).toThrow(ProtocolViolation);
    expect(heads).toEqual([bad.toString('hex', 0, 5)]);
  });

  it('does not go on behind a broken header, whatever that reader says', () => {
    const reader = new FenceReader(fence, { feed: (_chunk, _start, end) => end }, ...ends);
    const bad = Buffer.concat([lyingMessage('T', 3, int16(0)), message('1')]);
    expect(() => reader.feed(bad, 0, bad.length)).toThrow(ProtocolViolation);
  });

  it('passes on that the stream is broken', () => {
    const broken = new FenceReader(fence, { feed: () => -1 }, ...ends);
    const bytes = Buffer.concat([message('?'), message('1')]);
    expect(broken.feed(bytes, 0, bytes.length)).toBe(-1);
  });

  it('changes no byte of random messages, cut anywhere', () => {
    const messages = fc.array(
      fc.tuple(fc.constantFrom('T', 'D', 'C', 'Z', '1'), fc.integer({ min: 0, max: 70 })),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(messages, fc.array(fc.nat(400), { maxLength: 8 }), (all, places) => {
        const owed = Buffer.concat(all.map(([type, size]) => message(type, Buffer.alloc(size, type))));
        const bytes = Buffer.concat([owed, fence.description, ...answer]);
        const cuts = [...places.sort((x, y) => x - y).map((place) => Math.min(place, bytes.length))];
        const chunks = [...cuts, bytes.length].map((end, i) => bytes.subarray(cuts[i - 1] ?? 0, end));
        const result = read(chunks.filter((chunk) => chunk.length > 0));
        expect(result).toEqual({ owed, behind: Buffer.concat(answer), reached: 1, failed: 0 });
      }),
      { numRuns: 500 },
    );
  });
});

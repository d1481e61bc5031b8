import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Barrier } from '../../src/server/barrier.ts';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';
import { cuttings, feedBorrowed } from '../support/cut.ts';
import { backend as b, int16, lyingMessage, message } from '../support/peer-messages.ts';

const SYNCS = 3;
const ready = b.readyForQuery;
const notice = message('N', 'SNOTICE', 'Mhear', Buffer.of(0, 0));
const copyBegins = message('G', Buffer.of(0), int16(0));
const done = [message('1'), b.commandComplete('INSERT 0 1'), ready()];

/** What the client gets of chunks, of which the last three ReadyForQuery are ours; and what was told on the way. */
function read(chunks: readonly Buffer[], ours = SYNCS): { owed: Buffer; told: string[] } {
  const owed: Buffer[] = [];
  const told: string[] = [];
  const feed = (chunk: Buffer, from: number, to: number): number => {
    owed.push(Buffer.from(chunk.subarray(from, to)));
    return to;
  };
  const tell = (what: string) => told.push(`${what} at ${Buffer.concat(owed).length}`);
  const barrier = new Barrier(
    { feed },
    SYNCS,
    (isUsable) => tell(isUsable ? 'passed' : 'failed'),
    () => tell('copy'),
  );
  feedBorrowed(chunks, (chunk) => {
    for (let pos = 0; pos < chunk.length; ) pos = barrier.feed(chunk, pos, chunk.length);
  });
  barrier.end(ours);
  return { owed: Buffer.concat(owed), told };
}

describe('a barrier', () => {
  it.each<readonly [string, Buffer[]]>([
    ['nothing', []],
    ['ReadyForQuery alone', [ready(), ready()]],
    ['what a pipeline is owed', done],
    ['several answers', [ready(), ...done, ready('T'), ...done]],
    ['a row with the bytes of ours', [b.dataRow(ready().toString('latin1')), ready()]],
  ])('passes on %s, and nothing of ours behind it, however it is cut', (_what, parts) => {
    const owed = Buffer.concat(parts);
    for (const { name, chunks } of cuttings(Buffer.concat([owed, ready(), ready(), ready()]))) {
      const seen = read(chunks);
      expect(seen.told.join(), name).toMatch(/^passed at \d+$/);
      expect(seen.owed, name).toEqual(owed);
    }
  });

  it('passes on what comes unasked in its place, however it is cut', () => {
    for (const { name, chunks } of cuttings(Buffer.concat([ready(), ready(), notice, ready(), ready()])))
      expect(read(chunks), name).toEqual({ owed: Buffer.concat([ready(), notice]), told: ['passed at 0'] });
  });

  it('passes on more of it than it keeps, and nothing of ours for that', () => {
    const big = message('A', Buffer.alloc(70_000, 'x'));
    for (const unasked of [new Array<Buffer>(5000).fill(notice), [notice, big, notice]]) {
      const { owed, told } = read([ready(), ready(), ...unasked, ready(), ready()]);
      expect(told).toHaveLength(1);
      expect(owed.length).toBe(Buffer.concat([ready(), ...unasked]).length);
      const at = owed.indexOf(ready());
      expect(Buffer.concat([owed.subarray(0, at), owed.subarray(at + ready().length)])).toEqual(
        Buffer.concat(unasked),
      );
    }
  });

  it('is passed when more has come than the client can be owed, and tells when the transaction has failed', () => {
    expect(read([...done, ready(), ready()]).told).toEqual([`passed at ${Buffer.concat(done).length - 6}`]);
    expect(read([...done, ready()]).told).toEqual([]);
    expect(read([ready(), ready(), ready('E')]).told).toEqual(['failed at 0']);
  });

  it('tells of a COPY behind all that is the client’s, and stops there, however it is cut', () => {
    const owed = Buffer.concat([ready(), ready(), copyBegins]);
    for (const { name, chunks } of cuttings(Buffer.concat([owed, notice])))
      expect(read(chunks, 0), name).toEqual({
        owed: Buffer.concat([owed, notice]),
        told: [`copy at ${owed.length}`],
      });
  });

  it('leaves a broken header, and all else that is wrong, to the reader of what is owed', () => {
    for (const bad of [lyingMessage('T', 3, int16(0)), lyingMessage('T', -1)]) {
      const heads: string[] = [];
      const barrier = new Barrier(
        {
          feed: (chunk, from, to) => {
            heads.push(chunk.toString('hex', from, to));
            return to;
          },
        },
        SYNCS,
        () => {},
        () => {},
      );
      expect(() => barrier.feed(bad, 0, bad.length)).toThrow(ProtocolViolation);
      expect(heads).toEqual([bad.toString('hex', 0, 5)]);
    }
    const broken = new Barrier(
      { feed: () => -1 },
      SYNCS,
      () => expect.fail(),
      () => expect.fail(),
    );
    const bytes = Buffer.concat([message('?'), ready(), ready(), ready()]);
    expect(broken.feed(bytes, 0, bytes.length)).toBe(-1);
  });

  it('holds no more ReadyForQuery than ours and those that can be owed', () => {
    const many = (count: number) => Buffer.concat(new Array<Buffer>(count).fill(ready()));
    expect(read([many(2 * SYNCS)]).told).toHaveLength(1);
    expect(() => read([many(2 * SYNCS + 1)])).toThrow(ProtocolViolation);
  });

  it('changes no byte of random messages, cut anywhere', () => {
    const messages = fc.array(
      fc.tuple(fc.constantFrom('T', 'D', 'C', 'Z', '1', 'N', 'S'), fc.integer({ min: 0, max: 70 })),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(messages, fc.array(fc.nat(400), { maxLength: 8 }), (all, places) => {
        // No more in a row than there can be owed.
        fc.pre(
          !all
            .map(([type]) => type)
            .filter((type) => type !== 'N' && type !== 'S')
            .join('')
            .includes('Z'.repeat(SYNCS + 1)),
        );
        const parts = all.map(([type, size]) =>
          type === 'Z' ? ready() : message(type, Buffer.alloc(size, type)),
        );
        const owed = Buffer.concat(parts);
        const bytes = Buffer.concat([owed, ready(), ready(), ready()]);
        const cuts = [...places.sort((x, y) => x - y).map((place) => Math.min(place, bytes.length))];
        const chunks = [...cuts, bytes.length].map((end, i) => bytes.subarray(cuts[i - 1] ?? 0, end));
        expect(read(chunks.filter((chunk) => chunk.length > 0)).owed).toEqual(owed);
      }),
      { numRuns: 500 },
    );
  });
});

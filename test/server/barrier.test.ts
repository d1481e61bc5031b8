import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Barrier, type BarrierEvents } from '../../src/server/barrier.ts';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';
import { cuttings, feedBorrowed } from '../support/cut.ts';
import { backend as b, int16, lyingMessage, message } from '../support/peer-messages.ts';

const SYNCS = 3;
const ready = b.readyForQuery;
const notice = message('N', 'SNOTICE', 'Mhear', Buffer.of(0, 0));
const copyBegins = message('G', Buffer.of(0), int16(0));
const done = [message('1'), b.commandComplete('INSERT 0 1'), ready()];

const ERROR = b.errorResponse({ S: 'ERROR', V: 'ERROR', C: '42601', M: 'no' });
const FATAL = b.errorResponse({ S: 'FATAL', V: 'FATAL', C: '57P01', M: 'over'.repeat(50) });

/** A barrier with all that it passes on and tells of. */
class Run {
  readonly told: string[] = [];
  readonly barrier: Barrier;
  readonly #owed: Buffer[] = [];

  constructor(areEnded = true, isStretchOpen = !areEnded) {
    const feed = (chunk: Buffer, from: number, to: number): number => {
      this.#owed.push(Buffer.from(chunk.subarray(from, to)));
      return to;
    };
    const tell = (what: string) => () => void this.told.push(`${what} at ${this.owed.length}`);
    this.barrier = new Barrier(
      { feed },
      SYNCS,
      { areEnded, isStretchOpen },
      {
        passed: tell('passed'),
        copyBegan: tell('copy'),
        closed: tell('closed'),
        failed: tell('failed'),
      },
    );
  }

  get owed(): Buffer {
    return Buffer.concat(this.#owed);
  }

  feed(...chunks: readonly Buffer[]): this {
    feedBorrowed(chunks, (chunk) => {
      for (let pos = 0; pos < chunk.length; ) pos = this.barrier.feed(chunk, pos, chunk.length);
    });
    return this;
  }
}

/** What the client gets of chunks, of which the last three ReadyForQuery are ours; and what was told on the way. */
function read(chunks: readonly Buffer[], ours = SYNCS, areEnded = true): { owed: Buffer; told: string[] } {
  const run = new Run(areEnded).feed(...chunks);
  run.barrier.end(ours);
  return { owed: run.owed, told: run.told };
}

const ENDED = { areEnded: true, isStretchOpen: false };
const silent: BarrierEvents = { passed() {}, copyBegan() {}, closed() {}, failed() {} };

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
      for (const areEnded of [true, false]) {
        const seen = read(chunks, SYNCS, areEnded);
        expect(seen.told.join(), name).toMatch(/^passed at \d+$/);
        expect(seen.owed, name).toEqual(owed);
      }
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

  it('is passed when more has come than the client can be owed, whatever has become of the transaction', () => {
    expect(read([...done, ready(), ready()]).told).toEqual([`passed at ${Buffer.concat(done).length}`]);
    expect(read([...done, ready()]).told).toEqual([]);
    expect(read([ready(), ready(), ready('E')]).told).toEqual(['passed at 0']);
  });

  it('keeps nobody waiting for a ReadyForQuery that is the client’s for certain, nor for what is unasked behind it', () => {
    const all = Buffer.concat([...done, notice]);
    for (const { name, chunks } of cuttings(all)) expect(new Run().feed(...chunks).owed, name).toEqual(all);
  });

  it('keeps nobody waiting for one behind a COPY once there is an answer behind that', () => {
    const all = Buffer.concat([message('1'), copyBegins, b.commandComplete('COPY 1'), ready(), ...done]);
    for (const { name, chunks } of cuttings(all)) expect(new Run().feed(...chunks).owed, name).toEqual(all);
    const before = Buffer.concat([...done, ...done, ready()]);
    for (const { name, chunks } of cuttings(before))
      expect(new Run(false, false).feed(...chunks).owed, name).toEqual(before.subarray(0, -ready().length));
  });

  it('passes on none of what it holds ahead of the end, however much has come unasked', () => {
    // Kept, and no room beside it.
    const most = message('A', Buffer.alloc(65_536 - 60, 'x'));
    expect(read([ready(), most, FATAL]).owed).toEqual(Buffer.concat([most, FATAL]));
    const run = new Run().feed(ready(), ready(), ready(), most, FATAL);
    expect(run.owed).toEqual(Buffer.concat([most, FATAL]));
  });

  it('knows what the last ReadyForQuery has said', () => {
    const { barrier } = new Run().feed(...done, ready('T'), ready('E'));
    expect(barrier.status).toBe('E'.charCodeAt(0));
  });

  it.each<readonly [string, boolean, Buffer[]]>([
    ['a Sync is still to come', false, done],
    ['a COPY has swallowed it', true, [message('1'), copyBegins, b.commandComplete('COPY 1'), ready()]],
    ['a COPY BOTH may have', true, [message('W', Buffer.of(0), int16(0)), b.commandComplete('x'), ready()]],
  ])('holds what a Sync of ours may have brought right behind an answer: %s', (_what, areEnded, parts) => {
    for (const { name, chunks } of cuttings(Buffer.concat([...parts, ready(), ready()]))) {
      const { owed, told } = read(chunks, SYNCS, areEnded);
      expect(owed, name).toEqual(Buffer.concat(parts.slice(0, -1)));
      expect(told.at(-1), name).toBe(`passed at ${owed.length}`);
    }
  });

  it('passes on none of what it holds ahead of the end of the connection', () => {
    for (const { name, chunks } of cuttings(Buffer.concat([ready(), notice, FATAL])))
      expect(read(chunks).owed, name).toEqual(Buffer.concat([notice, FATAL]));
    const ours = [ready(), ready(), ready()];
    for (const { name, chunks } of cuttings(Buffer.concat([ready(), ERROR, ready(), ...ours])))
      expect(read(chunks).owed, name).toEqual(Buffer.concat([ready(), ERROR, ready()]));
    for (const { name, chunks } of cuttings(Buffer.concat([...ours, notice, FATAL])))
      expect(read(chunks), name).toEqual({ owed: Buffer.concat([notice, FATAL]), told: ['passed at 0'] });
  });

  it('passes on what came unasked when the connection is lost, and no ReadyForQuery', () => {
    for (const { name, chunks } of cuttings(Buffer.concat([ready(), notice, notice.subarray(0, 7)]))) {
      const run = new Run().feed(...chunks);
      run.barrier.lost();
      expect(run.owed, name).toEqual(notice);
    }
    const half = message('A', Buffer.alloc(70_000, 'x')).subarray(0, 30_000);
    const run = new Run().feed(ready(), notice, half);
    run.barrier.lost();
    expect(run.owed).toEqual(Buffer.concat([notice, half]));
  });

  it('behind all that is the client’s tells of the answer to a Close and stops there, however it is cut', () => {
    const all = [...done, ready(), ready(), notice, ready(), message('3')];
    for (const { name, chunks } of cuttings(Buffer.concat([...all, Buffer.from('rest')]))) {
      const run = new Run();
      let rest = 0;
      feedBorrowed(chunks, (chunk) => {
        let pos = 0;
        while (pos < chunk.length && run.told.length < 2) pos = run.barrier.feed(chunk, pos, chunk.length);
        rest += chunk.length - pos;
      });
      expect(rest, name).toBe(4);
      run.barrier.end(SYNCS);
      expect(run.owed, name).toEqual(Buffer.concat([...done, notice]));
      const { length } = Buffer.concat(done);
      expect(run.told, name).toEqual([`passed at ${length}`, `closed at ${length}`]);
    }
    // Before that, it is the client's.
    const own = Buffer.concat([message('3'), ready()]);
    expect(read([own, ready(), ready(), ready()])).toEqual({ owed: own, told: [`passed at ${own.length}`] });
  });

  it('behind all that is the client’s has failed with an error, of which nobody gets anything, however it is cut', () => {
    for (const { name, chunks } of cuttings(Buffer.concat([ready(), ready(), ready(), ready(), ERROR]))) {
      const { owed, told } = new Run().feed(...chunks);
      expect([owed.length, told], name).toEqual([0, ['passed at 0', 'failed at 0']]);
    }
  });

  it.each([
    ['a row', b.dataRow('1')],
    ['CommandComplete', b.commandComplete('SELECT 1')],
    ['CloseComplete with a body', message('3', Buffer.of(1))],
    ['a COPY', copyBegins],
    ['an error beyond all bounds', lyingMessage('E', 1 << 20)],
  ])('behind all that is the client’s takes %s for a fault of the server’s', (_what, bytes) => {
    const run = new Run().feed(ready(), ready(), ready());
    expect(() => run.feed(bytes)).toThrow(ProtocolViolation);
    expect(run.owed.length).toBe(0);
  });

  it('leaves a ReadyForQuery that says nothing that there is to the reader of what is owed', () => {
    const owed = {
      feed: (chunk: Buffer, from: number, to: number) => (chunk.subarray(from, to).includes(0x58) ? -1 : to),
    };
    const bytes = message('Z', Buffer.from('X'));
    expect(new Barrier(owed, SYNCS, ENDED, silent).feed(bytes, 0, bytes.length)).toBe(-1);
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
        ENDED,
        silent,
      );
      expect(() => barrier.feed(bad, 0, bad.length)).toThrow(ProtocolViolation);
      expect(heads).toEqual([bad.toString('hex', 0, 5)]);
    }
    const fail = () => expect.fail();
    const events = { passed: fail, copyBegan: fail, closed: fail, failed: fail };
    const broken = new Barrier({ feed: () => -1 }, SYNCS, ENDED, events);
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
        // Fewer in a row than show that nothing more is owed.
        fc.pre(
          !all
            .map(([type]) => type)
            .filter((type) => type !== 'N' && type !== 'S')
            .join('')
            .includes('Z'.repeat(SYNCS)),
        );
        const parts = all.map(([type, size]) =>
          type === 'Z' ? ready() : message(type, Buffer.alloc(size, type)),
        );
        const owed = Buffer.concat(parts);
        const bytes = Buffer.concat([owed, ready(), ready(), ready()]);
        const cuts = [...places.sort((x, y) => x - y).map((place) => Math.min(place, bytes.length))];
        const chunks = [...cuts, bytes.length].map((end, i) => bytes.subarray(cuts[i - 1] ?? 0, end));
        const isEnded = (all.findLast(([type]) => type !== 'N' && type !== 'S')?.[0] ?? 'Z') === 'Z';
        for (const areEnded of [false, isEnded])
          expect(
            read(
              chunks.filter((chunk) => chunk.length > 0),
              SYNCS,
              areEnded,
            ).owed,
          ).toEqual(owed);
      }),
      { numRuns: 500 },
    );
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ReplyAction } from '../../src/relay/outstanding.ts';
import { backend as b, int16, int32, lyingMessage, message } from '../support/peer-messages.ts';
import { type Asked, allCuttings, ask, FakeResponseHost } from './kit.ts';

const ready = b.readyForQuery;
const rows = [b.rowDescription('a'), b.dataRow('1'), b.dataRow('22'), b.commandComplete('SELECT 2')];
const notice = message('N', Buffer.from('SNOTICE\0C00000\0Mhm\0\0'));
const notification = message('A', 4242, 'channel', 'payload');
const error = b.errorResponse({ S: 'ERROR', C: '42601', M: 'no' });
const parsed = message('1');
const bound = message('2');
const closed = message('3');
const noData = message('n');
const described = message('t', int16(1), int32(23));
const ours = Buffer.from('ours');

/** A server message and what the client gets in its place. */
interface Step {
  readonly from: Buffer;
  readonly to: Buffer;
}
const pass = (...all: Buffer[]): Step[] => all.map((from) => ({ from, to: from }));
const drop = (...all: Buffer[]): Step[] => all.map((from) => ({ from, to: Buffer.alloc(0) }));
const become = (from: Buffer, to: Buffer): Step[] => [{ from, to }];

const { Swallow, Synthesize, Rewrite } = ReplyAction;

const golden: readonly [name: string, asked: readonly Asked[], steps: readonly Step[], events: string[]][] = [
  ['a simple query', ['Q'], pass(...rows, ready()), ['I']],
  [
    'two queries with their transaction',
    ['QQ'],
    pass(b.commandComplete('BEGIN'), ready('T'), ...rows, ready('E')),
    ['T', 'E'],
  ],
  ['a pipeline', ['PBDES'], pass(parsed, bound, ...rows, ready()), ['I']],
  ['a pipeline that fails', ['PBDES'], pass(parsed, error, ready()), ['I']],
  [
    'COPY IN',
    ['Qc'],
    pass(message('G', Buffer.of(0), int16(0)), b.commandComplete('COPY 1'), ready()),
    ['I'],
  ],
  [
    'COPY OUT',
    ['Q'],
    pass(
      message('H', Buffer.of(0), int16(0)),
      message('d', 'row'),
      message('c'),
      b.commandComplete('COPY 1'),
      ready(),
    ),
    ['I'],
  ],
  [
    'COPY BOTH with a row at its end',
    ['Q'],
    pass(
      message('W', Buffer.of(0), int16(0)),
      message('d', Buffer.from('w'), Buffer.alloc(40, 1)),
      notice,
      message('d', Buffer.from('k')),
      message('c'),
      ...rows.slice(0, 2),
      b.commandComplete('SELECT 1'),
      b.commandComplete('COPY 0'),
      ready(),
    ),
    ['I'],
  ],
  [
    'COPY BOTH that fails, with another query behind it',
    ['QdcQ'],
    pass(
      message('W', Buffer.of(0), int16(0)),
      message('d', Buffer.from('w')),
      error,
      ready(),
      ...rows,
      ready(),
    ),
    ['I', 'I'],
  ],
  [
    'messages for all in the middle',
    ['Q'],
    pass(
      notice,
      ...rows.slice(0, 2),
      b.parameterStatus('TimeZone', 'UTC'),
      notification,
      ...rows.slice(2),
      ready(),
      notification,
    ),
    ['TimeZone=UTC', 'I'],
  ],
  [
    'an empty query and a function call',
    ['QF'],
    pass(message('I'), ready(), message('V', -1), ready()),
    ['I', 'I'],
  ],
  [
    'a query of ours, then the client’s',
    [['Q', Swallow], 'Q'],
    [...drop(...rows, notice, ready()), ...pass(...rows, ready())],
    ['I', 'I'],
  ],
  [
    'a Parse of ours',
    [['P', Swallow], 'BES'],
    [...drop(parsed), ...pass(bound, ...rows.slice(1), ready())],
    ['I'],
  ],
  [
    'a Parse of ours between two pipelines',
    ['S', ['P', Swallow], 'BS'],
    [...pass(ready()), ...drop(parsed), ...pass(bound, ready())],
    ['I', 'I'],
  ],
  ['a Parse of ours that fails', [['P', Swallow], 'BES'], pass(error, ready()), ['I']],
  [
    'a swallowed message with a body',
    [['E', Swallow], 'S'],
    [...drop(rows[1] as Buffer, rows[3] as Buffer), ...pass(ready())],
    ['I'],
  ],
  [
    'a parameter in the middle of what is swallowed',
    [['Q', Swallow]],
    [...drop(rows[0] as Buffer), ...pass(b.parameterStatus('a', 'b')), ...drop(rows[3] as Buffer, ready())],
    ['a=b', 'I'],
  ],
  [
    'synthesized answers',
    ['B', ['P', Synthesize, parsed], ['C', Synthesize, closed], 'S', ['C', Synthesize, ours], 'S'],
    [
      ...become(bound, Buffer.concat([bound, parsed, closed])),
      ...become(ready(), Buffer.concat([ready(), ours])),
      ...pass(ready()),
    ],
    ['I', 'I'],
  ],
  [
    'a synthesized answer behind a message with a body',
    ['D', ['P', Synthesize, parsed], 'ES'],
    [
      ...pass(described),
      ...become(rows[0] as Buffer, Buffer.concat([rows[0] as Buffer, parsed])),
      ...pass(...rows.slice(1), ready()),
    ],
    ['I'],
  ],
  [
    'a synthesized answer behind a swallowed one',
    [['P', Swallow], ['P', Synthesize, ours], 'S'],
    [...become(parsed, ours), ...pass(ready())],
    ['I'],
  ],
  [
    'a replaced answer',
    ['P', ['D', Rewrite, ours], 'S'],
    [...pass(parsed, described), ...become(rows[0] as Buffer, ours), ...pass(ready())],
    ['I'],
  ],
  [
    'a replaced answer without a body',
    [['D', Rewrite, ours], 'S'],
    [...become(noData, ours), ...pass(ready())],
    ['I'],
  ],
];

/** The events that are due: those of ReadyForQuery come when all bytes up to it are with the client. */
function dueEvents(steps: readonly Step[], events: readonly string[]): string[] {
  let sent = 0;
  const readyAt: number[] = [];
  for (const { from, to } of steps) {
    sent += to.length;
    if (from.toString('latin1', 0, 1) === 'Z') readyAt.push(sent);
  }
  return events.map((event) => (event.length > 1 ? event : `ready ${event} at ${readyAt.shift()}`));
}

describe.each(golden)('%s', (_name, asked, steps, events) => {
  const input = Buffer.concat(steps.map(({ from }) => from));
  const output = Buffer.concat(steps.map(({ to }) => to));

  it('reaches the client in the same bytes and with the same events, however it is cut', () => {
    for (const { name, chunks } of allCuttings(input, 1)) {
      const host = new FakeResponseHost();
      ask(host.tracker, asked);
      host.feed(chunks);
      expect(host.conn.bytes.toString('latin1'), name).toBe(output.toString('latin1'));
      expect(host.conn.areUntouched, name).toBe(true);
      expect(host.events, name).toEqual(dueEvents(steps, events));
      expect([host.stream.atBoundary, host.stream.sinkAtBoundary, host.tracker.isQuiet], name).toEqual([
        true,
        true,
        true,
      ]);
    }
  });

  it('lets ours follow at message boundaries only', () => {
    const host = new FakeResponseHost();
    ask(host.tracker, asked);
    const boundaries = new Set([0]);
    let sent = 0;
    for (const { to } of steps) {
      for (let at = 0; at < to.length && to !== ours; ) {
        // Synthesized bytes that are no message come as one.
        at = to.subarray(at).equals(ours) ? to.length : at + 1 + to.readInt32BE(at + 1);
        boundaries.add(sent + at);
      }
      sent += to.length;
      boundaries.add(sent);
    }
    for (const byte of input) {
      host.feed([Buffer.of(byte)]);
      if (host.stream.sinkAtBoundary) expect(boundaries).toContain(host.conn.bytes.length);
      else expect(boundaries).not.toContain(host.conn.bytes.length);
    }
  });
});

it('hands an uncut chunk on as it is, in one call', () => {
  const chunk = Buffer.concat([...rows, notice, ready()]);
  const host = new FakeResponseHost();
  ask(host.tracker, ['Q']);
  expect(host.stream.feed(chunk, 0, chunk.length)).toBe(chunk.length);
  expect(host.conn.written).toHaveLength(1);
  expect(host.conn.written[0]).toMatchObject({ how: 'forward', start: 0, end: chunk.length });
  expect(host.conn.written[0]?.chunk).toBe(chunk);
});

it('hands on a part of a chunk when told so', () => {
  const chunk = Buffer.concat([Buffer.from('not ours'), ...rows, ready(), Buffer.from('beyond')]);
  const host = new FakeResponseHost();
  ask(host.tracker, ['Q']);
  expect(host.stream.feed(chunk, 8, chunk.length - 6)).toBe(chunk.length - 6);
  expect(host.conn.written.map(({ start, end }) => [start, end])).toEqual([[8, chunk.length - 6]]);
});

it('passes on pieces of a long body without keeping any', () => {
  const host = new FakeResponseHost();
  ask(host.tracker, ['Q']);
  const piece = Buffer.alloc(1000, 7);
  const header = lyingMessage('D', 0x3fff_ffff);
  host.stream.feed(header, 0, header.length);
  for (let i = 0; i < 100; i++) host.stream.feed(piece, 0, piece.length);
  expect(host.conn.written.slice(1).every(({ chunk, end }) => chunk === piece && end === 1000)).toBe(true);
  expect(host.stream.scanner.bodyLeft).toBe(0x3fff_ffff - 4 - 100_000);
  expect([host.stream.atBoundary, host.stream.sinkAtBoundary]).toEqual([false, false]);
});

describe('a server that breaks the protocol', () => {
  const badLength = 'violation: bad pkt header';
  const unknown = 'violation: unknown pkt';
  it.each<readonly [string, Buffer, string]>([
    ...[0, 1, 2, 3, -1, -0x8000_0000, 0x8000_0000, 0xffff_ffff].map((length): [string, Buffer, string] => [
      `a length of ${length}`,
      lyingMessage('D', length),
      badLength,
    ]),
    ['a length above max_packet_size', lyingMessage('D', 1001), badLength],
    ['no message type', lyingMessage('\0', 4), unknown],
    ['a type of clients', lyingMessage('Q', 6), unknown],
    ['an Authentication message', b.authenticationOk(), unknown],
    ['BackendKeyData', b.backendKeyData(1, Buffer.alloc(4)), unknown],
    ['NegotiateProtocolVersion', message('v', 0x30000, 0), unknown],
    ['ReadyForQuery without status', message('Z'), unknown],
    ['ReadyForQuery that is too long', message('Z', Buffer.from('II')), unknown],
    ['ReadyForQuery with no such status', message('Z', Buffer.from('X')), unknown],
  ])('by %s is found out however it is cut, with all before it passed on', (_what, bad, event) => {
    const good = Buffer.concat([...rows, ready()]);
    for (const { name, chunks } of allCuttings(Buffer.concat([good, bad, Buffer.from('\0\0\0\0')]), 2)) {
      const host = new FakeResponseHost(1000);
      ask(host.tracker, ['Q']);
      host.feed(chunks);
      expect(host.events, name).toEqual([`ready I at ${good.length}`, event]);
      expect(host.conn.bytes.equals(good), name).toBe(true);
      expect(host.stream.sinkAtBoundary, name).toBe(true);
    }
  });

  it.each([
    ['without a body', message('S')],
    ['without a value', message('S', 'TimeZone')],
    ['without an end', message('S', Buffer.from('TimeZone\0UTC'))],
  ])('by a ParameterStatus %s is found out, and the client sees whole messages', (_what, bad) => {
    for (const { name, chunks } of allCuttings(Buffer.concat([rows[0] as Buffer, bad]), 3)) {
      const host = new FakeResponseHost();
      ask(host.tracker, ['Q']);
      host.feed(chunks);
      expect(host.events, name).toEqual(['violation: broken ParameterStatus packet']);
      expect(host.conn.bytes.equals(Buffer.concat([rows[0] as Buffer, bad])), name).toBe(true);
      expect(host.stream.sinkAtBoundary, name).toBe(true);
    }
  });

  it('reads a long ParameterStatus, too', () => {
    const host = new FakeResponseHost();
    const value = 'x'.repeat(1_000_000);
    const long = b.parameterStatus('search_path', value);
    host.feed([long.subarray(0, 100), long.subarray(100)]);
    expect(host.events).toEqual([`search_path=${value}`]);
    expect(host.conn.bytes.equals(long)).toBe(true);
  });

  it('by a ParameterStatus too long to be read is found out, with all before it passed on', () => {
    const [row] = rows as [Buffer];
    const long = b.parameterStatus('search_path', 'x'.repeat(1024 * 1024)).subarray(0, 100);
    for (const { name, chunks } of allCuttings(Buffer.concat([row, long]), 2)) {
      const host = new FakeResponseHost();
      ask(host.tracker, ['Q']);
      host.feed(chunks);
      expect(host.events, name).toEqual([badLength]);
      expect(host.conn.bytes.equals(row), name).toBe(true);
      expect(host.stream.sinkAtBoundary, name).toBe(true);
    }
  });

  it('by any bytes does no more than that', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), fc.boolean(), (parts, isAsked) => {
        const host = new FakeResponseHost();
        if (isAsked) ask(host.tracker, ['QPBES']);
        const chunks = parts.filter((part) => part.length > 0).map((part) => Buffer.from(part));
        host.feed(chunks);
        const input = Buffer.concat(chunks);
        expect(input.subarray(0, host.conn.bytes.length).equals(host.conn.bytes)).toBe(true);
      }),
    );
  });
});

describe('a client that', () => {
  it('is gone gets nothing, and the answers still count', () => {
    const host = new FakeResponseHost();
    host.sink = null;
    ask(host.tracker, ['QQ']);
    host.feed([Buffer.concat([...rows, ready(), ...rows, ready()])]);
    expect(host.conn.written).toEqual([]);
    expect(host.tracker.isClean).toBe(true);
  });

  it('goes at ReadyForQuery gets nothing of what is behind it in the chunk', () => {
    const input = Buffer.concat([
      b.commandComplete('BEGIN'),
      ready('T'),
      notification,
      b.parameterStatus('a', 'b'),
    ]);
    for (const { name, chunks } of allCuttings(input, 4)) {
      const host = new FakeResponseHost();
      host.onReady = () => {
        host.sink = null;
      };
      ask(host.tracker, ['Q']);
      host.feed(chunks);
      expect(host.conn.bytes.equals(Buffer.concat([b.commandComplete('BEGIN'), ready('T')])), name).toBe(
        true,
      );
      expect(host.events.at(-1), name).toBe('a=b');
    }
  });

  it('does not read is reported at each write, and still gets all that was read', () => {
    const input = Buffer.concat([...rows, ready()]);
    for (const { name, chunks } of allCuttings(input, 5)) {
      const host = new FakeResponseHost();
      host.conn.isFull = true;
      ask(host.tracker, ['Q']);
      host.feed(chunks);
      expect(host.conn.bytes.equals(input), name).toBe(true);
      expect(host.events.filter((event) => event === 'congested').length, name).toBe(
        host.conn.written.length,
      );
    }
  });
});

it('goes on where it was after the owner threw', () => {
  const host = new FakeResponseHost();
  host.onReady = () => {
    throw new Error('a fault of the owner');
  };
  ask(host.tracker, ['QQ']);
  expect(() => host.feed([Buffer.concat([...rows, ready()])])).toThrow('a fault of the owner');
  host.onReady = () => {};
  host.feed([Buffer.concat([...rows, ready()])]);
  expect(host.tracker.isClean).toBe(true);
  expect(host.conn.bytes.equals(Buffer.concat([...rows, ready(), ...rows, ready()]))).toBe(true);
});

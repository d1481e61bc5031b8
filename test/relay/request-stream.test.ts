import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RequestStream } from '../../src/relay/request-stream.ts';
import { feedBorrowed } from '../support/cut.ts';
import { frontend as f, int16, lyingMessage, message } from '../support/peer-messages.ts';
import { allCuttings, FakeRequestHost, FakeTarget } from './kit.ts';

const describeStatement = message('D', Buffer.from('S\0'));
const closeStatement = message('C', Buffer.from('Ss\0'));
const flush = message('H');
const copyData = message('d', Buffer.from('1\t2\n'));
const copyDone = message('c');
const copyFail = message('f', 'no');
const call = message('F', 1, int16(0), int16(0), int16(0));
const pipeline = [f.parse('', 'SELECT 1'), f.bind('', ''), describeStatement, f.execute(''), f.sync()];

const golden: readonly [name: string, messages: readonly Buffer[]][] = [
  ['a simple query', [f.query('SELECT 1')]],
  ['simple queries at once', [f.query('BEGIN'), f.query(''), f.query('COMMIT')]],
  ['a pipeline', pipeline],
  [
    'a pipeline with a query, a call and a Close inside',
    [...pipeline.slice(0, 3), f.query('x'), call, closeStatement, flush, f.sync()],
  ],
  [
    'a COPY with all its data sent ahead',
    [f.query('COPY'), copyData, copyData, copyDone, f.query('SELECT 1')],
  ],
  [
    'a COPY BOTH that is ended, and what comes next',
    [f.query('START_REPLICATION'), copyData, copyData, copyDone, f.query('IDENTIFY_SYSTEM')],
  ],
  ['a COPY in the extended protocol', [...pipeline, copyData, flush, copyFail, f.sync()]],
];

/** A client session in little: keeps what cannot be sent yet and feeds it again when it is linked. */
class Session {
  readonly host = new FakeRequestHost(null);
  readonly stream: RequestStream;
  readonly target = new FakeTarget();
  #held: Buffer[] = [];

  constructor(maxPacketSize = 0x7fff_ffff) {
    this.stream = new RequestStream(this.host, maxPacketSize);
  }

  bytes(chunk: Buffer): void {
    if (this.#held.length > 0) {
      this.#held.push(Buffer.from(chunk));
      return;
    }
    const pos = this.stream.feed(chunk, 0, chunk.length);
    if (pos === chunk.length) return;
    const early = this.stream.takeHeader();
    if (early !== null) this.#held.push(early);
    this.#held.push(Buffer.from(chunk.subarray(pos)));
  }

  link(): void {
    this.host.target = this.target;
    this.#goOn();
  }

  /** What it waits with is skipped. */
  skip(): void {
    this.stream.skip();
    this.#goOn();
  }

  #goOn(): void {
    const held = Buffer.concat(this.#held);
    this.#held = [];
    if (held.length > 0) this.bytes(held);
  }
}

describe.each(golden)('%s', (_name, messages) => {
  const input = Buffer.concat(messages);
  const letters = messages.map((each) => each.toString('latin1', 0, 1));

  it('goes to the linked server in the same bytes and order, however it is cut', () => {
    for (const { name, chunks } of allCuttings(input, 6)) {
      const host = new FakeRequestHost();
      const stream = new RequestStream(host, 0x7fff_ffff);
      feedBorrowed(chunks, (chunk) => expect(stream.feed(chunk, 0, chunk.length)).toBe(chunk.length));
      expect(host.target?.conn.bytes.equals(input), name).toBe(true);
      expect(host.target?.conn.areUntouched, name).toBe(true);
      expect(host.events, name).toEqual(letters);
      expect([stream.atBoundary, stream.forwardedBytes], name).toEqual([true, input.length]);
    }
  });

  it('goes out in one call as the chunk it came in', () => {
    const host = new FakeRequestHost();
    const stream = new RequestStream(host, 0x7fff_ffff);
    stream.feed(input, 0, input.length);
    expect(host.target?.conn.written).toHaveLength(1);
    expect(host.target?.conn.written[0]).toMatchObject({ how: 'forward', start: 0, end: input.length });
    expect(host.target?.conn.written[0]?.chunk).toBe(input);
  });

  it('waits for a server in front of its first message and is then complete, however it is cut', () => {
    for (const { name, chunks } of allCuttings(input, 7)) {
      for (let linkedAfter = 1; linkedAfter <= Math.min(chunks.length, 12); linkedAfter++) {
        const session = new Session();
        let fed = 0;
        feedBorrowed(chunks, (chunk) => {
          session.bytes(chunk);
          if (++fed === linkedAfter) session.link();
        });
        expect(session.target.conn.bytes.equals(input), name).toBe(true);
        expect(
          session.host.events.filter((event) => event !== 'need'),
          name,
        ).toEqual(letters);
      }
    }
  });
});

it('asks for a server once per wait, and goes on in the same chunk when there is one at once', () => {
  const host = new FakeRequestHost(null);
  const target = new FakeTarget();
  host.onNeed = () => {
    host.target = target;
  };
  const stream = new RequestStream(host, 1000);
  const input = Buffer.concat([f.query('a'), f.query('b')]);
  expect(stream.feed(input, 0, input.length)).toBe(input.length);
  expect(host.events).toEqual(['need', 'Q', 'Q']);
  expect(target.conn.bytes.equals(input)).toBe(true);
});

it('stops in front of the message that finds no server, and not a byte behind', () => {
  const host = new FakeRequestHost(null);
  const stream = new RequestStream(host, 1000);
  const input = Buffer.concat([copyData, f.query('a')]);
  expect(stream.feed(input, 0, input.length)).toBe(copyData.length);
  expect(stream.takeHeader()).toBeNull();
  expect(stream.atBoundary).toBe(true);
});

describe('without a link', () => {
  it('leftovers of a COPY and Flush are dropped, however they are cut', () => {
    const input = Buffer.concat([copyData, copyDone, flush, copyFail, copyData, f.query('x')]);
    for (const { name, chunks } of allCuttings(input, 8)) {
      const session = new Session();
      feedBorrowed(chunks, (chunk) => session.bytes(chunk));
      expect(session.host.events, name).toEqual(['need']);
      session.link();
      expect(session.target.conn.bytes.equals(f.query('x')), name).toBe(true);
    }
  });

  it('they stay away from a server that is there at once for what is behind them', () => {
    const input = Buffer.concat([copyDone, copyData, f.query('x')]);
    for (const { name, chunks } of allCuttings(input, 11)) {
      const host = new FakeRequestHost(null);
      const target = new FakeTarget();
      host.onNeed = () => {
        host.target = target;
      };
      const stream = new RequestStream(host, 1000);
      feedBorrowed(chunks, (chunk) => stream.feed(chunk, 0, chunk.length));
      expect(target.conn.bytes.equals(f.query('x')), name).toBe(true);
    }
  });

  it('they are kept where a server is linked that may not be written to yet', () => {
    for (const late of [copyData, copyDone, copyFail, flush]) {
      const input = Buffer.concat([late, copyDone]);
      for (const { name, chunks } of allCuttings(input, 12)) {
        const session = new Session();
        session.host.isHeld = true;
        feedBorrowed(chunks, (chunk) => session.bytes(chunk));
        expect(session.host.events, name).toEqual(['need']);
        session.link();
        expect(session.target.conn.bytes.equals(input), name).toBe(true);
      }
    }
  });

  it('a half dropped message leaves nothing half sent', () => {
    const session = new Session();
    session.bytes(copyData.subarray(0, 7));
    expect(session.stream.atBoundary).toBe(true);
  });

  it.each([
    ['Sync', f.sync()],
    ['a function call', call],
    ['Close', closeStatement],
  ])('%s needs a server', (_name, bytes) => {
    const session = new Session();
    session.bytes(bytes);
    expect(session.host.events).toEqual(['need']);
  });
});

describe('the end of the link', () => {
  it('comes when the rest of a message has gone out whose answer had ended before', () => {
    const late = message('d', Buffer.from('late data'));
    const start = f.query('COPY').length;
    const input = Buffer.concat([f.query('COPY'), late, copyDone]);
    for (let cut = start + 5; cut < start + late.length; cut++) {
      const host = new FakeRequestHost();
      const target = host.target as FakeTarget;
      host.onSent = () => {
        host.target = null;
      };
      const stream = new RequestStream(host, 1000);
      stream.feed(input, 0, cut);
      expect(stream.atBoundary).toBe(false);
      // The COPY fails while the client still sends.
      for (const type of 'GE') target.tracker.received(type.charCodeAt(0));
      target.tracker.readyForQuery('I'.charCodeAt(0));
      expect(stream.feed(input, cut, input.length)).toBe(input.length);
      expect(host.events).toEqual(['Q', 'd', 'sent']);
      // The message was completed; the next leftover went nowhere.
      expect(target.conn.bytes.equals(input.subarray(0, start + late.length))).toBe(true);
    }
  });

  it('does not come by a half header: it is held back, and may go to another server', () => {
    const first = new FakeTarget();
    const second = new FakeTarget();
    const next = f.query('next');
    for (let have = 1; have < 5; have++) {
      const host = new FakeRequestHost(first);
      const stream = new RequestStream(host, 1000);
      const chunk = Buffer.concat([f.query('a'), next.subarray(0, have)]);
      stream.feed(chunk, 0, chunk.length);
      expect(first.conn.bytes.equals(f.query('a'))).toBe(true);
      expect(stream.atBoundary).toBe(true);
      host.target = second;
      const rest = Buffer.from(next.subarray(have));
      stream.feed(rest, 0, rest.length);
      expect(second.conn.bytes.equals(next)).toBe(true);
      first.conn.written.length = 0;
      second.conn.written.length = 0;
    }
  });

  it('does not come inside a pipeline that was answered but has no Sync yet', () => {
    const host = new FakeRequestHost();
    const stream = new RequestStream(host, 1000);
    const input = Buffer.concat([...pipeline.slice(0, 2), flush]);
    stream.feed(input, 0, input.length);
    for (const type of '12') host.target?.tracker.received(type.charCodeAt(0));
    stream.feed(flush, 0, flush.length);
    stream.feed(copyData, 0, copyData.length);
    expect(host.events).toEqual(['P', 'B', 'H', 'H', 'd']);
  });
});

describe('a client that breaks the protocol', () => {
  it.each<readonly [string, Buffer, string]>([
    ['a length of 0', lyingMessage('Q', 0), "bad packet header: '5100000000'"],
    ['a length of 3', lyingMessage('Q', 3), "bad packet header: '5100000003'"],
    ['a negative length', lyingMessage('Q', -1), "bad packet header: '51ffffffff'"],
    ['a length of 2^31', lyingMessage('d', 0x8000_0000), "bad packet header: '6480000000'"],
    ['a length above max_packet_size', lyingMessage('Q', 1001), "bad packet header: '51000003e9'"],
    ['a type of servers', lyingMessage('Z', 5), 'unknown pkt'],
    ['a password', lyingMessage('p', 9), 'unknown pkt'],
    ['a StartupMessage', f.startup({ user: 'u' }), "bad packet header: '0000001000'"],
  ])('by %s is told so, with all before it sent, however it is cut', (_what, bad, text) => {
    const good = f.query('SELECT 1');
    for (const { name, chunks } of allCuttings(Buffer.concat([good, bad]), 9)) {
      const host = new FakeRequestHost();
      const stream = new RequestStream(host, 1000);
      for (const chunk of chunks) {
        if (host.events.at(-1)?.startsWith('violation') === true) break;
        stream.feed(chunk, 0, chunk.length);
      }
      expect(host.events, name).toEqual(['Q', `violation: ${text}`]);
      expect(host.target?.conn.bytes.equals(good), name).toBe(true);
      expect(stream.atBoundary, name).toBe(true);
    }
  });

  it('by any bytes reaches the server with whole headers of requests only', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 })), (parts) => {
        const host = new FakeRequestHost();
        const stream = new RequestStream(host, 1000);
        for (const part of parts) {
          if (host.events.at(-1)?.startsWith('violation') === true || host.events.at(-1) === 'terminate')
            break;
          const pos = stream.feed(Buffer.from(part), 0, part.length);
          expect(pos).toBeLessThanOrEqual(part.length);
        }
        const sent = host.target?.conn.bytes as Buffer;
        expect(Buffer.concat(parts).subarray(0, sent.length).equals(sent)).toBe(true);
      }),
    );
  });
});

describe('Terminate', () => {
  it('ends it in the middle of a pipeline: nothing behind is read', () => {
    const before = Buffer.concat(pipeline.slice(0, 2));
    const input = Buffer.concat([before, f.terminate(), f.query('after')]);
    for (const { name, chunks } of allCuttings(input, 10)) {
      const host = new FakeRequestHost();
      const stream = new RequestStream(host, 1000);
      for (const chunk of chunks) {
        if (host.events.at(-1) !== 'terminate')
          expect(stream.feed(chunk, 0, chunk.length)).toBe(chunk.length);
      }
      expect(host.events, name).toEqual(['P', 'B', 'terminate']);
      expect(host.target?.conn.bytes.equals(before), name).toBe(true);
      expect(stream.atBoundary, name).toBe(true);
    }
  });

  it('needs no server', () => {
    const session = new Session();
    session.bytes(f.terminate());
    expect(session.host.events).toEqual(['terminate']);
  });
});

it('a query that is not allowed asks for no server, and what came before it is sent', () => {
  const host = new FakeRequestHost(null);
  host.refusesQuery = true;
  const stream = new RequestStream(host, 1000);
  expect(stream.feed(f.query('x'), 0, f.query('x').length)).toBe(0);
  expect(host.events).toEqual(['violation: PQexec disallowed']);

  const linked = new FakeRequestHost();
  linked.refusesQuery = true;
  const input = Buffer.concat([f.sync(), f.query('x')]);
  new RequestStream(linked, 1000).feed(input, 0, input.length);
  expect(linked.events).toEqual(['S', 'violation: PQexec disallowed']);
  expect(linked.target?.conn.bytes.equals(f.sync())).toBe(true);
});

it('a stream that was stopped reads nothing more', () => {
  const host = new FakeRequestHost();
  const stream = new RequestStream(host, 1000);
  stream.stop();
  expect(stream.feed(f.query('x'), 0, 8)).toBe(0);
  expect(host.events).toEqual([]);
});

it('a server that does not read is reported at each write', () => {
  const host = new FakeRequestHost();
  (host.target as FakeTarget).conn.isFull = true;
  const stream = new RequestStream(host, 1000);
  const input = f.query('SELECT 1');
  for (const byte of input) stream.feed(Buffer.of(byte), 0, 1);
  expect(host.target?.conn.bytes.equals(input)).toBe(true);
  expect(host.events.filter((event) => event === 'congested')).toHaveLength(
    (host.target as FakeTarget).conn.written.length,
  );
});

it('a long body passes in pieces without being kept', () => {
  const host = new FakeRequestHost();
  const stream = new RequestStream(host, 0x7fff_ffff);
  const header = lyingMessage('d', 0x7fff_fffe);
  stream.feed(header, 0, header.length);
  const piece = Buffer.alloc(1000, 7);
  for (let i = 0; i < 50; i++) stream.feed(piece, 0, piece.length);
  expect(host.target?.conn.written.slice(1).every(({ chunk }) => chunk === piece)).toBe(true);
  expect([stream.atBoundary, stream.scanner.bodyLeft]).toEqual([false, 0x7fff_fffe - 4 - 50_000]);
});

describe('with as many requests under way as are kept count of', () => {
  const MOST = 65_536;

  /** A client that has sent `first` and then so many of `many` that with them there is no room. */
  function full(many: Buffer, first: readonly Buffer[] = [], answers = '') {
    const host = new FakeRequestHost();
    const target = host.target as FakeTarget;
    const stream = new RequestStream(host, 1000);
    const send = (...messages: readonly Buffer[]): string => {
      const bytes = Buffer.concat(messages);
      const isTaken = stream.feed(bytes, 0, bytes.length) === bytes.length;
      if (!isTaken) stream.takeHeader();
      const last = host.events.at(-1) ?? '';
      return isTaken || last === 'stalled' ? last : `${last}, and not read`;
    };
    send(...first);
    for (const type of answers) target.tracker.received(type.charCodeAt(0));
    send(...new Array<Buffer>(MOST - target.tracker.queue.length).fill(many));
    host.events.length = 0;
    return { host, target, tracker: target.tracker, stream, send };
  }

  it('the client waits for answers, at whichever byte its message is cut', () => {
    for (const next of [f.sync(), f.query('a'), copyDone, flush]) {
      for (let cut = 0; cut <= 5; cut++) {
        const { host, target, tracker, stream } = full(f.sync());
        target.conn.written.length = 0;
        expect(stream.feed(next, 0, cut)).toBe(cut === 5 ? 0 : cut);
        if (cut < 5) expect(stream.feed(next, cut, next.length)).toBe(cut);
        expect(host.events).toEqual(['stalled']);
        const held = Buffer.concat([
          stream.takeHeader() ?? Buffer.alloc(0),
          next.subarray(cut === 5 ? 0 : cut),
        ]);
        expect([held.equals(next), target.conn.bytes.length]).toEqual([true, 0]);
        tracker.readyForQuery('I'.charCodeAt(0));
        expect(stream.feed(next, 0, next.length)).toBe(next.length);
        expect(target.conn.bytes.equals(next)).toBe(true);
      }
    }
  });

  it('a COPY gets its data and its end, for nothing is answered before', () => {
    const { tracker, send } = full(f.sync(), [f.query('COPY')]);
    tracker.received('G'.charCodeAt(0));
    expect(send(copyData, flush, f.sync(), copyData, copyDone)).toBe('c');
    expect(send(f.query('a'))).toBe('stalled');
    tracker.received('C'.charCodeAt(0));
    expect(send(f.query('a'))).toBe('Q');
  });

  it('the server is asked for what it keeps back without a Sync, or with one that COPY ignores', () => {
    const stretch = full(copyDone, [f.parse('', 'SELECT 1')]);
    stretch.target.conn.written.length = 0;
    expect([stretch.send(f.sync()), stretch.target.conn.bytes.equals(flush)]).toEqual(['stalled', true]);
    const copy = full(f.sync(), [f.execute('')]);
    copy.tracker.received('G'.charCodeAt(0));
    copy.send(copyDone);
    copy.target.conn.written.length = 0;
    expect([copy.send(f.sync()), copy.target.conn.bytes.equals(flush)]).toEqual(['stalled', true]);
  });

  it('a COPY with another request behind it gets no Syncs, each of which may count', () => {
    const { tracker, send } = full(f.sync(), [f.query('COPY'), f.query('a')], 'G');
    expect(tracker.isCopyIn).toBe(true);
    expect(send(f.sync())).toBe('stalled');
  });

  it('a COPY with nothing but Syncs and data behind it gets the request that ends it, and no second one', () => {
    const { tracker, send } = full(f.sync(), [f.query('COPY')]);
    tracker.received('G'.charCodeAt(0));
    expect(send(f.query('a'))).toBe('Q');
    expect(send(f.query('a'))).toBe('stalled');
    expect(send(f.sync())).toBe('stalled');
  });

  it('the client is woken when there is room for many, and not for each', () => {
    const { tracker, send } = full(f.query('a'));
    const answer = (count: number) => {
      for (let i = 0; i < count; i++) {
        tracker.received('C'.charCodeAt(0));
        tracker.readyForQuery('I'.charCodeAt(0));
      }
    };
    expect(send(f.query('a'))).toBe('stalled');
    answer(MOST / 2 - 1);
    expect(tracker.takeAnswered()).toBe(false);
    answer(1);
    expect(tracker.takeAnswered()).toBe(true);
  });

  it('nor does it wait for what nobody answers, or amid what is skipped', () => {
    const ignored = full(copyDone, [f.execute('')]);
    expect(ignored.send(f.sync())).toBe('stalled');
    ignored.tracker.received('C'.charCodeAt(0));
    expect(ignored.tracker.takeAnswered()).toBe(true);
    const skipped = full(f.execute(''));
    expect(skipped.send(f.execute(''))).toBe('stalled');
    skipped.tracker.received('E'.charCodeAt(0));
    expect(skipped.tracker.takeAnswered()).toBe(true);
  });

  it('what is skipped goes on, to the Sync', () => {
    const { tracker, send } = full(f.execute(''));
    expect(send(f.execute(''))).toBe('stalled');
    tracker.received('E'.charCodeAt(0));
    expect(send(f.execute(''), f.query('a'), f.sync())).toBe('S');
    expect(send(f.query('a'))).toBe('stalled');
    tracker.readyForQuery('I'.charCodeAt(0));
    expect(send(f.query('a'))).toBe('Q');
  });

  it('where it is not known what is skipped, the client is closed, but for its Sync', () => {
    const copy = [f.execute(''), f.sync()];
    const { tracker, send } = full(f.execute(''), copy, 'GE');
    expect([tracker.isUnsure, tracker.isSkipped]).toEqual([true, true]);
    expect(send(f.execute(''))).toBe('violation: too many requests under way, and not read');
    expect(full(f.execute(''), copy, 'GE').send(f.sync())).toBe('S');
  });

  it('what PostgreSQL ignores in a transaction does not count', () => {
    const { tracker, send } = full(copyDone, [f.query('BEGIN')]);
    expect(send(copyDone)).toBe('stalled');
    tracker.received('C'.charCodeAt(0));
    tracker.readyForQuery('T'.charCodeAt(0));
    expect(send(...new Array<Buffer>(MOST + 1).fill(copyDone), f.query('a'))).toBe('Q');
  });
});

describe('requests that are not to be done', () => {
  const endings: readonly (readonly [name: string, skipped: readonly Buffer[]])[] = [
    ['a Query alone', [f.query('a')]],
    ['a FunctionCall alone', [call]],
    ['all up to the Sync', pipeline],
    [
      'all up to the Sync, a Query and the data of a COPY among it',
      [f.parse('', 'x'), f.query('x'), copyData, f.sync()],
    ],
    ['a lone Sync', [f.sync()]],
  ];

  it.each(endings)('are skipped, what is behind goes on: %s', (_name, skipped) => {
    const behind = [f.query('b'), f.parse('', 'c'), f.sync()];
    const input = Buffer.concat([...skipped, ...behind]);
    for (const { name, chunks } of allCuttings(input, 10)) {
      const session = new Session();
      let isSkipping = false;
      feedBorrowed(chunks, (chunk) => {
        session.bytes(chunk);
        if (isSkipping || session.host.events.length === 0) return;
        expect(session.host.events).toEqual(['need']);
        isSkipping = true;
        session.skip();
      });
      session.link();
      expect(session.host.events.slice(0, 2), name).toEqual(['need', 'skipped']);
      expect(
        session.host.events.filter((event) => event === 'skipped'),
        name,
      ).toHaveLength(1);
      expect(session.target.conn.bytes.equals(Buffer.concat(behind)), name).toBe(true);
    }
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Change, Ledger, UNSETTLED } from '../../src/prepared/ledger.ts';
import { ServerStatements } from '../../src/prepared/server-statements.ts';
import { type Statement, StatementCache } from '../../src/prepared/statement.ts';

describe('a ledger', () => {
  it('has a change at once, and keeps it once it is settled', () => {
    const cache = new StatementCache();
    const ledger = new Ledger<string>(cache);
    const one = cache.hold('parse', 'one');
    const change = ledger.set('a', one, 1);
    expect([ledger.get('a', 1), ledger.hasPending]).toEqual([one, true]);
    change.settle();
    expect([ledger.get('a', 2), ledger.hasPending]).toEqual([one, false]);
  });

  it('goes back to what was there when a change is undone', () => {
    const cache = new StatementCache();
    const ledger = new Ledger<string>(cache);
    const [one, two] = [cache.hold('parse', 'one'), cache.hold('parse', 'two')];
    ledger.set('a', one, 1).settle();
    const [closed, again] = [ledger.set('a', null, 2), ledger.set('a', two, 2)];
    expect(ledger.get('a', 2)).toBe(two);
    expect(ledger.get('a', 3)).toBe(UNSETTLED);
    closed.undo();
    again.undo();
    expect(ledger.get('a', 3)).toBe(one);
  });

  it('cannot tell what hangs on an earlier stretch', () => {
    const cache = new StatementCache();
    const ledger = new Ledger<string>(cache);
    const one = cache.hold('parse', 'one');
    ledger.set('a', one, 1);
    expect([ledger.get('a', 1), ledger.get('a', 2), ledger.get('b', 2)]).toEqual([one, UNSETTLED, null]);
  });

  it('is empty after clear but for what is on its way, which goes back to nothing', () => {
    const cache = new StatementCache();
    const ledger = new Ledger<string>(cache);
    const [one, two] = [cache.hold('parse', 'one'), cache.hold('parse', 'two')];
    ledger.set('a', one, 1).settle();
    ledger.set('b', one, 1).settle();
    const change = ledger.set('a', two, 2);
    ledger.clear();
    expect([ledger.get('a', 2), ledger.get('b', 2)]).toEqual([two, null]);
    change.undo();
    expect([ledger.get('a', 3), ledger.size]).toEqual([null, 0]);
  });

  /** Requests in stretches, each of which fails from some point on (99: not at all). */
  const requests = fc.array(
    fc.record({
      key: fc.constantFrom('a', 'b'),
      value: fc.constantFrom(null, 0, 1, 2),
      isNewSegment: fc.boolean(),
      answers: fc.nat(3),
    }),
    { maxLength: 30 },
  );

  it('ends up with what succeeded, whatever fails, and never tells for certain what is not so', () => {
    fc.assert(
      fc.property(requests, fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 30 }), (all, failures) => {
        const cache = new StatementCache();
        const held = [0, 1, 2].map((i) => cache.hold('parse', `text ${i}`));
        const ledger = new Ledger<string>(cache);
        let segment = 0;
        let inSegment = 0;
        const sent: { key: string; value: Statement | null; segment: number; ok: boolean; change: Change }[] =
          [];
        let answered = 0;
        const truth = (upTo: number): Map<string, Statement | null> => {
          const values = new Map<string, Statement | null>();
          // What is sent behind a failed request of its own stretch is skipped, whatever it finds.
          sent.forEach((each, i) => {
            if (each.ok || (each.segment === upTo && i >= answered)) values.set(each.key, each.value);
          });
          return values;
        };
        const answer = () => {
          const next = sent[answered++];
          if (next?.ok === true) next.change.settle();
          else next?.change.undo();
        };
        for (const { key, value, isNewSegment, answers } of all) {
          if (isNewSegment) {
            segment++;
            inSegment = 0;
          }
          for (const name of ['a', 'b']) {
            const actual = truth(segment).get(name) ?? null;
            const found = ledger.get(name, segment);
            if (found !== UNSETTLED) expect(found).toBe(actual);
          }
          const statement = value === null ? null : (held[value] as Statement);
          const ok = inSegment++ < (failures[segment] ?? 99);
          sent.push({ key, value: statement, segment, ok, change: ledger.set(key, statement, segment) });
          for (let i = 0; i < answers && answered < sent.length; i++) answer();
        }
        while (answered < sent.length) answer();
        const left = [...truth(-1)].filter(([, value]) => value !== null);
        expect(new Map(ledger.entries())).toEqual(new Map(left));
        expect(ledger.hasPending).toBe(false);
        for (const statement of held) cache.release(statement);
        expect(cache.size).toBe(new Set(left.map(([, value]) => value)).size);
        ledger.end();
        expect(cache.size).toBe(0);
      }),
      { numRuns: 3000 },
    );
  });

  it('holds nothing once its owner is gone, also for changes that end later', () => {
    const cache = new StatementCache();
    const ledger = new Ledger<string>(cache);
    const one = cache.hold('parse', 'one');
    const changes = [ledger.set('a', one, 1), ledger.set('a', null, 1), ledger.set('b', one, 1)];
    cache.release(one);
    ledger.end();
    for (const change of changes) change.undo();
    expect([cache.size, ledger.size, ledger.hasPending]).toEqual([0, 0, false]);
  });
});

describe('the statements of a server', () => {
  it('are given up in the order of their last use, but not while they are on their way', () => {
    const cache = new StatementCache();
    const server = new ServerStatements(cache);
    const all = ['one', 'two', 'three'].map((text) => cache.hold('parse', text));
    const [one, two, three] = all as [Statement, Statement, Statement];
    const first = server.add(one, 1);
    const none = new Set<never>();
    expect(server.surplus(0, none)).toBeNull();
    first.settle();
    server.add(two, 1).settle();
    expect([server.surplus(2, none), server.surplus(1, none)]).toEqual([null, one]);
    expect(server.has(one, 2)).toBe(true);
    expect(server.surplus(1, none)).toBe(two);
    const last = server.add(three, 2);
    expect([server.has(three, 3), server.has(three, 2), server.surplus(2, none)]).toEqual([
      UNSETTLED,
      true,
      two,
    ]);
    last.undo();
    expect([server.has(three, 3), server.size]).toEqual([false, 2]);
    server.remove(two, 3).settle();
    expect([server.has(two, 4), server.has(one, 4)]).toEqual([false, true]);
  });
});

describe('the cache', () => {
  it('has one statement for one text with its types, however it is prepared a name of its own', () => {
    const cache = new StatementCache('p_');
    const one = cache.hold('parse', 'SELECT 1\0\0\0');
    expect(cache.hold('parse', 'SELECT 1\0\0\0')).toBe(one);
    const sql = cache.hold('sql', 'SELECT 1\0\0\0');
    expect([one.name, sql.name, cache.size]).toEqual(['p_1', 'p_2', 2]);
    cache.release(one);
    cache.release(one);
    expect(cache.size).toBe(1);
    expect(cache.hold('parse', 'SELECT 1\0\0\0').name).toBe('p_3');
  });

  it('takes a prefix that is new in each process', () => {
    expect(new StatementCache().prefix).toMatch(/^pgweir_[0-9a-f]{8}_$/);
    expect(new StatementCache().prefix).not.toBe(new StatementCache().prefix);
  });

  it('builds the messages that servers are sent', () => {
    const cache = new StatementCache('p_');
    const body = 'SELECT \xe9\0\0\x01\0\0\0\x17';
    const one = cache.hold('parse', body);
    const parse = one.parseMessage();
    expect(parse.toString('latin1')).toBe(`P${'\0\0\0'}${String.fromCharCode(parse.length - 1)}p_1\0${body}`);
    expect(one.closeMessage().toString('latin1')).toBe('C\0\0\0\x09Sp_1\0');
    expect(cache.hold('sql', ' AS SELECT 1').prepareText()).toBe('PREPARE p_2 AS SELECT 1');
  });
});

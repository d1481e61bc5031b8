import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Change, Ledger, UNSETTLED } from '../../src/prepared/ledger.ts';
import { ServerStatements } from '../../src/prepared/server-statements.ts';
import { readingOf } from '../../src/prepared/reading.ts';
import { isSameParameters, isSameRows } from '../../src/prepared/statement-shape.ts';
import { newStatementNaming, type Statement, StatementCache } from '../../src/prepared/statement.ts';

describe('a ledger', () => {
  it('has a change at once, and keeps it once it is settled', () => {
    const cache = new StatementCache();
    const ledger = new Ledger<string, Statement>(cache);
    const one = cache.hold('parse', 'one');
    const change = ledger.set('a', one, 1);
    expect([ledger.get('a', 1), ledger.hasPending]).toEqual([one, true]);
    change.settle();
    expect([ledger.get('a', 2), ledger.hasPending]).toEqual([one, false]);
  });

  it('goes back to what was there when a change is undone', () => {
    const cache = new StatementCache();
    const ledger = new Ledger<string, Statement>(cache);
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
    const ledger = new Ledger<string, Statement>(cache);
    const one = cache.hold('parse', 'one');
    ledger.set('a', one, 1);
    expect([ledger.get('a', 1), ledger.get('a', 2), ledger.get('b', 2)]).toEqual([one, UNSETTLED, null]);
  });

  it('tells those who are skipped with a change of their own stretch what that has made', () => {
    const cache = new StatementCache();
    const ledger = new Ledger<string, Statement>(cache);
    const one = cache.hold('parse', 'one');
    ledger.set('a', one, 1);
    ledger.set('a', null, 2);
    expect([1, 2, 3].map((segment) => ledger.getBehind('a', segment))).toEqual([UNSETTLED, null, UNSETTLED]);
  });

  it('is empty after clear but for what is on its way, which goes back to nothing', () => {
    const cache = new StatementCache();
    const ledger = new Ledger<string, Statement>(cache);
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
        const ledger = new Ledger<string, Statement>(cache);
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
    const ledger = new Ledger<string, Statement>(cache);
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
  const NAMING = { prefix: 'p_', secret: 'nobody knows' };

  it('has one statement for one text with its types, however it is prepared a name of its own', () => {
    const cache = new StatementCache(NAMING);
    const one = cache.hold('parse', 'SELECT 1\0\0\0');
    expect(cache.hold('parse', 'SELECT 1\0\0\0')).toBe(one);
    const sql = cache.hold('sql', 'SELECT 1\0\0\0');
    expect(new Set([one.name, sql.name]).size).toBe(2);
    expect(one.name).toMatch(/^p_[0-9a-f]{22}$/);
    expect(cache.size).toBe(2);
    cache.release(one);
    cache.release(one);
    expect(cache.size).toBe(1);
  });

  it('gives a text the same name wherever the same naming is in force, and nowhere else', () => {
    const nameIn = (cache: StatementCache, body: string, values: string[] = []) =>
      cache.hold('parse', body, readingOf(values)).name;
    const [here, there] = [new StatementCache(NAMING), new StatementCache(NAMING)];
    nameIn(there, 'SELECT 0');
    const name = nameIn(here, 'SELECT 1');
    expect(nameIn(there, 'SELECT 1')).toBe(name);
    expect(nameIn(there, 'SELECT 1', ['LATIN1'])).not.toBe(name);
    expect(nameIn(there, 'SELECT 2')).not.toBe(name);
    expect(nameIn(new StatementCache({ ...NAMING, secret: 'another' }), 'SELECT 1')).not.toBe(name);
    const fresh = [newStatementNaming(), newStatementNaming()].map((each) => each.secret);
    expect(new Set(fresh).size).toBe(2);
  });

  it('takes a prefix that is new in each process', () => {
    expect(new StatementCache().prefix).toMatch(/^pgweir_[0-9a-f]{8}_$/);
    expect(new StatementCache().prefix).not.toBe(new StatementCache().prefix);
  });

  it('knows a statement by the name that another loop has given it, and its text when somebody brings it', () => {
    const [there, cache] = [new StatementCache(NAMING), new StatementCache(NAMING)];
    const { name } = there.hold('parse', 'SELECT 1\0\0\0');
    const blank = cache.holdNamed(name, null);
    expect([blank.name, blank.isBlank, cache.size, cache.budget.usedBytes]).toEqual([name, true, 1, 0]);
    expect(cache.find('parse', 'SELECT 1\0\0\0')).toBe(null);
    const same = cache.hold('parse', 'SELECT 1\0\0\0');
    expect([same, same.isBlank, same.users, same.body]).toEqual([blank, false, 2, 'SELECT 1\0\0\0']);
    expect(cache.budget.usedBytes).toBe(there.budget.usedBytes);
    cache.release(same);
    cache.release(same);
    expect([cache.size, cache.budget.usedBytes]).toEqual([0, 0]);
    // Nobody has brought the text of this one.
    cache.release(cache.holdNamed(name, null));
    expect([cache.size, cache.budget.usedBytes]).toEqual([0, 0]);
  });

  it('takes a text along with a name while there is room for it', () => {
    const [there, cache] = [new StatementCache(NAMING), new StatementCache(NAMING)];
    const one = there.hold('sql', ' AS SELECT 1', readingOf(['UTF8']));
    cache.budget.limitBytes = 10;
    expect(cache.holdNamed(one.name, one).isBlank).toBe(true);
    cache.budget.limitBytes = 1000;
    const taken = cache.holdNamed(one.name, one);
    expect([taken.isBlank, taken.users, taken.reading.key]).toEqual([false, 2, 'UTF8']);
    expect(cache.find('sql', ' AS SELECT 1', readingOf(['UTF8']))).toBe(taken);
    expect(cache.budget.usedBytes).toBe(there.budget.usedBytes);
  });

  it('builds the messages that servers are sent', () => {
    const cache = new StatementCache(NAMING);
    const body = 'SELECT \xe9\0\0\x01\0\0\0\x17';
    const one = cache.hold('parse', body);
    const parse = one.parseMessage();
    const length = String.fromCharCode(parse.length - 1);
    expect(parse.toString('latin1')).toBe(`P${'\0\0\0'}${length}${one.name}\0${body}`);
    expect(one.closeMessage().toString('latin1')).toBe(`C\0\0\0\x1eS${one.name}\0`);
    const sql = cache.hold('sql', ' AS SELECT 1');
    expect(sql.prepareText()).toBe(`PREPARE ${sql.name} AS SELECT 1`);
  });
});

describe('the statements of a server that goes to another event loop', () => {
  const NAMING = { prefix: 'p_', secret: 'nobody knows' };
  const text = (i: number, bytes = 100) => `SELECT ${i} -- ${'x'.repeat(bytes)}\0\0\0`;
  /** What is left of it after a way that takes nothing but plain data. */
  const across = (from: ServerStatements, cache: StatementCache): ServerStatements => {
    const to = new ServerStatements(cache);
    to.restore(structuredClone(from.moved()), cache);
    return to;
  };

  it('stay in doubt when their closing and their preparing anew are skipped one after the other', () => {
    const cache = new StatementCache();
    const known = new ServerStatements(cache);
    const one = cache.hold('parse', 'one');
    known.add(one, 1).settle();
    known.doubt(one);
    known.remove(one, 2).undo();
    known.add(one, 2).undo();
    expect(known.has(one, 3)).toBe(false);
  });

  it('are not doubted for ever when their closing goes back to nothing', () => {
    const cache = new StatementCache();
    const known = new ServerStatements(cache);
    const one = cache.hold('parse', 'one');
    const [added, removed] = [known.add(one, 1), known.remove(one, 1)];
    added.undo();
    known.doubt(one);
    removed.undo();
    known.set(one, one, 2).settle();
    expect(known.has(one, 3)).toBe(true);
  });

  it('are not doubted for ever when they were closed and their preparing anew has failed', () => {
    const cache = new StatementCache();
    const known = new ServerStatements(cache);
    const one = cache.hold('parse', 'one');
    known.add(one, 1).settle();
    const [removed, added] = [known.remove(one, 2), known.add(one, 2)];
    known.doubt(one);
    removed.settle();
    added.undo();
    known.set(one, one, 3).settle();
    expect(known.has(one, 4)).toBe(true);
  });

  it('leave nothing behind that could not be prepared, nor what is used behind its closing', () => {
    const cache = new StatementCache();
    const known = new ServerStatements(cache);
    const one = cache.hold('parse', 'one');
    const isForgotten = () => known.isReadBy(one, null);
    const added = known.add(one, 1);
    known.usedBy(one, 'other');
    expect(isForgotten()).toBe(false);
    added.undo();
    expect(isForgotten()).toBe(true);
    known.usedBy(one, 'other');
    expect(isForgotten()).toBe(true);
    known.add(one, 2).settle();
    const removed = known.remove(one, 3);
    known.usedBy(one, 'other');
    removed.settle();
    expect(isForgotten()).toBe(true);
  });

  it('are not doubted for ever when what was to take their names has failed', () => {
    const cache = new StatementCache();
    const known = new ServerStatements(cache);
    const one = cache.hold('parse', 'one');
    const misnamed = known.misnamed(one, 2);
    expect(known.has(one, 2)).toBe(false);
    misnamed.undo();
    known.set(one, one, 3).settle();
    expect(known.has(one, 4)).toBe(true);
  });

  it('are there in their order, with what they give and whether they are in doubt', () => {
    const [here, there] = [new StatementCache(NAMING), new StatementCache(NAMING)];
    const statements = [0, 1, 2].map((i) => here.hold('parse', text(i)));
    const [one, two, three] = statements as [Statement, Statement, Statement];
    const from = new ServerStatements(here);
    for (const each of statements) from.add(each, 1).settle();
    const shape = from.shaped(one, 'UTF8', 1);
    shape.describeParameters(Buffer.from([0, 1, 0, 0, 0, 23]));
    shape.describe(null);
    // Asked, and not answered.
    from.shaped(two, 'UTF8', 1);
    from.doubt(three);
    from.has(one, 2);
    const to = across(from, there);
    expect([...to.entries()].map(([{ name }]) => name)).toEqual([two.name, three.name, one.name]);
    const mine = statements.map((_, i) => there.hold('parse', text(i)));
    expect(mine.map((each) => to.has(each, 7))).toEqual([true, true, false]);
    const [first, second] = mine as [Statement, Statement];
    expect(isSameRows(shape, to.shapeOf(first))).toBe(true);
    expect(isSameParameters(shape, to.shapeOf(first))).toBe(true);
    expect(to.shapeOf(second)).toBe(null);
    expect(to.isAsked(first, 9)).toBe(false);
    expect([to.hasPending, to.wereAny]).toEqual([false, true]);
  });

  it('bring their texts along, but for long ones and for more than a move may cost', () => {
    const here = new StatementCache(NAMING);
    const from = new ServerStatements(here);
    const sizes = [...Array.from({ length: 30 }, () => 3000), 5000];
    sizes.forEach((bytes, i) => from.add(here.hold('parse', text(i, bytes)), 1).settle());
    const moved = from.moved();
    const carried = moved.map((each) => each.text !== null);
    // The long one, which was used last, and the ones that were used least lately.
    expect(carried.lastIndexOf(false)).toBe(30);
    expect(carried.slice(0, 30).lastIndexOf(false)).toBe(30 - Math.floor((64 * 1024) / 3020) - 1);
    const there = new StatementCache(NAMING);
    const to = new ServerStatements(there);
    to.restore(moved, there);
    expect(to.size).toBe(31);
    expect(there.budget.usedBytes).toBeLessThan(2 * 66 * 1024);
    // Whoever has such a text finds it prepared.
    expect(to.has(there.hold('parse', text(30, 5000)), 0)).toBe(true);
    expect(to.has(there.hold('parse', text(31)), 0)).toBe(false);
  });

  it('are let go with it, by those who have nothing but their names, too', () => {
    const [here, there] = [new StatementCache(NAMING), new StatementCache(NAMING)];
    const from = new ServerStatements(here);
    for (let i = 0; i < 5; i++) {
      const statement = here.hold('parse', text(i, i * 2000));
      from.add(statement, 1).settle();
      here.release(statement);
    }
    const to = across(from, there);
    from.end();
    expect([here.size, here.budget.usedBytes, to.size]).toEqual([0, 0, 5]);
    const surplus = to.surplus(4, new Set());
    expect(surplus?.closeMessage().toString('latin1')).toMatch(/p_[0-9a-f]{22}\0$/);
    to.end();
    expect([there.size, there.budget.usedBytes]).toEqual([0, 0]);
  });
});

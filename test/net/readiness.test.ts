import { describe, expect, it } from 'vitest';
import { type Native, openNative } from '../../src/net/native.ts';
import { type EpollSet, Interest } from '../../src/net/native-io.ts';
import { Readiness, type Reader } from '../../src/net/readiness.ts';

interface Event {
  readonly fd: number;
  readonly token: number;
  readonly write?: boolean;
  readonly gone?: boolean;
}

/** A set whose events the test makes up; the kernel gives descriptors away by their lowest free number. */
class ScriptedSet implements EpollSet {
  #rounds: Event[][] = [];
  #round: Event[] = [];
  #drain: () => void = () => {};
  /** By descriptor, of those in the set. */
  readonly tokens = new Map<number, number>();
  readonly closed: number[] = [];
  /** Descriptors with something to read, for who reads it. */
  readonly unread = new Set<number>();
  waits = 0;
  reads = 0;
  yields = 0;
  readonly readiness: Readiness;

  constructor() {
    const native: Native = {
      ...openNative(),
      closeFd: (fd) => void this.closed.push(fd),
      receive: (fd) => {
        this.reads++;
        return this.unread.delete(fd) ? 1 : -1;
      },
      yieldProcessor: () => void this.yields++,
    };
    this.readiness = new Readiness(native, this);
  }

  /** Has one round of events come, in one turn. */
  turn(...events: Event[]): void {
    this.turnOf(events);
  }

  /** As many rounds as are asked for, in one turn. */
  turnOf(...rounds: Event[][]): void {
    // What nobody has asked for is not told any more.
    this.#rounds = rounds;
    this.#drain();
  }

  /** As the kernel reports what is in the set now. */
  event(fd: number, more: { write?: boolean; gone?: boolean } = {}): Event {
    return { fd, token: this.tokens.get(fd) ?? Number.NaN, ...more };
  }

  add(fd: number, _interest: number, token: number): boolean {
    this.tokens.set(fd, token);
    return true;
  }
  change(): void {}
  remove(fd: number): void {
    this.tokens.delete(fd);
  }
  wait(): number {
    this.waits++;
    this.#round = this.#rounds.shift() ?? [];
    return this.#round.length;
  }
  fdAt(index: number): number {
    return (this.#round[index] as Event).fd;
  }
  tokenAt(index: number): number {
    return (this.#round[index] as Event).token;
  }
  isReadableAt(index: number): boolean {
    return (this.#round[index] as Event).write !== true;
  }
  isWritableAt(index: number): boolean {
    return (this.#round[index] as Event).write === true;
  }
  isHungUpAt(index: number): boolean {
    return (this.#round[index] as Event).gone === true;
  }
  onReady(callback: () => void): void {
    this.#drain = callback;
  }
  keepAlive(): void {}
}

/** Keeps what it is told, and does `then` behind it. */
class Listener implements Reader {
  readonly ahead = null;
  mayRead = true;
  readonly told: string[] = [];
  then: () => void = () => {};
  readable(): void {
    this.told.push('readable');
    this.then();
  }
  hungUp(): void {
    this.told.push('hungUp');
    this.then();
  }
  took(): void {}
  writable(): void {
    this.told.push('writable');
    this.then();
  }
}

describe('events that were fetched together', () => {
  it('are not told to who has been given the number of a connection that was closed meanwhile', () => {
    const set = new ScriptedSet();
    const [first, second, heir] = [new Listener(), new Listener(), new Listener()];
    set.readiness.add(5, first);
    set.readiness.add(6, second);
    // As Node closes its own, at once; the next connection gets the number.
    first.then = () => {
      set.readiness.remove(6, second, false);
      set.readiness.add(6, heir);
    };
    set.turn(set.event(5), set.event(6, { gone: true }));
    expect([first.told, second.told, heir.told]).toEqual([['readable'], [], []]);
    set.turn(set.event(6));
    expect(heir.told).toEqual(['readable']);
  });

  it('keep the numbers of what is closed meanwhile from being given away', () => {
    const set = new ScriptedSet();
    const [first, second, third] = [new Listener(), new Listener(), new Listener()];
    set.readiness.add(5, first);
    set.readiness.add(6, second);
    set.readiness.add(7, third);
    first.then = () => {
      set.readiness.remove(6, second, true);
      set.readiness.close(6);
      expect(set.closed).toEqual([]);
    };
    third.then = () => expect(set.closed).toEqual([]);
    set.turn(set.event(5), set.event(6), set.event(7));
    expect([second.told, third.told, set.closed]).toEqual([[], ['readable'], [6]]);
    set.readiness.close(8);
    expect(set.closed).toEqual([6, 8]);
  });

  it('are dealt with to the end, closed ones closed, although one of them makes a reader throw', () => {
    const set = new ScriptedSet();
    const first = new Listener();
    set.readiness.add(5, first);
    first.then = () => {
      set.readiness.close(9);
      throw new Error('a bug');
    };
    expect(() => set.turn(set.event(5))).toThrow('a bug');
    expect(set.closed).toEqual([9]);
  });

  it('are followed by all that was asked for, although the first of it throws', async () => {
    const set = new ScriptedSet();
    const first = new Listener();
    let isCalled = false;
    set.readiness.add(5, first);
    first.then = () => {
      set.readiness.soon(() => {
        throw new Error('a bug');
      });
      set.readiness.soon(() => {
        isCalled = true;
      });
    };
    expect(() => set.turn(set.event(5))).toThrow('a bug');
    await new Promise((resolve) => setImmediate(resolve));
    expect(isCalled).toBe(true);
  });

  it('tell of room first, and no more to who has gone because of it', () => {
    const set = new ScriptedSet();
    const [stays, goes] = [new Listener(), new Listener()];
    for (const [fd, listener] of [
      [5, stays],
      [6, goes],
    ] as const)
      set.readiness.add(fd, listener, Interest.read | Interest.write);
    goes.then = () => set.readiness.remove(6, goes, true);
    set.turn(set.event(5, { write: true, gone: true }), set.event(6, { write: true, gone: true }));
    expect([stays.told, goes.told]).toEqual([['writable', 'hungUp'], ['writable']]);
  });

  it('are followed by what was asked for meanwhile, and else that comes in a turn of its own', async () => {
    const set = new ScriptedSet();
    const order: string[] = [];
    const [first, second] = [new Listener(), new Listener()];
    set.readiness.add(5, first);
    set.readiness.add(6, second);
    first.then = () => set.readiness.soon(() => order.push('soon'));
    second.then = () => order.push('second');
    set.turn(set.event(5), set.event(6));
    expect(order).toEqual(['second', 'soon']);
    set.readiness.soon(() => order.push('later'));
    expect(order).toHaveLength(2);
    await new Promise((resolve) => setImmediate(resolve));
    expect(order).toEqual(['second', 'soon', 'later']);
  });
});

describe('the processor', () => {
  it('is left to others behind several events, and kept behind one', () => {
    const set = new ScriptedSet();
    for (const fd of [5, 6]) set.readiness.add(fd, new Listener());
    const both = [set.event(5), set.event(6)];
    set.turn(set.event(5));
    set.turn(set.event(6));
    expect([set.yields, set.waits]).toEqual([0, 2]);
    set.turnOf(both, both, [set.event(5)]);
    expect([set.yields, set.waits]).toEqual([2, 5]);
    set.turn();
    expect([set.yields, set.waits]).toEqual([2, 6]);
    // As many rounds as a turn has, and the next turn begins with a yield.
    set.turnOf(both, both, both, both, both);
    expect([set.yields, set.waits]).toEqual([5, 10]);
    set.turn();
    set.turn();
    expect([set.yields, set.waits]).toEqual([6, 12]);
  });
});

/** Reads what there is, and notes whose it was. */
class ReadingListener extends Listener {
  readonly #set: ScriptedSet;
  readonly #fd: number;
  readonly #order: number[];

  constructor(set: ScriptedSet, fd: number, order: number[]) {
    super();
    this.#set = set;
    this.#fd = fd;
    this.#order = order;
  }

  override readable(): void {
    if (this.#set.readiness.receive(this, this.#fd, Buffer.alloc(1)) > 0) this.#order.push(this.#fd);
    super.readable();
  }
}

describe('two connections that take turns', () => {
  const order: number[] = [];
  const heir = new Listener();
  const start = () => {
    order.length = 0;
    const set = new ScriptedSet();
    const of = (fd: number) => {
      const reader = new ReadingListener(set, fd, order);
      set.readiness.add(fd, reader);
      return reader;
    };
    /** What comes for one of them, in a turn of its own. */
    const comes = (fd: number) => {
      set.unread.add(fd);
      set.turn(set.event(fd));
    };
    return { set, of, comes };
  };

  it('are read without asking the set, but for each eighth time', () => {
    const { set, of, comes } = start();
    of(5);
    of(6);
    for (let i = 0; i < 4; i++) comes(5 + (i % 2));
    expect(set.waits).toBe(4);
    for (let i = 0; i < 16; i++) comes(5 + (i % 2));
    expect(set.waits).toBe(4 + 2);
    expect(order).toEqual(Array.from({ length: 20 }, (_, i) => 5 + (i % 2)));
  });

  it('are not guessed at from what one of them says in a row, unless that is a great deal', () => {
    const { set, of, comes } = start();
    of(5);
    of(6);
    for (let i = 0; i < 4; i++) comes(5);
    comes(6);
    expect([set.waits, set.reads]).toEqual([5, 5]);
    for (let i = 0; i < 40; i++) comes(5);
    expect(set.reads).toBe(45);
    expect(set.waits).toBeLessThan(5 + 20);
  });

  it('leave a third one its turn', () => {
    const { set, of, comes } = start();
    of(5);
    of(6);
    const third = of(7);
    for (let i = 0; i < 4; i++) comes(5 + (i % 2));
    set.unread.add(7);
    for (let i = 0; i < 8; i++) {
      set.unread.add(5 + (i % 2));
      set.turn(set.event(5 + (i % 2)), set.event(7));
    }
    expect(third.told).not.toEqual([]);
    expect(order.filter((fd) => fd !== 7)).toHaveLength(4 + 8);
  });

  it('are not read out of turn once one of them has broken it', () => {
    const { set, of, comes } = start();
    of(5);
    const second = of(6);
    for (let i = 0; i < 4; i++) comes(5 + (i % 2));
    // The first one's turn, but the other has more to say.
    comes(6);
    expect(order).toEqual([5, 6, 5, 6, 6]);
    const { waits, reads } = set;
    comes(6);
    comes(6);
    expect([set.waits - waits, set.reads - reads, second.told.length]).toEqual([2, 2, 5]);
  });

  it('are tried once when nothing comes', () => {
    const { set, of, comes } = start();
    of(5);
    of(6);
    for (let i = 0; i < 4; i++) comes(5 + (i % 2));
    const { reads } = set;
    for (let i = 0; i < 3; i++) set.turn();
    expect(set.reads - reads).toBe(1);
  });

  it.each([
    ['may not read', (reader: ReadingListener) => void (reader.mayRead = false)],
    ['has left', (reader: ReadingListener, set: ScriptedSet) => set.readiness.remove(5, reader, false)],
    [
      'has an heir of its number',
      (reader: ReadingListener, set: ScriptedSet) => {
        set.readiness.remove(5, reader, false);
        set.readiness.add(5, heir);
      },
    ],
  ])('are not read when the one whose turn it is %s', (_what, change) => {
    const { set, of, comes } = start();
    const first = of(5);
    of(6);
    for (let i = 0; i < 4; i++) comes(5 + (i % 2));
    change(first, set);
    const before = first.told.length;
    set.unread.add(5);
    set.turn();
    expect([first.told.length, set.unread.has(5), order]).toEqual([before, true, [5, 6, 5, 6]]);
    expect(heir.told).toEqual([]);
  });
});

import { describe, expect, it } from 'vitest';
import { SharedSection } from '../../src/base/shared-section.ts';
import type { Grant, PlaceAsk, ServerAsk } from '../../src/pool/budget.ts';
import { BudgetKeeper } from '../../src/pool/budget-keeper.ts';
import { type BudgetView, viewOf } from '../../src/pool/budget-view.ts';
import { SharedBudget, type SharedBudgetParts } from '../../src/pool/shared-budget.ts';
import { Layout, type SharedMemory } from '../../src/pool/shared-memory.ts';
import { audit, copyOf } from './budget-audit.ts';
import { CLIENT, granted, SERVER, SMALL } from './budget-stage.ts';

const QUIET = { onFreed: () => {}, yieldServer: () => 'closes' as const };
const LOGIN: PlaceAsk = { owner: 'worker 0', kind: 'login', key: '10.0.0.1', totalLimit: 0, keyLimit: 0 };
const B_SERVER = { ...SERVER, owner: 'worker 1' };

/** Takes a picture of the memory before and after each step of a section: what a thread leaves that dies there. */
class Pictured extends SharedSection {
  take: () => void = () => {};

  override write(index: number, value: number): void {
    this.take();
    super.write(index, value);
    this.take();
  }

  override changeLinks(): void {
    super.changeLinks();
    this.take();
  }

  override commit(): void {
    this.take();
    super.commit();
    this.take();
  }
}

class Stage {
  readonly memory = Layout.make(SMALL);
  readonly open = new Set<number>();
  readonly pictures: SharedMemory[] = [];
  readonly a: SharedBudget;
  readonly b: SharedBudget;
  /** What `a` does when something has been freed. */
  onFreed: () => void = () => {};
  /** What one has handed to the other last. */
  handed: Grant | null = null;
  #section: Pictured | null = null;
  #lastFd = 10;

  constructor() {
    const view = viewOf(this.memory, 0, (layout, me) => {
      this.#section = new Pictured(layout.words, layout.section, me);
      return this.#section;
    });
    this.a = new SharedBudget(this.memory, 0, this.parts, { view });
    this.b = new SharedBudget(this.memory, 1, this.parts);
    this.a.join('worker 0', { ...QUIET, onFreed: () => this.onFreed() });
    this.b.join('worker 1', QUIET);
  }

  get parts(): SharedBudgetParts {
    return {
      ring: () => {},
      askYield: () => {},
      hand: (_, grant) => void (this.handed = grant),
      duplicate: () => {
        this.open.add(++this.#lastFd);
        return this.#lastFd;
      },
      closeDescriptor: (fd) => {
        if (!this.open.delete(fd)) throw new Error(`${fd} is not open`);
      },
      full: () => {},
    };
  }

  /** What `work` of the first owner's does, step by step. */
  picture(work: () => void): void {
    const section = this.#section as Pictured;
    section.take = () => void this.pictures.push(copyOf(this.memory));
    section.take();
    work();
    section.take();
    section.take = () => {};
  }
}

function inCustody(budget: SharedBudget, ask: ServerAsk): Grant {
  const grant = granted(budget.askServer(ask));
  expect(budget.custody.take(grant, 3)).toBe(true);
  return grant;
}

function given(budget: SharedBudget, grant: Grant, to: number): Grant {
  const moved = budget.transfer(grant, to);
  if (moved === null) throw new Error('it cannot be given');
  return moved;
}

/** Records that a death of `owner` concerns, of those in custody. */
function concerned({ records, custody }: BudgetView, owner: number): number[] {
  return [...Array(SMALL.servers).keys()].filter(
    (record) => custody.has(record) && (records.isHeldBy(record, owner) || records.isGivenBy(record, owner)),
  );
}

const WORKS: Readonly<Record<string, (stage: Stage) => () => void>> = {
  'asks for a server of a new pool': ({ a }) => {
    return () => void a.askServer({ ...SERVER, database: 'x', user: 'y' });
  },
  'asks for a server of a known pool': ({ a }) => {
    return () => void a.askServer(SERVER);
  },
  'asks for a client': ({ a }) => {
    return () => void a.askClient({ ...CLIENT, user: 'y' });
  },
  'has a client of nobody’s become a user’s': ({ a }) => {
    const held = granted(a.askClient({ ...CLIENT, user: '' }));
    return () => void granted(a.askClient({ ...CLIENT, user: 'y', held }));
  },
  'asks for the place of a login': ({ a }) => {
    return () => void a.askPlace(LOGIN);
  },
  'gives a place back that another was refused': ({ a, b }) => {
    const derivation = { ...LOGIN, kind: 'derivation', totalLimit: 1 } as const;
    const place = a.askPlace(derivation);
    if (typeof place === 'string') throw new Error(place);
    b.askPlace({ ...derivation, owner: 'worker 1' });
    return () => void a.giveBack(place);
  },
  'is refused': ({ a }) => {
    return () => void a.askServer({ ...SERVER, poolLimit: 1 });
  },
  'gives a server back': ({ a }) => {
    const grant = granted(a.askServer(SERVER));
    return () => a.giveBack(grant);
  },
  'gives the last of a pool back that another was refused': ({ a, b }) => {
    const grant = granted(a.askServer({ ...SERVER, database: 'x', user: 'y' }));
    b.askServer({ ...B_SERVER, database: 'x', user: 'y', poolLimit: 1 });
    return () => a.giveBack(grant);
  },
  'gives a server in custody back': ({ a }) => {
    const grant = granted(a.askServer(SERVER));
    a.custody.take(grant, 3);
    return () => a.giveBack(grant);
  },
  'gives a server to another': ({ a }) => {
    const grant = inCustody(a, SERVER);
    return () => void given(a, grant, 1);
  },
  'takes up a server that it was given': ({ a, b }) => {
    const grant = given(b, inCustody(b, B_SERVER), 0);
    return () => void expect(a.arrived(grant)).toBe(true);
  },
  'gives a server back that it was given': ({ a, b }) => {
    const grant = given(b, inCustody(b, B_SERVER), 0);
    a.arrived(grant);
    return () => a.giveBack(grant);
  },
  'sets a server aside': ({ a }) => {
    const grant = inCustody(a, SERVER);
    return () => void a.setAside(grant);
  },
  'asks for a server of one client’s own': ({ a }) => {
    return () => void a.askServer({ ...SERVER, isAside: true });
  },
  'gives a server back that was set aside': ({ a }) => {
    const grant = inCustody(a, { ...SERVER, database: 'x' });
    a.setAside(grant);
    return () => a.giveBack(grant);
  },
  'hands what it has closed to another': ({ a, b }) => {
    const key = 'db\0z';
    b.publishWait('worker 1', key, 5, false);
    const claim = { key, dueFromMs: 5, askedMs: 5, takesOwn: true };
    a.yieldAsked({ scope: { kind: 'database', name: 'db' }, asker: 1, mark: 0, claim });
    const grant = inCustody(a, SERVER);
    a.setAside(grant);
    return () => void a.giveBack(grant);
  },
  'is handed room and asks for a server': (stage) => {
    const { a, b } = stage;
    const key = 'db\0z';
    a.publishWait('worker 0', key, 5, false);
    const claim = { key, dueFromMs: 5, askedMs: 5, takesOwn: true };
    b.yieldAsked({ scope: { kind: 'database', name: 'db' }, asker: 0, mark: 0, claim });
    const closed = inCustody(b, B_SERVER);
    b.setAside(closed);
    b.giveBack(closed);
    const grant = stage.handed as Grant;
    stage.onFreed = () => void granted(a.askServer({ ...SERVER, user: 'z', databaseLimit: 2 }));
    return () => a.handed(grant);
  },
  'leaves a server behind': ({ a }) => {
    const grant = inCustody(a, SERVER);
    return () => a.leaveBehind(grant);
  },
  'asks for a server while it is given one': ({ a, b }) => {
    given(b, inCustody(b, B_SERVER), 0);
    return () => void a.askServer(SERVER);
  },
  'asks for a server while one is on its way from it': ({ a }) => {
    given(a, inCustody(a, SERVER), 1);
    return () => void a.askServer(SERVER);
  },
  'takes custody': ({ a }) => {
    const grant = granted(a.askServer(SERVER));
    return () => void a.custody.take(grant, 3);
  },
  'ends custody': ({ a }) => {
    const grant = granted(a.askServer(SERVER));
    a.custody.take(grant, 3);
    return () => a.custody.end(grant);
  },
  'publishes a wait': ({ a }) => {
    return () => a.publishWait('worker 0', 'x\0y', 5, false);
  },
};

describe('a thread dies at any step while it', () => {
  it.each(Object.entries(WORKS))('%s', async (_, prepare) => {
    const stage = new Stage();
    const others: Grant[] = [granted(stage.b.askServer(B_SERVER))];
    const work = prepare(stage);
    const held = viewOf(stage.memory, 1);
    stage.picture(work);
    expect(audit(held)).toEqual([]);
    const recorded = [...Array(SMALL.servers).keys()]
      .filter((record) => [0, 1, SMALL.owners].some((column) => held.records.isHeldBy(record, column)))
      .map((record) => held.custody.read(record)?.fd);
    expect([...stage.open]).toEqual(recorded.filter((fd) => fd !== undefined));
    expect(stage.pictures.length).toBeGreaterThan(4);
    for (const picture of stage.pictures) {
      const closed: number[] = [];
      const keeper = new BudgetKeeper(picture, {
        ring: () => {},
        closeDescriptor: (fd) => void closed.push(fd),
      });
      const view = viewOf(picture, 1);
      view.section.recover(1);
      const expected = concerned(view, 0);
      const taken = await keeper.reclaim(0);
      expect(taken.map(({ record }) => record)).toEqual(expected);
      // And what it had left behind itself.
      const orphans = keeper.orphans();
      expect(orphans).toEqual(expect.arrayContaining(taken));
      expect(audit(view)).toEqual([]);
      expect(concerned(view, 0)).toEqual([]);
      const left = new SharedBudget(picture, 1, stage.parts);
      // What is in custody is still counted, whoever has it now; nothing else of the dead one's is.
      expect(view.counts.held(0, 0)).toBe(0);
      expect(view.counts.held(0, SMALL.owners)).toBe(orphans.length);
      expect(orphans.filter(({ record }) => !view.records.isAside(record))).toEqual([]);
      for (const orphan of orphans) await keeper.release(orphan);
      for (const orphan of orphans) await keeper.release(orphan);
      expect(closed).toEqual(orphans.map(({ fd }) => fd));
      expect(audit(view)).toEqual([]);
      expect([view.counts.held(0, 0), view.counts.held(0, SMALL.owners)]).toEqual([0, 0]);
      expect([left.count('client'), left.count('login'), left.count('derivation')]).toEqual([0, 0, 0]);
      for (const grant of others) left.giveBack(grant);
      expect(audit(view)).toEqual([]);
      expect(left.count('server')).toBe(0);
      // Another one takes its place, and can use all of it.
      const next = new SharedBudget(picture, 0, stage.parts);
      next.join('worker 0', QUIET);
      const free = SMALL.servers - left.count('server');
      for (let i = 0; i < free; i++) granted(next.askServer(SERVER));
      expect(next.askServer(SERVER)).toBe('total');
    }
  });
});

describe('a server connection on its way', () => {
  const quiet = { ring: () => {}, closeDescriptor: () => {} };
  /** `from`'s life and `to`'s: what has become of the grant at each step. */
  const steps = (work: 'give' | 'arrive'): { stage: Stage; grant: Grant; pictures: SharedMemory[] } => {
    const stage = new Stage();
    // The one that is pictured is the first owner.
    const [from, to] = work === 'give' ? ([stage.a, 1] as const) : ([stage.b, 0] as const);
    const asked = inCustody(from, work === 'give' ? SERVER : B_SERVER);
    let grant = { ...asked, owner: `worker ${to}` };
    if (work === 'arrive') grant = given(from, asked, to);
    stage.picture(() => (work === 'give' ? given(from, asked, to) : stage.a.arrived(grant)));
    return { stage, grant, pictures: stage.pictures };
  };

  it.each(['give', 'arrive'] as const)('is one orphan when both die at any step of its %s', async (work) => {
    for (const first of [0, 1]) {
      const { pictures } = steps(work);
      for (const picture of pictures) {
        const keeper = new BudgetKeeper(picture, quiet);
        const view = viewOf(picture, 1);
        view.section.recover(1);
        await keeper.reclaim(first);
        await keeper.reclaim(1 - first);
        expect(keeper.orphans()).toHaveLength(1);
        expect(keeper.count('server')).toBe(1);
        for (const orphan of keeper.orphans()) await keeper.release(orphan);
        expect(keeper.count('server')).toBe(0);
        expect(audit(view)).toEqual([]);
      }
    }
  });

  it('is nobody’s to take up once its giver is dead, and nobody’s to give back', async () => {
    const { stage, grant, pictures } = steps('give');
    for (const picture of pictures) {
      const keeper = new BudgetKeeper(picture, quiet);
      viewOf(picture, 1).section.recover(1);
      await keeper.reclaim(0);
      const b = new SharedBudget(picture, 1, stage.parts);
      expect(b.arrived(grant)).toBe(false);
      b.giveBack(grant);
      b.leaveBehind(grant);
      expect([keeper.orphans().length, keeper.count('server')]).toEqual([1, 1]);
      // Nor is it that of whoever comes in the dead one's place.
      const next = new SharedBudget(picture, 0, stage.parts);
      next.join('worker 0', QUIET);
      expect([next.arrived({ ...grant, owner: 'worker 0' }), next.arrived(grant)]).toEqual([false, false]);
    }
  });

  it('is not that of who comes in the place of its receiver', async () => {
    const stage = new Stage();
    const grant = given(stage.a, inCustody(stage.a, SERVER), 1);
    const keeper = new BudgetKeeper(stage.memory, stage.parts);
    const [orphan, ...rest] = await keeper.reclaim(1);
    if (orphan === undefined) throw new Error('no orphan');
    expect(rest).toEqual([]);
    const next = new SharedBudget(stage.memory, 1, stage.parts);
    next.join('worker 1', QUIET);
    expect(next.arrived(grant)).toBe(false);
    await keeper.release(orphan);
    // The same record stands for another grant by now.
    const other = inCustody(next, B_SERVER);
    expect(next.arrived(grant)).toBe(false);
    next.giveBack(grant);
    expect([next.count('server'), stage.open.size]).toEqual([1, 1]);
    next.giveBack(other);
    expect([next.count('server'), stage.open.size]).toEqual([0, 0]);
    expect(audit(viewOf(stage.memory, 1))).toEqual([]);
  });

  it('arrives once', () => {
    const stage = new Stage();
    const grant = given(stage.a, inCustody(stage.a, SERVER), 1);
    expect([stage.b.arrived(grant), stage.b.arrived(grant)]).toEqual([true, false]);
    // Nor does the giver's death concern it any more.
    expect(concerned(viewOf(stage.memory, 1), 0)).toEqual([]);
  });

  it('does not leave without custody, nor for a thread that is not there', async () => {
    const stage = new Stage();
    const bare = granted(stage.a.askServer(SERVER));
    expect(stage.a.transfer(bare, 1)).toBe(null);
    const grant = inCustody(stage.a, SERVER);
    await new BudgetKeeper(stage.memory, stage.parts).reclaim(1);
    expect(stage.a.transfer(grant, 1)).toBe(null);
    stage.a.giveBack(grant);
    stage.a.giveBack(bare);
    expect([stage.a.count('server'), stage.open.size]).toEqual([0, 0]);
  });
});

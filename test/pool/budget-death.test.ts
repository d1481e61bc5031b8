import { describe, expect, it } from 'vitest';
import { SharedSection } from '../../src/base/shared-section.ts';
import type { Grant, PlaceAsk } from '../../src/pool/budget.ts';
import { BudgetKeeper } from '../../src/pool/budget-keeper.ts';
import { viewOf } from '../../src/pool/budget-view.ts';
import { SharedBudget, type SharedBudgetParts } from '../../src/pool/shared-budget.ts';
import { Layout, type SharedMemory } from '../../src/pool/shared-memory.ts';
import { audit, copyOf } from './budget-audit.ts';
import { CLIENT, granted, SERVER, SMALL } from './budget-stage.ts';

const QUIET = { onFreed: () => {}, yieldServer: () => false };
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
  #section: Pictured | null = null;
  #lastFd = 10;

  constructor() {
    const view = viewOf(this.memory, 0, (layout, me) => {
      this.#section = new Pictured(layout.words, layout.section, me);
      return this.#section;
    });
    this.a = new SharedBudget(this.memory, 0, this.parts, { view });
    this.b = new SharedBudget(this.memory, 1, this.parts);
    this.a.join('worker 0', QUIET);
    this.b.join('worker 1', QUIET);
  }

  get parts(): SharedBudgetParts {
    return {
      ring: () => {},
      askYield: () => {},
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
    a.takeCustody(grant, 3);
    return () => a.giveBack(grant);
  },
  'hands a server over': ({ a }) => {
    const grant = granted(a.askServer(SERVER));
    a.takeCustody(grant, 3);
    return () => void a.transfer(grant, 1);
  },
  'takes a server over': ({ a, b }) => {
    const grant = granted(b.askServer(B_SERVER));
    b.takeCustody(grant, 3);
    return () => void a.transfer(grant, 0);
  },
  'takes custody': ({ a }) => {
    const grant = granted(a.askServer(SERVER));
    return () => void a.takeCustody(grant, 3);
  },
  'ends custody': ({ a }) => {
    const grant = granted(a.askServer(SERVER));
    a.takeCustody(grant, 3);
    return () => a.endCustody(grant);
  },
  'publishes a wait': ({ a }) => {
    return () => a.publishWait('worker 0', 'x\0y', 5);
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
      .filter((record) => held.records.isHeldBy(record, 0) || held.records.isHeldBy(record, 1))
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
      const inCustody = [...Array(SMALL.servers).keys()].filter(
        (record) => view.records.isHeldBy(record, 0) && view.custody.has(record),
      );
      const orphans = await keeper.reclaim(0);
      expect(orphans.map(({ record }) => record)).toEqual(inCustody);
      expect(audit(view)).toEqual([]);
      const left = new SharedBudget(picture, 1, stage.parts);
      // What is in custody is still counted, whoever has it now; nothing else of the dead one's is.
      expect(view.counts.held(0, 0)).toBe(0);
      expect(view.counts.held(0, SMALL.owners)).toBe(orphans.length);
      for (const orphan of orphans) await keeper.release(orphan);
      for (const orphan of orphans) await keeper.release(orphan);
      expect(closed).toEqual(orphans.map(({ fd }) => fd));
      expect(audit(view)).toEqual([]);
      expect([view.counts.held(0, 0), view.counts.held(0, SMALL.owners)]).toEqual([0, 0]);
      expect([left.count('client'), left.count('login'), left.count('derivation')]).toEqual([0, 0, 0]);
      for (const grant of others) left.giveBack(grant);
      expect(audit(view)).toEqual([]);
      // Another one takes its place, and can use all of it.
      const next = new SharedBudget(picture, 0, stage.parts);
      next.join('worker 0', QUIET);
      const free = SMALL.servers - left.count('server');
      for (let i = 0; i < free; i++) granted(next.askServer(SERVER));
      expect(next.askServer(SERVER)).toBe('total');
    }
  });
});

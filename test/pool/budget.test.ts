import { describe, expect, it } from 'vitest';
import {
  type BudgetOwner,
  type ClientAsk,
  type Grant,
  LocalBudget,
  type PlaceAsk,
  type Refusal,
  type ServerAsk,
} from '../../src/pool/budget.ts';
import { A, B, BUDGETS, C, CLIENT, granted, SERVER } from './budget-stage.ts';
import { wakeUps } from './kit.ts';

const CLAIM = { key: 'x', dueFromMs: null, askedMs: 0, takesOwn: true };

/** An owner that counts its wake-ups and gives up servers when told to. */
function owner(name: string, calls: string[], yields = false): BudgetOwner {
  return {
    onFreed: () => void calls.push(`freed ${name}`),
    yieldServer: (scope) => {
      calls.push(`yield ${name} ${scope.kind} ${scope.name}`);
      return yields ? 'closes' : 'nothing';
    },
  };
}

describe.each(BUDGETS)('a budget %s', (_, make) => {
  it('has so many places in all and of each key, over all owners, and of each kind for itself', () => {
    const of = make();
    const ask = (owner: string, key: string, kind: PlaceAsk['kind'] = 'login') =>
      of(owner).askPlace({ owner, kind, key, totalLimit: 3, keyLimit: 2 });
    const first = ask(A, 'x') as Grant;
    expect([ask(B, 'x'), ask(C, 'y')].map((answer) => typeof answer)).toEqual(['object', 'object']);
    expect([ask(A, 'x'), ask(B, 'x'), ask(B, 'y'), ask(C, 'z')]).toEqual(['key', 'key', 'total', 'total']);
    expect(typeof ask(C, 'x', 'cancel')).toBe('object');
    expect([of(A).count('login'), of(B).count('login', { user: 'x' }), of(B).count('cancel')]).toEqual([
      3, 2, 1,
    ]);
    of(A).giveBack(first);
    of(A).giveBack(first);
    expect([of(B).count('login'), of(B).count('login', { user: 'x' })]).toEqual([2, 1]);
    expect([typeof ask(B, 'x'), ask(A, 'z')]).toEqual(['object', 'total']);
  });

  describe('server connections', () => {
    it.each<[Refusal, Partial<ServerAsk>, Partial<ServerAsk>]>([
      ['pool', { poolLimit: 2 }, { user: 'other' }],
      ['database', { databaseLimit: 2 }, { database: 'other' }],
      ['user', { userLimit: 2 }, { user: 'other' }],
    ])('the %s limit is exact and concerns nobody else', (refusal, limit, elsewhere) => {
      const of = make();
      granted(of(A).askServer({ ...SERVER, ...limit }));
      const second = granted(of(B).askServer({ ...SERVER, ...limit, owner: B }));
      expect(of(A).askServer({ ...SERVER, ...limit })).toBe(refusal);
      granted(of(A).askServer({ ...SERVER, ...limit, ...elsewhere }));
      of(B).giveBack(second);
      granted(of(A).askServer({ ...SERVER, ...limit }));
      expect(of(C).askServer({ ...SERVER, ...limit, owner: C })).toBe(refusal);
    });

    it('of one database by all users count together, of one user over all databases too', () => {
      const budget = make()(A);
      granted(budget.askServer({ ...SERVER, user: 'u1' }));
      granted(budget.askServer({ ...SERVER, user: 'u2' }));
      granted(budget.askServer({ ...SERVER, database: 'db2', user: 'u1' }));
      expect(budget.askServer({ ...SERVER, user: 'u3', databaseLimit: 2 })).toBe('database');
      expect(budget.askServer({ ...SERVER, database: 'db3', user: 'u1', userLimit: 2 })).toBe('user');
      expect(budget.count('server')).toBe(3);
      expect(budget.count('server', { database: 'db' })).toBe(2);
      expect(budget.count('server', { user: 'u1' })).toBe(2);
      expect(budget.count('server', { database: 'db', user: 'u1' })).toBe(1);
      expect(budget.count('client')).toBe(0);
    });

    it('that are set aside count for limits, and not among those that serve their pool', () => {
      const of = make();
      const [a, b] = [granted(of(A).askServer(SERVER)), granted(of(B).askServer({ ...SERVER, owner: B }))];
      granted(of(C).askServer({ ...SERVER, owner: C, isAside: true }));
      granted(of(C).askServer({ ...SERVER, owner: C, user: 'other' }));
      const figures = () => [
        of(A).serving('db', 'app'),
        of(B).count('server', { database: 'db', user: 'app' }),
      ];
      expect(figures()).toEqual([2, 3]);
      // One of the two may go, whoever is faster.
      expect([of(A).setAside(a, 1), of(B).setAside(b, 1)]).toEqual([true, false]);
      expect(of(A).setAside(a, 1)).toBe(true);
      expect(figures()).toEqual([1, 3]);
      expect(of(B).askServer({ ...SERVER, owner: B, servingLimit: 1 })).toBe('pool');
      expect(of(B).askServer({ ...SERVER, owner: B, servingLimit: 2, poolLimit: 3 })).toBe('pool');
      granted(of(B).askServer({ ...SERVER, owner: B, servingLimit: 2, poolLimit: 4 }));
      expect(figures()).toEqual([2, 4]);
      for (const grant of [a, a, b]) of(grant.owner).giveBack(grant);
      expect(figures()).toEqual([1, 2]);
      expect([of(A).setAside(a, 5), figures()]).toEqual([true, [1, 2]]);
    });

    it('a grant given back twice counts once', () => {
      const budget = make()(A);
      const grant = granted(budget.askServer(SERVER));
      granted(budget.askServer(SERVER));
      budget.giveBack(grant);
      budget.giveBack(grant);
      expect(budget.count('server')).toBe(1);
    });

    it('a grant given back again after its place was taken changes nothing', () => {
      const budget = make()(A);
      const grant = granted(budget.askServer(SERVER));
      budget.giveBack(grant);
      granted(budget.askServer(SERVER));
      budget.giveBack(grant);
      expect(budget.count('server')).toBe(1);
    });

    it('a grant is plain data that says whose it is', () => {
      const of = make();
      const first = granted(of(A).askServer(SERVER));
      const second = granted(of(B).askServer({ ...SERVER, owner: B }));
      expect(structuredClone(first)).toEqual({
        id: first.id,
        kind: 'server',
        owner: A,
        database: 'db',
        user: 'app',
      });
      expect(second.id).not.toBe(first.id);
    });
  });

  describe('clients', () => {
    it.each<[Refusal, Partial<ClientAsk>, Partial<ClientAsk>]>([
      ['database', { databaseLimit: 1 }, { database: 'other' }],
      ['user', { userLimit: 1 }, { user: 'other' }],
    ])('the %s limit is exact and concerns nobody else', (refusal, limit, elsewhere) => {
      const of = make();
      const first = granted(of(A).askClient({ ...CLIENT, ...limit }));
      expect(of(B).askClient({ ...CLIENT, ...limit, owner: B })).toBe(refusal);
      granted(of(A).askClient({ ...CLIENT, ...limit, ...elsewhere }));
      of(A).giveBack(first);
      granted(of(A).askClient({ ...CLIENT, ...limit }));
    });

    it('the total limit counts clients of every database and user', () => {
      const of = make();
      granted(of(A).askClient({ ...CLIENT, totalLimit: 2 }));
      granted(of(B).askClient({ ...CLIENT, owner: B, totalLimit: 2, database: 'other', user: 'other' }));
      expect(of(A).askClient({ ...CLIENT, totalLimit: 2, database: 'third' })).toBe('total');
    });

    it('of nobody yet become a user’s, within that one’s limit and with nobody in between', () => {
      const of = make();
      const first = granted(of(A).askClient({ ...CLIENT, user: '', totalLimit: 1, databaseLimit: 1 }));
      const ask = { ...CLIENT, totalLimit: 1, databaseLimit: 1, userLimit: 1 };
      const other = granted(of(B).askClient({ ...ask, owner: B, totalLimit: 2, database: 'other' }));
      expect(of(A).askClient({ ...ask, held: first })).toBe('total');
      expect(of(A).askClient({ ...ask, totalLimit: 2, held: first })).toBe('user');
      const ofScope = (scope: { database?: string; user?: string }) => of(B).count('client', scope);
      const counts = () => [{}, { database: 'db' }, { user: '' }, { user: 'app' }].map(ofScope);
      expect(counts()).toEqual([2, 1, 1, 1]);
      of(B).giveBack(other);
      const second = granted(of(A).askClient({ ...ask, held: first }));
      expect(second).toMatchObject({ database: 'db', user: 'app', owner: A });
      expect(counts()).toEqual([1, 1, 0, 1]);
      expect(ofScope({ database: 'db', user: 'app' })).toBe(1);
      expect(of(B).askClient({ ...ask, owner: B })).toBe('total');
      // It may stay what it is.
      const third = granted(of(A).askClient({ ...ask, held: second }));
      of(A).giveBack(third);
      expect([...counts(), ofScope({ database: 'db', user: 'app' })]).toEqual([0, 0, 0, 0, 0]);
    });

    it('and server connections do not count against each other', () => {
      const budget = make()(A);
      granted(budget.askServer(SERVER));
      granted(budget.askClient({ ...CLIENT, totalLimit: 1, databaseLimit: 1, userLimit: 1 }));
      granted(budget.askServer({ ...SERVER, databaseLimit: 2, userLimit: 2, poolLimit: 2 }));
    });
  });

  it('answer with a place that is held, where there is room for it', () => {
    const budget = make()(A);
    const first = granted(budget.askServer(SERVER));
    const held = granted(budget.askServer(SERVER));
    const ask = { ...SERVER, poolLimit: 2, databaseLimit: 2, userLimit: 1, held };
    expect(budget.askServer(ask)).toBe('user');
    budget.giveBack(first);
    expect(budget.askServer({ ...ask, databaseLimit: 1 })).toBe(held);
    expect(budget.count('server')).toBe(1);
  });

  describe('wake-ups', () => {
    it('come once for any number of grants given back in one turn, and never from inside giveBack', async () => {
      const budget = make()(A);
      const calls: string[] = [];
      budget.join(A, owner('a', calls));
      const grants = [1, 2, 3].map(() => granted(budget.askServer(SERVER)));
      for (const grant of grants) budget.giveBack(grant);
      expect(calls).toEqual([]);
      await wakeUps();
      expect(calls).toEqual(['freed a']);
    });

    it('come again for what is given back from inside one', async () => {
      const budget = make()(A);
      const late = granted(budget.askServer(SERVER));
      let calls = 0;
      budget.join(A, {
        onFreed: () => {
          calls++;
          budget.giveBack(late);
        },
        yieldServer: () => 'nothing' as const,
      });
      budget.giveBack(granted(budget.askServer(SERVER)));
      await wakeUps();
      expect(calls).toBe(2);
    });

    it('are not for clients, who are refused and do not wait', async () => {
      const budget = make()(A);
      const calls: string[] = [];
      budget.join(A, owner('a', calls));
      budget.giveBack(granted(budget.askClient(CLIENT)));
      await wakeUps();
      expect(calls).toEqual([]);
    });

    it('are not for the places of key derivations, of which the others are rung', async () => {
      const of = make();
      const calls: string[] = [];
      of(A).join(A, owner('a', calls));
      of(B).join(B, owner('b', calls));
      const ask = { kind: 'derivation', key: '', totalLimit: 1, keyLimit: 0 } as const;
      const place = of(A).askPlace({ ...ask, owner: A });
      expect(of(B).askPlace({ ...ask, owner: B })).toBe('total');
      of(A).giveBack(place as Grant);
      await wakeUps();
      expect(calls).not.toContain('freed a');
    });

    it.each<[Refusal, Partial<ServerAsk>]>([
      ['pool', { poolLimit: 2 }],
      ['database', { databaseLimit: 2 }],
      ['user', { userLimit: 2 }],
    ])('reach another owner that the %s limit has refused', async (refusal, limit) => {
      const of = make();
      const calls: string[] = [];
      of(A).join(A, owner('a', calls));
      of(B).join(B, owner('b', calls));
      const grants = [1, 2].map(() => granted(of(A).askServer(SERVER)));
      expect(of(B).askServer({ ...SERVER, ...limit, owner: B })).toBe(refusal);
      for (const grant of grants) of(A).giveBack(grant);
      await wakeUps();
      expect(calls.sort()).toEqual(['freed a', 'freed b']);
    });
  });

  describe('owners', () => {
    it('are asked in turn to give a connection up until one does', () => {
      const of = make();
      const calls: string[] = [];
      of(A).join(A, owner('a', calls));
      of(B).join(B, owner('b', calls, true));
      of(C).join(C, owner('c', calls, true));
      for (const name of [B, C]) granted(of(name).askServer({ ...SERVER, owner: name }));
      of(A).requestYield({ kind: 'database', name: 'db' }, CLAIM);
      expect(calls).toEqual(['yield a database db', 'yield b database db']);
    });

    it('nobody can', () => {
      const budget = make()(A);
      budget.join(A, owner('a', []));
      expect(budget.requestYield({ kind: 'user', name: 'app' }, CLAIM)).toBe(false);
    });
  });
});

describe('several owners in one event loop', () => {
  it('hear of what is given back in the order of their longest waits', async () => {
    const budget = new LocalBudget();
    const calls: string[] = [];
    for (const name of ['a', 'b', 'c']) budget.join(name, owner(name, calls));
    budget.publishWait('b', 'pool 1', 500);
    budget.publishWait('b', 'pool 2', 300);
    budget.publishWait('c', 'pool 1', 400);
    budget.giveBack(granted(budget.askServer(SERVER)));
    await wakeUps();
    expect(calls).toEqual(['freed b', 'freed c', 'freed a']);
    budget.publishWait('b', 'pool 2', 0);
    budget.giveBack(granted(budget.askServer(SERVER)));
    await wakeUps();
    expect(calls.slice(3)).toEqual(['freed c', 'freed b', 'freed a']);
  });
});

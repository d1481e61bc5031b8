import { describe, expect, it } from 'vitest';
import {
  type BudgetOwner,
  type ClientAsk,
  type Grant,
  LocalBudget,
  type Refusal,
  type ServerAsk,
} from '../../src/pool/budget.ts';
import { wakeUps } from './kit.ts';

const SERVER: ServerAsk = {
  owner: 'a',
  database: 'db',
  user: 'app',
  poolLimit: 0,
  databaseLimit: 0,
  userLimit: 0,
};
const CLIENT: ClientAsk = {
  owner: 'a',
  database: 'db',
  user: 'app',
  totalLimit: 0,
  databaseLimit: 0,
  userLimit: 0,
};

function granted(answer: Grant | Refusal): Grant {
  if (typeof answer === 'string') throw new Error(`refused: ${answer}`);
  return answer;
}

/** An owner that counts its wake-ups and gives up servers when told to. */
function owner(name: string, calls: string[], yields = false): BudgetOwner {
  return {
    onFreed: () => void calls.push(`freed ${name}`),
    yieldServer: (scope) => {
      calls.push(`yield ${name} ${scope.kind} ${scope.name}`);
      return yields;
    },
  };
}

describe('server connections', () => {
  it.each<[Refusal, Partial<ServerAsk>, Partial<ServerAsk>]>([
    ['pool', { poolLimit: 2 }, { user: 'other' }],
    ['database', { databaseLimit: 2 }, { database: 'other' }],
    ['user', { userLimit: 2 }, { user: 'other' }],
  ])('the %s limit is exact and concerns nobody else', (refusal, limit, elsewhere) => {
    const budget = new LocalBudget();
    granted(budget.askServer({ ...SERVER, ...limit }));
    const second = granted(budget.askServer({ ...SERVER, ...limit }));
    expect(budget.askServer({ ...SERVER, ...limit })).toBe(refusal);
    granted(budget.askServer({ ...SERVER, ...limit, ...elsewhere }));
    budget.giveBack(second);
    granted(budget.askServer({ ...SERVER, ...limit }));
    expect(budget.askServer({ ...SERVER, ...limit })).toBe(refusal);
  });

  it('of one database by all users count together, of one user over all databases too', () => {
    const budget = new LocalBudget();
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

  it('a grant given back twice counts once', () => {
    const budget = new LocalBudget();
    const grant = granted(budget.askServer(SERVER));
    granted(budget.askServer(SERVER));
    budget.giveBack(grant);
    budget.giveBack(grant);
    expect(budget.count('server')).toBe(1);
  });

  it('a grant is plain data that says whose it is', () => {
    const budget = new LocalBudget();
    const first = granted(budget.askServer(SERVER));
    const second = granted(budget.askServer(SERVER));
    expect(structuredClone(first)).toEqual({
      id: first.id,
      kind: 'server',
      owner: 'a',
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
    const budget = new LocalBudget();
    const first = granted(budget.askClient({ ...CLIENT, ...limit }));
    expect(budget.askClient({ ...CLIENT, ...limit })).toBe(refusal);
    granted(budget.askClient({ ...CLIENT, ...limit, ...elsewhere }));
    budget.giveBack(first);
    granted(budget.askClient({ ...CLIENT, ...limit }));
  });

  it('the total limit counts clients of every database and user', () => {
    const budget = new LocalBudget();
    granted(budget.askClient({ ...CLIENT, totalLimit: 2 }));
    granted(budget.askClient({ ...CLIENT, totalLimit: 2, database: 'other', user: 'other' }));
    expect(budget.askClient({ ...CLIENT, totalLimit: 2, database: 'third' })).toBe('total');
  });

  it('and server connections do not count against each other', () => {
    const budget = new LocalBudget();
    granted(budget.askServer(SERVER));
    granted(budget.askClient({ ...CLIENT, totalLimit: 1, databaseLimit: 1, userLimit: 1 }));
    granted(budget.askServer({ ...SERVER, databaseLimit: 2, userLimit: 2, poolLimit: 2 }));
  });
});

describe('wake-ups', () => {
  it('come once for any number of grants given back in one turn, and never from inside giveBack', async () => {
    const budget = new LocalBudget();
    const calls: string[] = [];
    budget.join('a', owner('a', calls));
    const grants = [1, 2, 3].map(() => granted(budget.askServer(SERVER)));
    for (const grant of grants) budget.giveBack(grant);
    expect(calls).toEqual([]);
    await wakeUps();
    expect(calls).toEqual(['freed a']);
  });

  it('come again for what is given back from inside one', async () => {
    const budget = new LocalBudget();
    const late = granted(budget.askServer(SERVER));
    let calls = 0;
    budget.join('a', {
      onFreed: () => {
        calls++;
        budget.giveBack(late);
      },
      yieldServer: () => false,
    });
    budget.giveBack(granted(budget.askServer(SERVER)));
    await wakeUps();
    expect(calls).toBe(2);
  });

  it('are not for clients, who are refused and do not wait', async () => {
    const budget = new LocalBudget();
    const calls: string[] = [];
    budget.join('a', owner('a', calls));
    budget.giveBack(granted(budget.askClient(CLIENT)));
    await wakeUps();
    expect(calls).toEqual([]);
  });

  it('reach the owner with the longest wait first', async () => {
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

describe('owners', () => {
  it('a dead owner loses everything it held, and the others hear of it', async () => {
    const budget = new LocalBudget();
    const calls: string[] = [];
    budget.join('a', owner('a', calls));
    budget.join('b', owner('b', calls));
    const grant = granted(budget.askServer({ ...SERVER, owner: 'a' }));
    granted(budget.askServer({ ...SERVER, owner: 'b' }));
    granted(budget.askClient({ ...CLIENT, owner: 'a' }));
    budget.reclaim('a');
    expect([budget.count('server'), budget.count('client')]).toEqual([1, 0]);
    // Its own late answer changes nothing.
    budget.giveBack(grant);
    expect(budget.count('server')).toBe(1);
    await wakeUps();
    expect(calls).toEqual(['freed b']);
  });

  it('are asked in turn to give a connection up until one does', () => {
    const budget = new LocalBudget();
    const calls: string[] = [];
    budget.join('a', owner('a', calls));
    budget.join('b', owner('b', calls, true));
    budget.join('c', owner('c', calls, true));
    expect(budget.requestYield({ kind: 'database', name: 'db' })).toBe(true);
    expect(calls).toEqual(['yield a database db', 'yield b database db']);
  });

  it('nobody can', () => {
    const budget = new LocalBudget();
    budget.join('a', owner('a', []));
    expect(budget.requestYield({ kind: 'user', name: 'app' })).toBe(false);
  });
});

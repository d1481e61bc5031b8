import { describe, expect, test } from 'vitest';
import { type DoorLimits, Doorkeeper, TOO_MUCH, Visit } from '../../src/client/doorkeeper.ts';
import { FAILURES_LOGGED, PeerLines } from '../../src/client/peer-lines.ts';
import { silentLogger } from '../../src/base/log.ts';
import { LocalBudget } from '../../src/pool/budget.ts';
import { ManualClock } from '../support/manual-clock.ts';

const GRACE_MS = 2000;
const KIB = 1024;

/** A door, and who was thrown out or cut, by name. */
function stage(limits: DoorLimits) {
  const clock = new ManualClock();
  const lines = new PeerLines(clock, silentLogger);
  const budget = new LocalBudget();
  const parts = { clock, lines, limits: () => limits, budget, owner: 'main' };
  const door = new Doorkeeper(parts);
  const unix = new Doorkeeper({ ...parts, isUnix: true, beside: door });
  const evicted: [name: string, message: string][] = [];
  const cut: string[] = [];
  /** Visitors take the place that they are given at once. */
  const enter = (name: string, peer = name, placeIn: string | null = null, by = door): Visit => {
    const visit = by.enter(peer);
    if (!(visit instanceof Visit)) throw new Error(visit);
    visit.visitor = {
      placeIn,
      evict: (message) => {
        evicted.push([name, message]);
        visit.leaves();
      },
      cut: () => void cut.push(name),
    };
    return visit;
  };
  return { clock, lines, door, unix, budget, enter, evicted, cut };
}

const none = { total: 0, perAddress: 0 };
const NO_ROOM = 'no more connections allowed (max_login_conn)';

describe('connections that have not logged in', () => {
  test('are as many as come without limits', () => {
    const { budget, enter, evicted } = stage(none);
    for (let i = 0; i < 1000; i++) enter(`a${i}`, 'a');
    expect([budget.count('login'), evicted]).toEqual([1000, []]);
  });

  test.each([
    ['logs in', (visit: Visit) => visit.loggedIn()],
    ['is closed', (visit: Visit) => visit.leaves()],
    ['is gone', (visit: Visit) => visit.gone()],
    ['turns out to bring a cancel request', (visit: Visit) => visit.cancels()],
  ])('are as many of one address as it may have, until one of them %s', (_what, end) => {
    const { budget, door, enter, evicted } = stage({ total: 0, perAddress: 2 });
    const first = enter('a');
    enter('a');
    expect(door.enter('a')).toBe('max_login_conn_per_address');
    enter('b');
    end(first);
    enter('a');
    expect(door.enter('a')).toBe('max_login_conn_per_address');
    expect([budget.count('login'), evicted]).toEqual([3, []]);
  });

  test('give way in all to others: the oldest of the address that has most', () => {
    const { budget, enter, evicted } = stage({ total: 5, perAddress: 0 });
    enter('b1', 'b');
    for (const name of ['a1', 'a2', 'a3']) enter(name, 'a');
    enter('b2', 'b');
    enter('c');
    expect(evicted).toEqual([['a1', NO_ROOM]]);
    expect(budget.count('login')).toBe(5);
  });

  test('do not throw each other out when they come together, nor those who have come in as many', () => {
    const { door, enter, evicted } = stage({ total: 3, perAddress: 0 });
    for (const name of ['a1', 'a2', 'b1']) enter(name, name.charAt(0));
    expect(door.enter('a')).toBe('max_login_conn');
    expect(door.enter('b')).toBe('max_login_conn');
    enter('c');
    expect(evicted).toEqual([['a1', NO_ROOM]]);
  });

  test('give way to others of their own address once they have had their time', () => {
    const { clock, door, enter, evicted } = stage({ total: 2, perAddress: 0 });
    enter('a1', 'a');
    clock.advance(1000);
    enter('a2', 'a');
    clock.advance(GRACE_MS - 1001);
    expect(door.enter('a')).toBe('max_login_conn');
    clock.advance(1);
    enter('a3', 'a');
    expect(door.enter('a')).toBe('max_login_conn');
    expect(evicted).toEqual([['a1', NO_ROOM]]);
  });

  test('of many addresses with one each, the oldest gives way', () => {
    const { clock, enter, evicted } = stage({ total: 3, perAddress: 0 });
    for (const name of ['a', 'b', 'c']) {
      enter(name);
      clock.advance(1000);
    }
    enter('d');
    expect(evicted).toEqual([['a', NO_ROOM]]);
  });
});

describe('a place of max_client_conn', () => {
  const message = 'no more connections allowed (max_client_conn)';

  test('is given up for others only by those who have one', () => {
    const { door, enter, evicted } = stage(none);
    for (let i = 0; i < 3; i++) enter(`waits${i}`, 'a');
    expect(door.makePlace('b', null)).toBe(false);
    for (let i = 0; i < 2; i++) enter(`placed${i}`, 'a', 'db');
    expect(door.makePlace('b', null)).toBe(true);
    expect(evicted).toEqual([['placed0', message]]);
  });

  test('in a database is given up by those who are for that one', () => {
    const { door, enter, evicted } = stage(none);
    for (const [name, database] of [
      ['one', 'x'],
      ['two', 'y'],
      ['three', 'y'],
    ] as const) {
      enter(name, 'a', database);
    }
    expect(door.makePlace('b', 'z')).toBe(false);
    expect(door.makePlace('b', 'y')).toBe(true);
    expect(evicted).toEqual([['two', message]]);
  });

  test('is given up for one of the same address only after some time', () => {
    const { clock, door, enter } = stage(none);
    for (let i = 0; i < 3; i++) enter(`a${i}`, 'a', 'db');
    expect(door.makePlace('a', null)).toBe(false);
    clock.advance(GRACE_MS);
    expect(door.makePlace('a', null)).toBe(true);
  });

  test('is given up by whoever has most of them, by the network or by unix sockets, for whom has fewer', () => {
    const { clock, door, unix, enter, evicted } = stage(none);
    for (const name of ['n1', 'n2', 'n3']) enter(name, 'n', 'db');
    for (const name of ['u1', 'u2', 'u3', 'u4', 'u5']) enter(name, 'u', 'db', unix);
    // Those who have most come together.
    expect(unix.makePlace('u', null)).toBe(false);
    expect(door.makePlace('n', null)).toBe(false);
    clock.advance(GRACE_MS);
    expect(door.makePlace('n', null)).toBe(true);
    expect(door.makePlace('another', null)).toBe(true);
    for (const name of ['n4', 'n5']) enter(name, 'n', 'db');
    expect(unix.makePlace('another', null)).toBe(true);
    expect(evicted.map(([name]) => name)).toEqual(['u1', 'u2', 'n1']);
  });
});

test('a flood from many addresses neither ends logins by the unix socket that come together, nor keeps them from coming', () => {
  const { clock, door, unix, enter, evicted } = stage(none);
  for (let i = 0; i < 40; i++) enter(`stranger${i}`, `address${i}`, 'db');
  clock.advance(GRACE_MS);
  for (const name of ['u1', 'u2']) enter(name, 'u', 'db', unix);
  expect(unix.makePlace('u', null)).toBe(true);
  expect(door.makePlace('new address', null)).toBe(true);
  expect(evicted.map(([name]) => name)).toEqual(['stranger0', 'stranger1']);
});

test('who comes by a unix socket takes no place of the network, and loses none to it', () => {
  const { budget, door, unix, enter } = stage({ total: 2, perAddress: 0 });
  const visits = [enter('a'), enter('b')];
  expect(door.enter('c')).toBe('max_login_conn');
  const local = [unix.enter('user 1'), unix.enter('user 1')] as Visit[];
  expect(unix.enter('user 2')).toBe('max_login_conn');
  expect([...local, ...visits].map((visit) => visit.cancels())).toEqual(Array(4).fill(true));
  for (const visit of local) visit.leaves();
  const kinds = ['login', 'cancel', 'leaving', 'unix login', 'unix cancel', 'unix leaving'] as const;
  expect(kinds.map((kind) => budget.count(kind))).toEqual([0, 2, 0, 0, 0, 2]);
});

describe('cancel requests', () => {
  test('are counted by themselves: as many per address, and in all', () => {
    const { budget, enter } = stage({ total: 3, perAddress: 2 });
    const first = enter('a');
    expect([first.cancels(), enter('a').cancels()]).toEqual([true, true]);
    expect(enter('a').cancels()).toBe(false);
    expect(enter('b').cancels()).toBe(true);
    const late = enter('c');
    expect(late.cancels()).toBe(false);
    expect([budget.count('login'), budget.count('cancel')]).toEqual([2, 3]);
    first.leaves();
    expect(late.cancels()).toBe(true);
    late.gone();
    expect([budget.count('login'), budget.count('cancel')]).toEqual([1, 2]);
  });
});

test('who has been told goodbye and does not go is cut, the oldest first, once there are too many', () => {
  const { enter, cut } = stage({ total: 2, perAddress: 0 });
  for (const name of ['a', 'b', 'c', 'd']) enter(name, 'x').leaves();
  expect(cut).toEqual(['a', 'b']);
});

describe('bytes before login', () => {
  test('of one connection are limited', () => {
    const visit = stage(none).enter('a');
    expect(visit.received(192 * KIB)).toBe(true);
    expect(visit.received(1)).toBe(false);
  });

  test('in all are limited: whoever has sent most has to go', () => {
    const { enter, evicted } = stage(none);
    enter('small').received(1000);
    const size = 150 * KIB;
    let sent = 1000;
    let i = 0;
    enter('largest').received(192 * KIB);
    sent += 192 * KIB;
    while (evicted.length === 0 && i < 1000) {
      enter(`a${i++}`).received(size);
      sent += size;
    }
    expect(evicted).toEqual([['largest', TOO_MUCH]]);
    expect(sent).toBeGreaterThan(64 * KIB * KIB);
    expect(sent - size).toBeLessThanOrEqual(64 * KIB * KIB);
    // What it had sent counts no more: there is room for as much again.
    enter('next').received(100);
    expect(evicted).toHaveLength(1);
  });

  test('in all are those by the network and by unix sockets: whoever has sent most has to go', () => {
    const { door, unix, enter, evicted } = stage(none);
    enter('largest', 'n', null, door).received(192 * KIB);
    for (let i = 0; i < 170; i++) enter(`n${i}`, 'n', null, door).received(190 * KIB);
    for (let i = 0; i < 173; i++) enter(`u${i}`, 'u', null, unix).received(190 * KIB);
    expect(evicted).toEqual([]);
    enter('last', 'u', null, unix).received(190 * KIB);
    expect(evicted).toEqual([['largest', TOO_MUCH]]);
  });

  test('no longer count when one has logged in or gone', () => {
    const { enter, evicted } = stage(none);
    for (let i = 0; i < 1000; i++) {
      const visit = enter(`a${i}`);
      visit.received(192 * KIB);
      if (i % 2 === 0) visit.loggedIn();
      else visit.leaves();
      visit.received(10);
    }
    expect(evicted).toEqual([]);
  });
});

test('a connection counts as a failed login when there was something to write about it, and it did not log in', () => {
  const { enter, lines } = stage(none);
  for (let i = 0; i < FAILURES_LOGGED; i++) {
    enter('a').leaves();
    const visit = enter('a');
    visit.mayWrite();
    visit.loggedIn();
  }
  expect(lines.mayWrite('a')).toBe(true);
  for (let i = 0; i < FAILURES_LOGGED; i++) {
    const visit = enter('a');
    visit.mayWrite();
    visit.leaves();
  }
  expect(lines.mayWrite('a')).toBe(false);
  for (let i = 0; i < FAILURES_LOGGED; i++) enter('b').cancelsInVain();
  expect(lines.mayWrite('b')).toBe(false);
});

test('whatever programs of a system user do that do not log in, its lines are written', () => {
  const { unix, enter } = stage(none);
  for (let i = 0; i < 3 * FAILURES_LOGGED; i++) {
    const visit = enter('health check', 'system user 1', null, unix);
    expect(visit.mayWrite()).toBe(true);
    visit.cancelsInVain();
    visit.leaves();
  }
  expect(enter('another', 'system user 1', null, unix).mayWrite()).toBe(true);
});

import { describe, expect, test } from 'vitest';
import { HostNames, type NameResolver } from '../../src/net/host-names.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { waitFor } from '../support/wait-for.ts';

function failing(code: string): Error {
  return Object.assign(new Error(code), { code });
}

/** Names and addresses as the test has them. */
class Zone implements NameResolver {
  readonly asked: string[] = [];
  readonly names = new Map<string, string | Error>([
    ['10.0.0.1', 'DB.Example.org.'],
    ['10.0.0.2', 'liar.example.org'],
    ['10.0.0.3', failing('ESERVFAIL')],
    ['10.0.0.4', 'gone.example.org'],
    ['10.0.0.5', 'example.org'],
  ]);

  readonly addresses = new Map<string, string[] | Error>([
    ['db.example.org', ['10.0.0.9', '10.0.0.1']],
    ['liar.example.org', ['10.9.9.9']],
    ['gone.example.org', failing('EAI_AGAIN')],
    ['example.org', ['10.0.0.5']],
  ]);

  async reverse(ip: string): Promise<string> {
    this.asked.push(ip);
    return known(this.names.get(ip));
  }

  async forward(name: string): Promise<readonly string[]> {
    this.asked.push(name);
    return known(this.addresses.get(name));
  }
}

function known<T>(value: T | Error | undefined): T {
  if (value === undefined) throw failing('ENOTFOUND');
  if (value instanceof Error) throw value;
  return value;
}

describe('an address is that of a host', () => {
  test.each<readonly [string, string, boolean | null]>([
    ['10.0.0.1', 'db.example.org', true],
    ['10.0.0.1', '.example.org', true],
    ['10.0.0.1', '.org', true],
    ['10.0.0.1', 'example.org', false],
    ['10.0.0.1', '.ample.org', false],
    ['10.0.0.5', '.example.org', false],
    ['10.0.0.5', 'example.org', true],
    // Whoever owns the address has given it a name that isn't theirs.
    ['10.0.0.2', 'liar.example.org', false],
    ['10.0.0.3', 'db.example.org', null],
    ['10.0.0.4', 'gone.example.org', null],
    ['10.0.0.4', 'other.example.org', false],
    ['10.0.0.6', 'db.example.org', false],
  ])('%s, %s: %s', async (ip, pattern, expected) => {
    expect(await new HostNames(new ManualClock(), new Zone()).isHost(ip, pattern, wanted)).toBe(expected);
  });
});

test('names are remembered for a moment', async () => {
  const [clock, zone] = [new ManualClock(), new Zone()];
  const hosts = new HostNames(clock, zone);
  await hosts.isHost('10.0.0.1', 'other', wanted);
  await hosts.isHost('10.0.0.1', '.com', wanted);
  expect(zone.asked).toEqual(['10.0.0.1']);
  clock.advance(15_001);
  await hosts.isHost('10.0.0.1', 'other', wanted);
  expect(zone.asked).toEqual(['10.0.0.1', '10.0.0.1']);
});

/** Who asks is still there. */
function wanted(): boolean {
  return true;
}

test('no more than two are looked up at a time, and all get their turn', async () => {
  let running = 0;
  const release: (() => void)[] = [];
  const hosts = new HostNames(new ManualClock(), {
    reverse: async (ip) => {
      running++;
      await new Promise<void>((resolve) => release.push(resolve));
      running--;
      return `host-${ip}`;
    },
    forward: async (name) => [name.slice(5)],
  });
  const ips = ['1', '2', '3', '4', '5'];
  const answers = Promise.all(ips.map((ip) => hosts.isHost(ip, `host-${ip}`, wanted)));
  for (let done = 0; done < ips.length; done++) {
    await waitFor(() => release.length > done, { what: 'the next look-up' });
    expect(running).toBeLessThanOrEqual(2);
    release[done]?.();
  }
  expect(await answers).toEqual(ips.map(() => true));
});

test('the system’s own resolver knows this machine', async () => {
  const hosts = new HostNames(new ManualClock());
  const answer = await hosts.isHost('127.0.0.1', 'localhost', wanted);
  // Whatever its files call it.
  expect([true, false, null]).toContain(answer);
  expect(await hosts.isHost('127.0.0.1', 'surely-not.invalid', wanted)).not.toBe(true);
});

test('who has left by the time of its turn costs no look-up, and the next one has it done', async () => {
  const asked: string[] = [];
  const release: (() => void)[] = [];
  const hosts = new HostNames(new ManualClock(), {
    reverse: async (ip) => {
      asked.push(ip);
      await new Promise<void>((resolve) => release.push(resolve));
      return `host-${ip}`;
    },
    forward: async (name) => [name.slice(5)],
  });
  const first = ['1', '2'].map((ip) => hosts.isHost(ip, `host-${ip}`, wanted));
  await waitFor(() => release.length === 2, { what: 'two look-ups' });
  const gone = hosts.isHost('3', 'host-3', () => false);
  // Somebody else at the address of one who has left.
  const both = [hosts.isHost('4', 'host-4', () => false), hosts.isHost('4', 'host-4', wanted)];
  for (const done of release) done();
  expect(await Promise.all([...first, gone])).toEqual([true, true, null]);
  await waitFor(() => release.length === 3, { what: 'the look-up of who is there' });
  release[2]?.();
  expect(await both[1]).toBe(true);
  expect(asked).toEqual(['1', '2', '4']);
  const next = hosts.isHost('3', 'host-3', wanted);
  await waitFor(() => release.length === 4, { what: 'the look-up' });
  release[3]?.();
  expect(await next).toBe(true);
});

/** A resolver whose answers are given by the test, in the order in which it was asked. */
class Slow implements NameResolver {
  readonly asked: string[] = [];
  readonly #answers: (() => void)[] = [];

  async reverse(ip: string): Promise<string> {
    await this.#turn(ip);
    return `host-${ip}`;
  }

  async forward(name: string): Promise<readonly string[]> {
    await this.#turn(name);
    return [name.slice(5)];
  }

  /** Answers when it has been asked so many times. */
  async answer(nth: number): Promise<void> {
    await waitFor(() => this.#answers.length >= nth, { what: `question ${nth}` });
    this.#answers[nth - 1]?.();
  }

  #turn(question: string): Promise<void> {
    this.asked.push(question);
    return new Promise((resolve) => this.#answers.push(resolve));
  }
}

test('a resolver has thirty seconds for an answer and keeps its turn; who waits for one does so for fifteen', async () => {
  const [clock, slow] = [new ManualClock(), new Slow()];
  const hosts = new HostNames(clock, slow);
  const early = [1, 2].map((i) => hosts.isHost(`${i}`, `host-${i}`, wanted));
  await waitFor(() => slow.asked.length === 2, { what: 'two look-ups' });
  clock.advance(29_999);
  hosts.sweep();
  const late = hosts.isHost('3', 'host-3', wanted);
  clock.advance(1);
  hosts.sweep();
  expect(await Promise.all(early)).toEqual([null, null]);
  expect(await hosts.isHost('1', 'host-1', wanted)).toBeNull();
  clock.advance(14_998);
  hosts.sweep();
  const later = hosts.isHost('4', 'host-4', wanted);
  clock.advance(1);
  hosts.sweep();
  expect(await late).toBeNull();
  expect(slow.asked).toEqual(['1', '2']);
  for (let i = 1; i <= 4; i++) await slow.answer(i);
  expect(await later).toBe(true);
  expect(slow.asked).toEqual(['1', '2', '4', 'host-4']);
});

test('the addresses of a name are looked up once for all who wait, and not if all have left', async () => {
  const slow = new Slow();
  const hosts = new HostNames(new ManualClock(), slow);
  const there = { first: true };
  const both = [1, 2].map(() => hosts.isHost('1', 'host-1', wanted));
  await slow.answer(1);
  await slow.answer(2);
  expect(await Promise.all(both)).toEqual([true, true]);
  const again = hosts.isHost('1', 'host-1', wanted);
  expect(await again).toBe(true);
  const gone = hosts.isHost('2', 'host-2', () => there.first);
  await waitFor(() => slow.asked.length === 3, { what: 'its name' });
  there.first = false;
  await slow.answer(3);
  expect(await gone).toBeNull();
  expect(slow.asked).toEqual(['1', 'host-1', '2']);
});

test('whoever asks from one address after the other waits behind those who ask once', async () => {
  const slow = new Slow();
  const hosts = new HostNames(new ManualClock(), slow);
  const stranger = Array.from({ length: 2000 }, (_, i) => `2001:db8:0:1::${i.toString(16)}`);
  for (const ip of stranger) void hosts.isHost(ip, 'other', wanted);
  for (const ip of ['2001:db8:0:2::1', '10.0.0.1']) void hosts.isHost(ip, 'other', wanted);
  for (let i = 1; i <= 3; i++) await slow.answer(i);
  await waitFor(() => slow.asked.length === 5, { what: 'five look-ups' });
  expect(slow.asked).toEqual([...stranger.slice(0, 3), '2001:db8:0:2::1', '10.0.0.1']);
});

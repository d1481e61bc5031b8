import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DnsCache, lookupBy, type Resolved } from '../../src/net/dns-cache.ts';
import { ManualClock } from '../support/manual-clock.ts';

/** A cache in front of a resolver that answers when the test says so. */
class Kit {
  readonly clock = new ManualClock();
  readonly asked: { readonly name: string; readonly done: Resolved }[] = [];
  readonly lost: string[] = [];
  maxTtlMs = 15_000;
  nxdomainTtlMs = 5_000;
  readonly dns = new DnsCache({
    clock: this.clock,
    lookup: (name, done) => void this.asked.push({ name, done }),
    ttls: () => this,
    lost: (name, addresses) => void this.lost.push(`${name}: ${[...addresses].join()}`),
  });

  /** What `resolve` gives once it does: addresses, or the error's code. */
  ask(name: string): string[] {
    const heard: string[] = [];
    this.dns.resolve(name, (error, addresses) => {
      heard.push(
        error === null ? addresses.join() : ((error as NodeJS.ErrnoException).code ?? error.message),
      );
    });
    return heard;
  }

  answer(...addresses: string[]): void {
    this.asked.shift()?.done(null, addresses);
  }

  fail(code = 'EAI_AGAIN'): void {
    this.asked.shift()?.done(Object.assign(new Error(code), { code, syscall: 'getaddrinfo' }), []);
  }
}

describe('the addresses of a host', () => {
  it.each([
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '::1'],
    ['fe80::1%lo', 'fe80::1%lo'],
    ['localhost', '127.0.0.1,::1'],
    ['LocalHost', '127.0.0.1,::1'],
  ])('%s are known without a look-up, and always in the same order', (host, addresses) => {
    const kit = new Kit();
    for (let i = 0; i < 3; i++) expect(kit.ask(host)).toEqual([addresses]);
    expect([kit.asked, kit.dns.entries()]).toEqual([[], []]);
  });

  it('are looked up once, however many ask, and the next one is in front each time', () => {
    const kit = new Kit();
    const heard = [kit.ask('db'), kit.ask('db'), kit.ask('db')];
    expect([kit.asked.length, kit.dns.pending, heard]).toEqual([1, 1, [[], [], []]]);
    kit.answer('10.0.0.1', '10.0.0.2');
    expect(heard).toEqual([['10.0.0.1,10.0.0.2'], ['10.0.0.2,10.0.0.1'], ['10.0.0.1,10.0.0.2']]);
    expect(kit.ask('db')).toEqual(['10.0.0.2,10.0.0.1']);
    expect([kit.asked.length, kit.dns.pending]).toEqual([0, 0]);
  });

  it('are used for dns_max_ttl, and looked up anew when somebody asks after that', () => {
    const kit = new Kit();
    kit.ask('db');
    kit.answer('10.0.0.1');
    kit.clock.advance(14_999);
    expect(kit.dns.entries()).toEqual([{ name: 'db', ttlMs: 1, addresses: ['10.0.0.1'] }]);
    expect(kit.ask('db')).toEqual(['10.0.0.1']);
    kit.clock.advance(1);
    // Nobody asks: nothing is done.
    expect([kit.asked.length, kit.dns.entries()]).toEqual([
      0,
      [{ name: 'db', ttlMs: 0, addresses: ['10.0.0.1'] }],
    ]);
    const heard = kit.ask('db');
    expect([kit.asked.length, heard]).toEqual([1, []]);
    kit.answer('10.0.0.3');
    expect([heard, kit.lost]).toEqual([['10.0.0.3'], ['db: 10.0.0.1']]);
  });

  it('are not kept with a dns_max_ttl of 0', () => {
    const kit = new Kit();
    kit.maxTtlMs = 0;
    for (let i = 0; i < 3; i++) {
      const heard = kit.ask('db');
      kit.answer('10.0.0.1');
      expect(heard).toEqual(['10.0.0.1']);
    }
  });

  it('fail for dns_nxdomain_ttl without another look-up; what was known before is compared with the next answer', () => {
    const kit = new Kit();
    kit.ask('db');
    kit.answer('10.0.0.1', '10.0.0.2');
    kit.clock.advance(15_000);
    const heard = [kit.ask('db'), kit.ask('db')];
    kit.fail('ENOTFOUND');
    expect(heard).toEqual([['ENOTFOUND'], ['ENOTFOUND']]);
    kit.clock.advance(4_999);
    expect(kit.ask('db')).toEqual(['ENOTFOUND']);
    expect(kit.dns.entries()).toEqual([{ name: 'db', ttlMs: 1, addresses: [] }]);
    // A failure takes nobody's address away.
    expect([kit.asked.length, kit.lost]).toEqual([0, []]);
    kit.clock.advance(1);
    const after = kit.ask('db');
    kit.answer('10.0.0.2');
    expect([after, kit.lost]).toEqual([['10.0.0.2'], ['db: 10.0.0.1']]);
  });

  it('that are none count as a failed look-up', () => {
    const kit = new Kit();
    const heard = kit.ask('db');
    kit.answer();
    expect(heard).toEqual(['ENOTFOUND']);
  });

  it('take turns whatever order the resolver has them in', () => {
    const kit = new Kit();
    kit.maxTtlMs = 0;
    const firsts: string[] = [];
    for (let i = 0; i < 6; i++) {
      const heard = kit.ask('db');
      // As a name server does that rotates its answers.
      kit.answer(...(i % 2 === 0 ? ['10.0.0.1', '10.0.0.2'] : ['10.0.0.2', '10.0.0.1']));
      firsts.push(heard[0]?.split(',')[0] ?? '');
    }
    expect(firsts.filter((ip) => ip === '10.0.0.1')).toHaveLength(3);
  });

  it('of more than two names are not looked up at once: the others wait for their turn', () => {
    const kit = new Kit();
    const heard = ['a', 'b', 'c', 'd'].map((name) => kit.ask(name));
    expect([kit.asked.map(({ name }) => name), kit.dns.pending]).toEqual([['a', 'b'], 4]);
    kit.answer('1.1.1.1');
    expect(kit.asked.map(({ name }) => name)).toEqual(['b', 'c']);
    kit.fail();
    expect(kit.asked.map(({ name }) => name)).toEqual(['c', 'd']);
    kit.answer('3.3.3.3');
    kit.answer('4.4.4.4');
    expect([heard, kit.dns.pending]).toEqual([[['1.1.1.1'], ['EAI_AGAIN'], ['3.3.3.3'], ['4.4.4.4']], 0]);
  });

  it('are forgotten for names that are not in use, but not while they are looked up', () => {
    const kit = new Kit();
    kit.ask('kept');
    kit.answer('10.0.0.1');
    kit.ask('gone');
    kit.answer('10.0.0.2');
    const heard = kit.ask('asked');
    kit.dns.keepOnly(new Set(['kept']));
    expect(kit.dns.entries().map(({ name }) => name)).toEqual(['kept', 'asked']);
    kit.answer('10.0.0.3');
    expect(heard).toEqual(['10.0.0.3']);
  });

  it('in any order of events: each who asks hears once, each name is asked for once at a time, two at most', () => {
    const step = fc.record({
      kind: fc.constantFrom('ask', 'ask', 'ask', 'answer', 'fail', 'time', 'keep'),
      pick: fc.nat({ max: 5 }),
      ips: fc.subarray(['1', '2', '3', '4'], { minLength: 1 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const kit = new Kit();
        const asked: string[][] = [];
        for (const { kind, pick, ips } of steps) {
          if (kind === 'ask') asked.push(kit.ask(`name ${pick}`));
          else if (kind === 'answer') kit.answer(...ips);
          else if (kind === 'fail') kit.fail();
          else if (kind === 'time') kit.clock.advance(pick * 3000);
          else kit.dns.keepOnly(new Set(['name 0']));
          expect(kit.asked.length).toBeLessThanOrEqual(2);
          expect(new Set(kit.asked.map(({ name }) => name)).size).toBe(kit.asked.length);
          expect(asked.every((heard) => heard.length <= 1)).toBe(true);
        }
        while (kit.asked.length > 0) kit.answer('1');
        expect(asked.every((heard) => heard.length === 1)).toBe(true);
        expect(kit.dns.pending).toBe(0);
      }),
      { numRuns: 500 },
    );
  });
});

describe('the look-up that net.connect is given', () => {
  const resolve = (host: string, done: Resolved): void => {
    if (host === 'none') done(new Error('ENOTFOUND'), []);
    else done(null, ['10.0.0.1', '::2']);
  };

  function heardBy(host: string, all: boolean): unknown[] {
    const heard: unknown[] = [];
    lookupBy(resolve)(host, { all }, (...args) => void heard.push(...args));
    return heard;
  }

  it('gives all addresses with their families, or the first one, or the error', () => {
    const both = [
      { address: '10.0.0.1', family: 4 },
      { address: '::2', family: 6 },
    ];
    expect(heardBy('db', true)).toEqual([null, both]);
    expect(heardBy('db', false)).toEqual([null, '10.0.0.1', 4]);
    expect(heardBy('none', true)[0]).toEqual(new Error('ENOTFOUND'));
  });
});

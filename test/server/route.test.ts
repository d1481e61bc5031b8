import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HostList } from '../../src/server/host-list.ts';
import { ServerRoute } from '../../src/server/route.ts';
import { ManualClock } from '../support/manual-clock.ts';

const RETRY_MS = 15_000;

class Kit {
  readonly clock = new ManualClock();
  readonly list = new HostList(this.clock);
  readonly names = new Map<string, string[]>();
  mode: 'round-robin' | 'disable' = 'round-robin';
  hosts: readonly string[] = ['10.0.0.1', '10.0.0.2', '10.0.0.3'];

  route(): ServerRoute {
    return new ServerRoute(
      { hosts: this.hosts, port: 5432, loadBalanceHosts: this.mode },
      {
        list: this.list,
        retryMs: RETRY_MS,
        resolve: (host, done) => {
          const addresses = this.names.get(host);
          if (addresses === undefined) done(new Error('ENOTFOUND'), []);
          else done(null, addresses);
        },
      },
    );
  }

  /** Connects as ServerOpening does; `isUp` says who answers. Gives what was tried, and whether that was enough. */
  connect(isUp: (place: string) => boolean): string {
    const route = this.route();
    const tried: string[] = [];
    for (;;) {
      let place = route.host;
      let hasFailed = false;
      if (route.ip === null) {
        route.lookup(route.host, { all: false }, (error, ip) => {
          hasFailed = error !== null;
          place = `${ip}`;
        });
      } else place = route.ip;
      tried.push(hasFailed ? route.host : place);
      if (!hasFailed && isUp(place)) {
        route.reached();
        return tried.join(' ');
      }
      const { hasNext } = route;
      route.failed();
      if (!hasNext) return `${tried.join(' ')} in vain`;
    }
  }
}

const all = () => true;
const none = () => false;
const but =
  (...down: string[]) =>
  (place: string) =>
    !down.some((ip) => place === `10.0.0.${ip}`);

describe('a list of hosts, in turn', () => {
  it('gives each new connection the next one', () => {
    const kit = new Kit();
    const tried = Array.from({ length: 4 }, () => kit.connect(all));
    expect(tried).toEqual(['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.1']);
  });

  it('leaves one out that could not be reached, for server_login_retry, and shares its turns', () => {
    const kit = new Kit();
    const down = but('2');
    const tried = Array.from({ length: 6 }, () => kit.connect(down));
    expect(tried).toEqual(['10.0.0.1', '10.0.0.2 10.0.0.3', '10.0.0.3', '10.0.0.1', '10.0.0.3', '10.0.0.1']);
    kit.clock.advance(RETRY_MS - 1);
    expect([kit.connect(all), kit.connect(all)]).toEqual(['10.0.0.3', '10.0.0.1']);
    kit.clock.advance(1);
    expect([kit.connect(all), kit.connect(all), kit.connect(all)]).toEqual([
      '10.0.0.2',
      '10.0.0.3',
      '10.0.0.1',
    ]);
  });

  it('fails only when nobody could be reached; then all are tried again, longest failed first', () => {
    const kit = new Kit();
    expect(kit.connect(none)).toBe('10.0.0.1 10.0.0.2 10.0.0.3 in vain');
    kit.clock.advance(10);
    expect(kit.connect(but('1', '3'))).toBe('10.0.0.2');
    expect(kit.connect(but('2'))).toBe('10.0.0.2 10.0.0.3');
    expect(kit.connect(but('2'))).toBe('10.0.0.3');
  });

  it('counts a host that is listed twice twice, and tries it once', () => {
    const kit = new Kit();
    kit.hosts = ['10.0.0.1', '10.0.0.1', '10.0.0.2'];
    expect(Array.from({ length: 6 }, () => kit.connect(all))).toEqual(
      ['1', '1', '2', '1', '1', '2'].map((ip) => `10.0.0.${ip}`),
    );
    expect(kit.connect(none)).toBe('10.0.0.1 10.0.0.2 in vain');
  });

  it('knows which places are not worth waiting for', () => {
    const kit = new Kit();
    kit.connect(but('1'));
    kit.clock.advance(RETRY_MS);
    const routes = [kit.route(), kit.route(), kit.route()];
    expect(routes.map(({ host, isSuspect }) => `${host} ${isSuspect}`)).toEqual([
      '10.0.0.2 false',
      '10.0.0.3 false',
      '10.0.0.1 true',
    ]);
    // The last one left gets all the time there is.
    const [, , last] = routes;
    last?.failed();
    last?.failed();
    expect([last?.hasNext, last?.isSuspect]).toEqual([false, false]);
  });
});

describe('a list of hosts, staying with one', () => {
  it('goes to the first one until that cannot be reached, then stays with another', () => {
    const kit = new Kit();
    kit.mode = 'disable';
    expect([kit.connect(all), kit.connect(all)]).toEqual(['10.0.0.1', '10.0.0.1']);
    expect(kit.connect(but('1', '2'))).toBe('10.0.0.1 10.0.0.2 10.0.0.3');
    kit.clock.advance(10 * RETRY_MS);
    expect([kit.connect(all), kit.connect(all)]).toEqual(['10.0.0.3', '10.0.0.3']);
    expect(kit.connect(but('3'))).toBe('10.0.0.3 10.0.0.1');
    expect(kit.connect(all)).toBe('10.0.0.1');
  });

  it('goes on to the next one when a server refuses the login', () => {
    const kit = new Kit();
    kit.mode = 'disable';
    const route = kit.route();
    route.refused();
    expect(kit.connect(all)).toBe('10.0.0.2');
  });
});

describe('a name with several addresses', () => {
  it('is tried at each of them, those first that could be reached', () => {
    const kit = new Kit();
    kit.hosts = ['db'];
    kit.names.set('db', ['10.0.0.1', '10.0.0.2']);
    expect(kit.connect(but('1'))).toBe('10.0.0.1 10.0.0.2');
    expect(kit.connect(but('1'))).toBe('10.0.0.2');
    kit.clock.advance(RETRY_MS);
    expect(kit.connect(all)).toBe('10.0.0.1');
    expect(kit.connect(none)).toBe('10.0.0.1 10.0.0.2 in vain');
  });

  it('that means nothing is passed over', () => {
    const kit = new Kit();
    kit.hosts = ['nowhere', 'db'];
    kit.names.set('db', ['10.0.0.1']);
    expect(kit.connect(all)).toBe('nowhere 10.0.0.1');
    expect([kit.connect(all), kit.connect(all)]).toEqual(['10.0.0.1', '10.0.0.1']);
  });

  it('is one server when it is localhost: its other address is for when nobody is at the first', () => {
    const kit = new Kit();
    kit.hosts = ['localhost', '10.0.0.1'];
    kit.names.set('localhost', ['127.0.0.1', '::1']);
    expect(kit.connect((place) => place === '::1')).toBe('127.0.0.1 ::1');
    kit.clock.advance(RETRY_MS);
    kit.connect(all);
    const route = kit.route();
    route.lookup('localhost', { all: false }, () => {});
    expect([route.host, route.ip]).toEqual(['localhost', '127.0.0.1']);
    route.connected();
    route.failed();
    expect([route.host, route.hasNext]).toEqual(['10.0.0.1', false]);
  });

  it('a unix socket has no address', () => {
    const kit = new Kit();
    kit.hosts = ['/tmp'];
    const route = kit.route();
    expect([route.host, route.ip, route.hasNext]).toEqual(['/tmp', null, false]);
  });
});

it('whatever comes and goes: whoever answers is found in one attempt, and each who is back gets its turn', () => {
  const step = fc.record({
    toggles: fc.array(fc.nat({ max: 4 }), { maxLength: 3 }),
    waitMs: fc.constantFrom(0, 1, 5_000, RETRY_MS),
  });
  fc.assert(
    fc.property(
      fc.constantFrom('round-robin', 'disable'),
      fc.array(step, { maxLength: 40 }),
      (mode, steps) => {
        const kit = new Kit();
        kit.mode = mode;
        kit.hosts = ['10.0.0.0', 'twin', '10.0.0.3', '10.0.0.4'];
        kit.names.set('twin', ['10.0.0.1', '10.0.0.2']);
        const down = new Set<string>();
        for (const { toggles, waitMs } of steps) {
          for (const n of toggles) {
            const ip = `10.0.0.${n}`;
            if (!down.delete(ip)) down.add(ip);
          }
          kit.clock.advance(waitMs);
          const tried = kit.connect((ip) => !down.has(ip));
          expect(tried.endsWith('in vain'), tried).toBe(down.size === 5);
          const places = tried.split(' ');
          expect(new Set(places).size).toBe(places.length);
        }
        kit.clock.advance(RETRY_MS);
        const reached = new Set(Array.from({ length: 8 }, () => kit.connect(all)));
        if (mode === 'round-robin') expect(reached.size).toBeGreaterThanOrEqual(4);
        else expect(reached.size).toBe(1);
      },
    ),
    { numRuns: 500 },
  );
});

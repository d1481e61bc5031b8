import { beforeAll, expect, test } from 'vitest';
import type { Resolved } from '../../src/net/dns-cache.ts';
import { sleeps } from '../support/backends.ts';
import { cancelAt, CancellableClient } from '../support/cancellable-client.ts';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { Relay } from '../support/relay.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { connectPeer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';

const ROLE = 'dns_role';
const DATABASE = 'dns_db';

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
  await createDatabase(sharedPostgres(), DATABASE);
});

/** What names mean, as a test has it; names that are not there fail, and those of `hung` get no answer. */
class Resolver {
  readonly names = new Map<string, string[]>();
  readonly hung = new Set<string>();
  readonly asked: string[] = [];

  readonly lookup = (name: string, done: Resolved): void => {
    this.asked.push(name);
    if (this.hung.has(name)) return;
    const addresses = this.names.get(name);
    setImmediate(() => {
      if (addresses !== undefined) done(null, addresses);
      else {
        const text = `getaddrinfo ENOTFOUND ${name}`;
        done(Object.assign(new Error(text), { code: 'ENOTFOUND', syscall: 'getaddrinfo' }), []);
      }
    });
  };
}

function start(
  resolver: Resolver,
  entries: Readonly<Record<string, string>>,
  settings: Readonly<Record<string, string | number>> = {},
): Promise<LocalPooler> {
  return startPooler({
    lookup: resolver.lookup,
    settings: { pool_mode: 'transaction', default_pool_size: 10, server_login_retry: 1, ...settings },
    databases: Object.fromEntries(
      Object.entries(entries).map(([name, entry]) => [name, `dbname=${DATABASE} ${entry}`]),
    ),
    userlist: { [ROLE]: '' },
  });
}

function startRelays(...hosts: readonly string[]): Promise<Relay[]> {
  return Relay.startAll(hosts, sharedPostgres());
}

/** Ends relays, in whatever state they are. */
function disposal(relays: readonly Relay[]): AsyncDisposable {
  return {
    [Symbol.asyncDispose]: async () => {
      for (const relay of relays) await relay[Symbol.asyncDispose]();
    },
  };
}

async function connect(pooler: LocalPooler, database: string): Promise<WireClient> {
  return WireClient.connect(pooler.port, { user: ROLE, database });
}

/** Clients in a transaction each, so that each has a server connection. */
async function hold(pooler: LocalPooler, database: string, count: number): Promise<WireClient[]> {
  const clients: WireClient[] = [];
  for (let i = 0; i < count; i++) {
    const client = await connect(pooler, database);
    await client.query('BEGIN');
    clients.push(client);
  }
  return clients;
}

async function addresses(pooler: LocalPooler): Promise<string[]> {
  return (await pooler.show('SHOW SERVERS')).map(({ addr }) => String(addr)).sort();
}

test('new connections go to the addresses of a name in turn, and SHOW DNS_HOSTS has them', async () => {
  const relays = await startRelays('127.0.0.2', '127.0.0.3', '127.0.0.4');
  await using _relays = disposal(relays);
  const resolver = new Resolver();
  resolver.names.set(
    'db.test',
    relays.map(({ host }) => host),
  );
  await using pooler = await start(resolver, { db: `host=db.test port=${relays[0]?.port}` });
  expect(await pooler.show('SHOW DNS_HOSTS')).toEqual([]);
  const clients = await hold(pooler, 'db', 6);
  expect(relays.map(({ open }) => open)).toEqual([2, 2, 2]);
  expect(await addresses(pooler)).toEqual([2, 2, 3, 3, 4, 4].map((n) => `127.0.0.${n}`));
  expect(resolver.asked).toEqual(['db.test']);
  const [row] = await pooler.show('SHOW DNS_HOSTS');
  expect(row).toMatchObject({ hostname: 'db.test', addrs: '127.0.0.2:0,127.0.0.3:0,127.0.0.4:0' });
  expect(Number(row?.['ttl'])).toBeGreaterThan(5);
  expect(Number(row?.['ttl'])).toBeLessThanOrEqual(15);
  const lists = Object.fromEntries((await pooler.show('SHOW LISTS')).map(({ list, items }) => [list, items]));
  expect(lists).toMatchObject({ dns_names: 1, dns_queries: 0, dns_zones: 0 });
  expect(await pooler.show('SHOW DNS_ZONES')).toEqual([]);
  for (const client of clients) await client.end();
});

test('an address that cannot be reached costs an attempt nothing but the way to the next one', async () => {
  const relays = await startRelays('127.0.0.2', '127.0.0.3');
  await using _relays = disposal(relays);
  await relays[0]?.become('down');
  const resolver = new Resolver();
  resolver.names.set('db.test', ['127.0.0.2', '127.0.0.3']);
  await using pooler = await start(
    resolver,
    { db: `host=db.test port=${relays[1]?.port}` },
    { server_login_retry: 60 },
  );
  const clients = await hold(pooler, 'db', 4);
  expect(await addresses(pooler)).toEqual(Array(4).fill('127.0.0.3'));
  // It was tried once in that minute.
  expect(pooler.lines.filter((line) => line.includes('connect ECONNREFUSED 127.0.0.2'))).toHaveLength(1);
  expect(pooler.lines.filter((line) => line.includes('going on to the next address'))).toHaveLength(1);
  for (const client of clients) await client.end();
});

test('a cancel request goes to the address that its server connection has', async () => {
  const relays = await startRelays('127.0.0.2', '127.0.0.3');
  await using _relays = disposal(relays);
  const resolver = new Resolver();
  resolver.names.set(
    'db.test',
    relays.map(({ host }) => host),
  );
  await using pooler = await start(resolver, { db: `host=db.test port=${relays[0]?.port}` });
  const clients: CancellableClient[] = [];
  for (let i = 0; i < 2; i++) {
    const client = await CancellableClient.login(pooler.port, { user: ROLE, database: 'db' });
    await client.peer.send(frontend.query(`SELECT pg_sleep(60) /* address ${i} */`));
    clients.push(client);
    await sleeps(`address ${i}`);
  }
  expect(relays.map(({ accepted }) => accepted)).toEqual([1, 1]);
  // Not in the order in which the addresses have their turns.
  for (const [i, client] of clients.toReversed().entries()) {
    await cancelAt(pooler.port, client.key);
    expect(await client.answer()).toBe('canceling statement due to user request');
    expect(relays.map(({ accepted }) => accepted)).toEqual(i === 0 ? [1, 2] : [2, 2]);
    await client.peer.close();
  }
});

test('where a name loses an address, servers there are replaced: resting ones at once, others when they are free', async () => {
  const relays = await startRelays('127.0.0.2', '127.0.0.3');
  await using _relays = disposal(relays);
  const port = relays[0]?.port;
  const resolver = new Resolver();
  resolver.names.set('db.test', ['127.0.0.2']);
  await using pooler = await start(
    resolver,
    { db: `host=db.test port=${port}`, listed: `host=db.test,127.0.0.3 port=${port}` },
    { dns_max_ttl: 0 },
  );
  const [busy, resting] = await hold(pooler, 'db', 2);
  await resting?.query('COMMIT');
  const listed = await hold(pooler, 'listed', 1);
  expect(await addresses(pooler)).toEqual(Array(3).fill('127.0.0.2'));
  resolver.names.set('db.test', ['127.0.0.3']);
  // Nothing is looked up by itself: two need connections, and there is one at rest.
  await sweepsPass();
  expect(await addresses(pooler)).toEqual(Array(3).fill('127.0.0.2'));
  const more = await hold(pooler, 'db', 2);
  expect(pooler.lines).toContain('LOG db.test has no address 127.0.0.2 any more');
  // Of the two that have begun since, the first got the one at rest.
  const needed = async () => (await pooler.show('SHOW SERVERS')).filter((row) => row['close_needed'] === 1);
  expect((await needed()).map(({ addr, database }) => [addr, database])).toEqual(
    Array(2).fill(['127.0.0.2', 'db']),
  );
  for (const client of [busy, ...more]) await client?.query('COMMIT');
  await waitFor(async () => (await needed()).length === 0);
  expect(pooler.lines.filter((line) => line.includes('because: close_needed'))).toHaveLength(2);
  const after = await hold(pooler, 'db', 2);
  const rows = await pooler.show('SHOW SERVERS');
  expect(rows.map(({ database, addr }) => `${database} ${addr}`).sort()).toEqual([
    'db 127.0.0.3',
    'db 127.0.0.3',
    'listed 127.0.0.2',
  ]);
  for (const client of [busy, resting, ...more, ...listed, ...after]) await client?.end();
});

test('a resting server at an address that its name has lost goes with the next look-up', async () => {
  const relays = await startRelays('127.0.0.2', '127.0.0.3');
  await using _relays = disposal(relays);
  const resolver = new Resolver();
  resolver.names.set('db.test', ['127.0.0.2']);
  const host = `host=db.test port=${relays[0]?.port}`;
  await using pooler = await start(resolver, { one: host, two: host }, { dns_max_ttl: 0 });
  const [one] = await hold(pooler, 'one', 1);
  await one?.query('COMMIT');
  resolver.names.set('db.test', ['127.0.0.3']);
  const [two] = await hold(pooler, 'two', 1);
  await waitFor(async () => (await addresses(pooler)).join() === '127.0.0.3');
  expect(
    pooler.lines.filter((line) => line.includes('because: database configuration changed')),
  ).toHaveLength(1);
  // Its client has noticed nothing.
  expect(await one?.value('SELECT 1')).toBe('1');
  for (const client of [one, two]) await client?.end();
});

test('a name that means nothing fails as a look-up, is not asked for again in a hurry, and is found once it is there', async () => {
  const [relay] = await startRelays('127.0.0.2');
  await using _relay = disposal(relay === undefined ? [] : [relay]);
  const resolver = new Resolver();
  await using pooler = await start(
    resolver,
    { db: `host=db.test port=${relay?.port}` },
    { server_login_retry: 0, dns_nxdomain_ttl: 1.5 },
  );
  const client = await connectPeer(pooler.port);
  await client.send(frontend.startup({ user: ROLE, database: 'db' }));
  const closes = () => pooler.lines.filter((line) => line.includes('because: server DNS lookup failed'));
  // An attempt at each sweep.
  await waitFor(() => closes().length >= 3);
  expect(resolver.asked).toHaveLength(1);
  expect(await pooler.show('SHOW DNS_HOSTS')).toMatchObject([{ hostname: 'db.test', addrs: '' }]);
  resolver.names.set('db.test', ['127.0.0.2']);
  await client.messagesTo('Z');
  await client.close();
});

test('a resolver that does not answer holds up nobody but its own, and not beyond server_connect_timeout', async () => {
  const [relay] = await startRelays('127.0.0.2');
  await using _relay = disposal(relay === undefined ? [] : [relay]);
  const resolver = new Resolver();
  for (const name of ['hung.test', 'slow.test']) resolver.hung.add(name);
  await using pooler = await start(
    resolver,
    {
      hung: 'host=hung.test',
      slow: 'host=slow.test',
      ip: `host=127.0.0.2 port=${relay?.port}`,
      listed: `host=hung.test,127.0.0.2 port=${relay?.port}`,
    },
    { server_connect_timeout: 0.7 },
  );
  const waiting = await Promise.all(
    ['hung', 'slow', 'hung'].map(async (database) => {
      const peer = await connectPeer(pooler.port);
      await peer.send(frontend.startup({ user: ROLE, database }));
      return peer;
    }),
  );
  await waitFor(() => resolver.asked.length === 2);
  const [client] = await hold(pooler, 'ip', 1);
  // A list goes on to its next member.
  const [listed] = await hold(pooler, 'listed', 1);
  await waitFor(() => pooler.lines.filter((line) => line.includes('because: connect timeout')).length >= 2);
  // However many have asked since.
  expect(resolver.asked.toSorted()).toEqual(['hung.test', 'slow.test']);
  for (const each of [client, listed]) await each?.end();
  for (const peer of waiting) await peer.close();
});

test('localhost is no name to be looked up', async () => {
  const resolver = new Resolver();
  await using pooler = await start(resolver, { db: `host=localhost port=${sharedPostgres().port}` });
  const [client] = await hold(pooler, 'db', 1);
  expect([resolver.asked, await addresses(pooler)]).toEqual([[], ['127.0.0.1']]);
  expect(await pooler.show('SHOW DNS_HOSTS')).toEqual([]);
  await client?.end();
});

test('a peer may have a name, and names that a RELOAD takes out are forgotten', async () => {
  const resolver = new Resolver();
  resolver.names.set('peer.test', ['127.0.0.1']);
  await using other = await startPooler({
    settings: { peer_id: 2 },
    databases: { [DATABASE]: '' },
    userlist: { [ROLE]: '' },
  });
  await using pooler = await startPooler({
    lookup: resolver.lookup,
    settings: { peer_id: 1 },
    peers: { 2: `host=peer.test port=${other.port}` },
  });
  const client = await CancellableClient.login(other.port, { user: ROLE, database: DATABASE });
  await client.peer.send(frontend.query('SELECT pg_sleep(60) /* named peer */'));
  await sleeps('named peer');
  await cancelAt(pooler.port, client.key);
  expect(await client.answer()).toBe('canceling statement due to user request');
  expect((await pooler.show('SHOW DNS_HOSTS')).map(({ hostname }) => hostname)).toEqual(['peer.test']);
  await pooler.reload({ peers: {} });
  expect(await pooler.show('SHOW DNS_HOSTS')).toEqual([]);
  await client.peer.close();
});

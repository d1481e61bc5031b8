import { beforeAll, expect, test } from 'vitest';
import { backendsOf, poolRow, poolShows } from '../support/backends.ts';
import { backend, errorFields, frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { Relay } from '../support/relay.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { ScriptedServer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';

const ROLE = 'hosts_role';
const DATABASE = 'hosts_db';
const HOSTS = ['127.0.0.2', '127.0.0.3', '127.0.0.4'];

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
  await createDatabase(sharedPostgres(), DATABASE);
});

function start(
  hosts: readonly string[],
  port: number | undefined,
  options: { entry?: string; settings?: Readonly<Record<string, string | number>> } = {},
): Promise<LocalPooler> {
  return startPooler({
    settings: { pool_mode: 'transaction', default_pool_size: 10, ...options.settings },
    databases: { [DATABASE]: `host=${hosts.join()} port=${port} ${options.entry ?? ''}` },
    userlist: { [ROLE]: '' },
  });
}

function connect(pooler: LocalPooler): Promise<WireClient> {
  return WireClient.connect(pooler.port, { user: ROLE, database: DATABASE });
}

async function hold(pooler: LocalPooler, count: number): Promise<WireClient[]> {
  const clients: WireClient[] = [];
  for (let i = 0; i < count; i++) {
    const client = await connect(pooler);
    expect((await client.query('BEGIN')).errors).toEqual([]);
    clients.push(client);
  }
  return clients;
}

function disposal(relays: readonly Relay[]): AsyncDisposable {
  return {
    [Symbol.asyncDispose]: async () => {
      for (const relay of relays) await relay[Symbol.asyncDispose]();
    },
  };
}

test('SHOW has how the hosts of a list are chosen, and nothing for a single one', async () => {
  const [relay] = await Relay.startAll(['127.0.0.2'], sharedPostgres());
  await using _relay = disposal(relay === undefined ? [] : [relay]);
  for (const [hosts, entry, expected] of [
    [['127.0.0.2', '127.0.0.3'], '', 'round-robin'],
    [['127.0.0.2', '127.0.0.3'], 'load_balance_hosts=disable', 'disable'],
    [['127.0.0.2'], 'load_balance_hosts=disable', null],
  ] as const) {
    await using pooler = await start(hosts, relay?.port, { entry });
    const [client] = await hold(pooler, 1);
    const database = (await pooler.show('SHOW DATABASES')).find(({ name }) => name === DATABASE);
    expect(database).toMatchObject({ host: hosts.join(), load_balance_hosts: expected });
    expect(await poolRow(pooler, DATABASE, ROLE)).toMatchObject({ load_balance_hosts: expected });
    await client?.end();
  }
});

test('a member that is down is left out for server_login_retry, and gets its turns when it is back', async () => {
  const relays = await Relay.startAll(HOSTS, sharedPostgres());
  await using _relays = disposal(relays);
  await relays[1]?.become('down');
  await using pooler = await start(HOSTS, relays[0]?.port, { settings: { server_login_retry: 1.5 } });
  const clients = await hold(pooler, 4);
  expect(relays.map(({ open }) => open)).toEqual([2, 0, 2]);
  const refused = () => pooler.lines.filter((line) => line.includes('ECONNREFUSED'));
  expect(refused()).toHaveLength(1);
  await relays[1]?.become('up');
  const failedMs = performance.now();
  await waitFor(() => performance.now() - failedMs > 1500, { what: 'server_login_retry to pass' });
  clients.push(...(await hold(pooler, 3)));
  expect(relays.map(({ open }) => open)).toEqual([3, 1, 3]);
  for (const client of clients) await client.end();
});

test('clients hear of a failure only when no member answers, and are served as soon as one does', async () => {
  const relays = await Relay.startAll(HOSTS, sharedPostgres());
  await using _relays = disposal(relays);
  await using pooler = await start(HOSTS, relays[0]?.port, { settings: { server_login_retry: 0.3 } });
  const [first] = await hold(pooler, 1);
  await first?.query('COMMIT');
  for (const relay of relays) await relay.become('down');
  await poolShows(pooler, DATABASE, ROLE, { sv_idle: 0, sv_active: 0 });
  // Its attempt fails at all three; who comes behind it is told so.
  const waiting = first?.query('SELECT 1');
  await waitFor(() =>
    HOSTS.every((host) => pooler.lines.some((line) => line.includes(`ECONNREFUSED ${host}`))),
  );
  const second = await connect(pooler);
  await second.send(frontend.query('SELECT 2'));
  const { errors } = await second.answerTo('E');
  expect(errors).toMatchObject([
    { M: 'server login has been failing, cached error: connect failed (server_login_retry)' },
  ]);
  await relays[2]?.become('up');
  expect((await waiting)?.rows).toEqual([['1']]);
  await first?.end();
  await second[Symbol.asyncDispose]();
});

test('a member that is not up yet is gone past as one that is not there', async () => {
  await using server = await ScriptedServer.listen();
  await using up = await Relay.start('127.0.0.3', server.port, sharedPostgres());
  await using pooler = await start(['127.0.0.1', '127.0.0.3'], server.port);
  const connecting = connect(pooler);
  const starting = await server.accept();
  await starting.packet();
  await starting.send(
    backend.errorResponse({ S: 'FATAL', C: '57P03', M: 'the database system is starting up' }),
  );
  const client = await connecting;
  expect(await client.value('SELECT 1')).toBe('1');
  expect([server.accepted, up.accepted]).toEqual([1, 1]);
  expect(pooler.lines.some((line) => /starting up: going on to the next address/.test(line))).toBe(true);
  await client.end();
});

test('a login that a member refuses is not tried on the next one', async () => {
  await using server = await ScriptedServer.listen();
  await using up = await Relay.start('127.0.0.3', server.port, sharedPostgres());
  await using pooler = await start(['127.0.0.1', '127.0.0.3'], server.port);
  const connecting = connect(pooler);
  const refusing = await server.accept();
  await refusing.packet();
  await refusing.send(backend.errorResponse({ S: 'FATAL', C: '28000', M: 'not you' }));
  await expect(connecting).rejects.toThrow('not you');
  expect(up.accepted).toBe(0);
});

test.for([
  'takes no connection further',
  'hangs up',
])('a member that %s is gone past, in the time that one address has', async (how) => {
  await using server = await ScriptedServer.listen();
  await using up = await Relay.start('127.0.0.3', server.port, sharedPostgres());
  await using pooler = await start(['127.0.0.1', '127.0.0.3'], server.port, {
    settings: { server_connect_timeout: 0.7, server_login_retry: 0 },
  });
  const connecting = connect(pooler);
  const peer = await server.accept();
  if (how === 'hangs up') {
    // Once for 3.2 and once for 3.0, which a proxy may want.
    await peer.close();
    await (await server.accept()).close();
  }
  const client = await connecting;
  expect(await client.value('SELECT 1')).toBe('1');
  expect(up.accepted).toBe(1);
  const { sv_login } = (await poolRow(pooler, DATABASE, ROLE)) ?? {};
  expect(sv_login).toBe(0);
  await client.end();
});

/** Runs short transactions until it is over, coming back after each error; notes what errors there were. */
async function work(pooler: LocalPooler, random: Random, isOver: () => boolean): Promise<string[]> {
  const errors: string[] = [];
  let client: WireClient | null = null;
  while (!isOver()) {
    try {
      client ??= await connect(pooler);
      const sql = random.pick(['SELECT 1', 'SELECT 1 FROM pg_sleep(0.01)', 'BEGIN; SELECT 1; COMMIT']);
      await client.send(frontend.query(sql));
      for (;;) {
        const { type, body } = await client.peer.message();
        if (type === 'Z') break;
        // All that can come is the connection's end: told, where it can be, by a last message.
        if (type === 'E') throw new Error(errorFields(body)['M']);
      }
    } catch (error) {
      errors.push((error as Error).message);
      await client?.[Symbol.asyncDispose]();
      client = null;
    }
  }
  await client?.end();
  return errors;
}

/** The servers that are being opened now. */
async function loggingIn(pooler: LocalPooler): Promise<unknown[]> {
  const servers = await pooler.show('SHOW SERVERS');
  return servers.filter(({ state }) => state === 'new').map(({ id }) => id);
}

test.for([
  'round-robin',
  'disable',
])('with load_balance_hosts=%s and members that come and go nobody is refused while one answers', {
  timeout: 120_000,
}, async (mode) => {
  await withSeed(async (random) => {
    const relays = await Relay.startAll(HOSTS, sharedPostgres());
    await using _relays = disposal(relays);
    await using pooler = await start(HOSTS, relays[0]?.port, {
      entry: `load_balance_hosts=${mode}`,
      settings: {
        default_pool_size: 4,
        server_login_retry: 0.4,
        server_connect_timeout: 0.8,
        server_lifetime: 0.2,
      },
    });
    let isOver = false;
    const works = Array.from({ length: 8 }, () => work(pooler, random, () => isOver));
    let changes = 0;
    for (let round = 0; round < 5; round++) {
      // One stays while the others come and go; before another one takes its place, all are there and are found.
      const anchor = random.pick(relays);
      for (let i = 0; i < 7; i++) {
        const relay = random.pick(relays.filter((each) => each !== anchor));
        await relay.become(random.pick(['up', 'mute', 'down', 'down'] as const));
        changes++;
        const { accepted } = anchor;
        const until = performance.now() + random.below(300);
        await waitFor(() => performance.now() > until || anchor.accepted > accepted + 3);
        const used = await pooler.show('SHOW DATABASES');
        expect(used.find(({ name }) => name === DATABASE)?.['current_connections']).toBeLessThanOrEqual(4);
      }
      for (const relay of relays) await relay.become('up');
      // What has begun with those that were mute ends in time, whatever else begins meanwhile.
      const begun = await loggingIn(pooler);
      await waitFor(async () => (await loggingIn(pooler)).every((id) => !begun.includes(id)), {
        // As the log is by then.
        get what() {
          return `an end of the logins ${begun.join()}; log: ${pooler.lines.slice(-40).join(' | ')}`;
        },
      });
    }
    isOver = true;
    const errors = (await Promise.all(works)).flat();
    // Those whose server was cut off hear that; whoever needed one got one.
    const others = errors.filter(
      (text) => text !== 'server conn crashed?' && !text.startsWith('the peer closed'),
    );
    expect(others).toEqual([]);
    expect([changes, pooler.lines.some((line) => line.includes('going on to the next address'))]).toEqual([
      35,
      true,
    ]);
    await pooler.show('RECONNECT');
    await poolShows(pooler, DATABASE, ROLE, {
      cl_waiting: 0,
      sv_active: 0,
      sv_idle: 0,
      sv_login: 0,
      sv_being_canceled: 0,
    });
    await waitFor(async () => {
      const rows = await pooler.show('SHOW DATABASES');
      return rows.find(({ name }) => name === DATABASE)?.['current_connections'] === 0;
    });
    await waitFor(async () => (await backendsOf(pooler, ROLE)) === 0);
    expect(relays.map(({ open }) => open)).toEqual([0, 0, 0]);
  });
});

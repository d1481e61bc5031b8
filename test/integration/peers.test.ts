import { beforeAll, describe, expect, test } from 'vitest';
import { poolShows, sleeps } from '../support/backends.ts';
import { CancellableClient, cancelAt } from '../support/cancellable-client.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler, type TestPoolerOptions } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { withSeed } from '../support/random.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { connectPeer, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';

const ROLE = 'peers_role';
const CANCELED = 'canceling statement due to user request';
const SENT = 'successfully sent cancel request';

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
  await createDatabase(sharedPostgres(), 'peers_db');
});

function start(peerId: number, config: TestPoolerOptions = {}): Promise<LocalPooler> {
  return startPooler({
    databases: { peers_db: '' },
    userlist: { [ROLE]: '' },
    ...config,
    settings: { pool_mode: 'transaction', default_pool_size: 5, peer_id: peerId, ...config.settings },
  });
}

/** Makes each of the poolers, whose ids are 1, 2, …, know all others: the odd ones over TCP. */
function introduce(...poolers: readonly LocalPooler[]): void {
  const peers = Object.fromEntries(
    poolers.map(({ port, folder }, i) => [
      i + 1,
      i % 2 === 0 ? `host=127.0.0.1 port=${port}` : `host=${folder} port=${port}`,
    ]),
  );
  for (const pooler of poolers) pooler.reload({ peers });
}

function login(pooler: LocalPooler, protocol?: number): Promise<CancellableClient> {
  return CancellableClient.login(pooler.port, { user: ROLE, database: 'peers_db' }, protocol);
}

async function sleep(client: CancellableClient, tag: string): Promise<void> {
  await client.peer.send(frontend.query(`SELECT pg_sleep(60) /* ${tag} */`));
  await sleeps(tag);
}

/** Why connections that carried cancel requests were closed, in order. */
function reasons({ lines }: LocalPooler): string[] {
  return lines.flatMap((line) => /\(nodb\)\/\(nouser\)\S* closing because: (.*) \(age/.exec(line)?.[1] ?? []);
}

/** A key as peer `id` would issue it. */
function keyOf(id: number, hops: number, bytes = 8): Buffer {
  const key = Buffer.alloc(bytes, 0x54);
  key.writeUInt16LE(id, 1);
  key[7] = 0x54 | hops;
  return key;
}

describe('a cancel request that comes to another pooler than its client', () => {
  test.each([
    ['3.0', 0x30000, 8],
    ['3.2', 0x30002, 36],
  ])('reaches it, over TCP and over a unix socket, with a key of protocol %s', async (_, protocol, bytes) => {
    await using one = await start(1);
    await using two = await start(2);
    introduce(one, two);
    for (const [own, other] of [
      [one, two],
      [two, one],
    ] as const) {
      const client = await login(own, protocol);
      expect(client.key).toHaveLength(bytes);
      await sleep(client, `handed on ${bytes}`);
      expect(await cancelAt(other.port, client.key)).toHaveLength(0);
      expect(await client.answer()).toBe(CANCELED);
      expect(await client.ask('SELECT 1')).toBe('1');
      expect([reasons(own), reasons(other)]).toEqual([[SENT], [SENT]]);
      for (const { lines } of [one, two]) lines.length = 0;
      await client.peer.close();
    }
  });

  test('ends a PAUSE that its console has begun', async () => {
    await using one = await start(1);
    await using two = await start(2);
    introduce(one, two);
    const user = sharedPostgres().user;
    const admin = await CancellableClient.login(one.port, { user, database: 'pgbouncer' });
    await admin.ask('PAUSE');
    await cancelAt(two.port, admin.key);
    const states = (await one.show('SHOW STATE')).map(({ key, value }) => `${key} ${value}`);
    expect(states).toContain('paused no');
    await admin.peer.close();
  });

  test('is not handed on without peer_id, to an unknown peer, to ourselves, or without hops left', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(1);
    await pooler.reload({
      peers: { 1: `host=127.0.0.1 port=${pooler.port}`, 2: `host=127.0.0.1 port=${server.port}` },
    });
    for (const [id, hops] of [
      [0, 3],
      [3, 3],
      [1, 3],
      [2, 0],
    ] as const) {
      for (const bytes of [8, 36, 260])
        expect(await cancelAt(pooler.port, keyOf(id, hops, bytes))).toHaveLength(0);
    }
    const each = [
      'could not find peer to forward request to',
      'could not find peer to forward request to',
      'failed cancel request',
      'failed to forward cancel request because its TTL was exhausted',
    ];
    expect(reasons(pooler)).toEqual(each.flatMap((reason) => [reason, reason, reason]));
    await pooler.reload({ settings: { peer_id: 0 } });
    expect(pooler.lines).toContain('WARNING [peers] without peer_id: no cancel request is handed on');
    await cancelAt(pooler.port, keyOf(2, 3));
    expect(reasons(pooler).at(-1)).toBe('failed cancel request');
    expect(server.accepted).toBe(0);
  });

  test('carries one hop less each time, and is otherwise as it came, and nothing is answered', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await start(1, { peers: { 700: `host=127.0.0.1 port=${server.port}` } });
    for (const [i, hops] of [3, 2, 1].entries()) {
      const key = keyOf(700, hops, i === 1 ? 36 : 8);
      const cancelling = cancelAt(pooler.port, key);
      const peer = await server.accept();
      key[7] = (key[7] as number) - 1;
      expect((await peer.packet()).body.subarray(4)).toEqual(key);
      // A peer that says something all the same is not listened to.
      await peer.send(Buffer.from('E and so on'));
      await peer.close();
      expect(await cancelling).toHaveLength(0);
    }
    expect(reasons(pooler)).toEqual([SENT, SENT, SENT]);
  });

  test('goes round between peers that take each other for its owner no more than three times', async () => {
    await using one = await start(1);
    await using two = await start(2);
    // Each takes the other for peer 9.
    one.reload({ peers: { 9: `host=${two.folder} port=${two.port}` } });
    two.reload({ peers: { 9: `host=${one.folder} port=${one.port}` } });
    await cancelAt(one.port, keyOf(9, 3));
    expect([reasons(one).length, reasons(two)]).toEqual([
      2,
      ['failed to forward cancel request because its TTL was exhausted', SENT],
    ]);
  });

  test('finds its client although peer_id has been changed since it logged in', async () => {
    await using pooler = await start(1);
    const client = await login(pooler);
    await pooler.reload({ settings: { peer_id: 2 } });
    await sleep(client, 'changed id');
    await cancelAt(pooler.port, client.key);
    expect(await client.answer()).toBe(CANCELED);
    await client.peer.close();
  });
});

describe('the pool of a peer', () => {
  /** Connections of cancel requests that are under way. */
  async function send(pooler: LocalPooler, count: number, key: Buffer): Promise<ScriptedPeer[]> {
    const peers: ScriptedPeer[] = [];
    for (let i = 0; i < count; i++) {
      const peer = await connectPeer(pooler.port);
      await peer.send(frontend.cancelRequest(key.readInt32BE(0), key.subarray(4)));
      peers.push(peer);
    }
    return peers;
  }

  async function peerPools(pooler: LocalPooler): Promise<(string | number | null)[][]> {
    return (await pooler.show('SHOW PEER_POOLS')).map((row) => Object.values(row));
  }

  test('has pool_size connections, and cancel_wait_timeout ends what a stalling peer keeps', async () => {
    await using server = await ScriptedServer.listen();
    const clock = new ManualClock();
    await using pooler = await start(1, {
      clock,
      settings: { cancel_wait_timeout: 1.5 },
      peers: { 2: `host=127.0.0.1 port=${server.port} pool_size=2`, 3: 'host=/nowhere' },
    });
    expect(await peerPools(pooler)).toEqual([]);
    const requesters = await send(pooler, 5, keyOf(2, 3));
    await waitFor(async () => JSON.stringify(await peerPools(pooler)) === '[[2,2,3,2,0]]');
    expect(server.accepted).toBe(2);
    const shown = await pooler.show('SHOW PEERS');
    expect(shown).toEqual([
      { peer_id: 2, host: '127.0.0.1', port: server.port, pool_size: 2 },
      { peer_id: 3, host: '/nowhere', port: 6432, pool_size: 5 },
    ]);
    const lists = Object.fromEntries(
      (await pooler.show('SHOW LISTS')).map(({ list, items }) => [list, items]),
    );
    expect([lists['peers'], lists['peer_pools']]).toEqual([2, 1]);
    clock.advance(1600);
    for (const requester of requesters) expect(await requester.end()).toHaveLength(0);
    expect(reasons(pooler)).toEqual(Array(5).fill('cancel_wait_timeout'));
    expect(server.accepted).toBe(2);
    await waitFor(async () => JSON.stringify(await peerPools(pooler)) === '[[2,0,0,0,0]]');
    // And it is of use again.
    const again = send(pooler, 1, keyOf(2, 3));
    for (let i = 0; i < 2; i++) await server.accept();
    const peer = await server.accept();
    await peer.packet();
    await peer.close();
    for (const requester of await again) await requester.end();
    expect(reasons(pooler).at(-1)).toBe(SENT);
  });

  test('that cannot be reached is told of once, until it is back', async () => {
    await using pooler = await start(1, { peers: { 2: 'host=/nowhere/at/all' } });
    const warnings = () => pooler.lines.filter((line) => line.includes('cannot be reached'));
    for (let i = 0; i < 3; i++) await cancelAt(pooler.port, keyOf(2, 3));
    expect(reasons(pooler)).toEqual(Array(3).fill('failed to send cancel request'));
    expect(warnings()).toEqual([
      'WARNING peer-2@/nowhere/at/all:6432 cannot be reached: cancel requests of its clients are lost',
    ]);
  });

  test('is added, led elsewhere and removed by RELOAD', async () => {
    await using first = await ScriptedServer.listen();
    await using second = await ScriptedServer.listen();
    await using pooler = await start(1, { settings: { cancel_wait_timeout: 0 } });
    const end = () => reasons(pooler).at(-1);
    await cancelAt(pooler.port, keyOf(2, 3));
    expect(end()).toBe('could not find peer to forward request to');
    await pooler.reload({ peers: { 2: `host=127.0.0.1 port=${first.port} pool_size=1` } });
    const [sent, waiting] = await send(pooler, 2, keyOf(2, 3));
    const carrier = await first.accept();
    await carrier.packet();
    // What waits goes where the peer is now, with as many connections as it has now.
    await pooler.reload({ peers: { 2: `host=127.0.0.1 port=${second.port} pool_size=2` } });
    const moved = await second.accept();
    expect((await moved.packet()).body.subarray(4)).toEqual(keyOf(2, 2));
    await moved.close();
    await waiting?.end();
    expect(end()).toBe(SENT);
    // One that has been sent comes to its own end, one that waits does not.
    await pooler.reload({ peers: { 2: `host=127.0.0.1 port=${second.port} pool_size=1` } });
    const [late] = await send(pooler, 1, keyOf(2, 3));
    await waitFor(async () => JSON.stringify(await peerPools(pooler)) === '[[2,1,1,1,0]]');
    await pooler.reload({ peers: {} });
    expect(pooler.lines).toContain('WARNING dropping peer 2 as it does not exist anymore');
    await late?.end();
    expect(end()).toBe('could not find peer to forward request to');
    expect(await peerPools(pooler)).toEqual([]);
    await sweepsPass();
    expect(sent?.unread).toBe(0);
    await carrier.close();
    await sent?.end();
    expect(end()).toBe(SENT);
  });
});

test('cancel requests that come to any of three poolers strike their own clients alone', {
  timeout: 60_000,
}, async () => {
  await withSeed(async (random) => {
    await using one = await start(1, { settings: { default_pool_size: 2 } });
    await using two = await start(2, { settings: { default_pool_size: 2 } });
    await using three = await start(3, { settings: { default_pool_size: 2 } });
    const poolers = [one, two, three];
    introduce(...poolers);
    const clients: CancellableClient[] = [];
    for (let i = 0; i < 12; i++) {
      clients.push(await login(poolers[i % 3] as LocalPooler, random.pick([0x30000, 0x30002])));
    }
    const targets = clients.slice(0, 6);
    let left = 1500;
    const flood = Array.from({ length: 6 }, async () => {
      while (left-- > 0) {
        const { port } = random.pick(poolers);
        const kind = random.below(10);
        if (kind === 0) await cancelAt(port, keyOf(1 + random.below(4), random.below(4), 8));
        else if (kind === 1) {
          const key = Buffer.from(random.pick(clients.slice(6)).key);
          const at = 3 + random.below(4);
          key[at] = (key[at] as number) ^ (1 + random.below(255));
          await cancelAt(port, key);
        } else await cancelAt(port, random.pick(targets).key);
      }
    });
    const works = clients.map(async (client, i) => {
      const wrong: string[] = [];
      for (let n = 0; left > 0; n++) {
        const tag = `client ${i} ${n}`;
        const answer = await client.ask(`SELECT '${tag}' FROM pg_sleep(0.00${random.below(9)})`);
        if (answer !== tag) wrong.push(answer);
      }
      return wrong;
    });
    const results = await Promise.all(works);
    await Promise.all(flood);
    const hits = results.slice(0, 6).flat();
    expect(new Set(hits)).toEqual(new Set([CANCELED]));
    expect(hits.length).toBeGreaterThan(20);
    expect(results.slice(6).flat()).toEqual([]);
    for (const pooler of poolers) {
      await poolShows(pooler, 'peers_db', ROLE, { sv_active: 0, sv_being_canceled: 0, cl_waiting: 0 });
      for (const row of await pooler.show('SHOW PEER_POOLS')) {
        expect(row).toMatchObject({ cl_active_cancel_req: 0, cl_waiting_cancel_req: 0, sv_login: 0 });
      }
    }
    for (const client of clients) await client.peer.close();
  });
});

import { randomBytes } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { FAILURES_LOGGED } from '../../src/client/peer-lines.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { errorFields, frontend, int32 } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler, type TestPoolerOptions } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { scramSecret } from '../support/scram-secret.ts';
import { TlsFolder } from '../support/tls.ts';
import { TlsRecords } from '../support/tls-records.ts';
import { connectPeer, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';

/** What clients may do that have not logged in yet. Some come from another address of this machine than the others. */
const user = 'before_login';
const password = 'right';
const database = 'postgres';
const OTHER = '127.0.0.2';

beforeAll(() => createRole(sharedPostgres(), { name: user, auth: 'trust' }));

function start(options: TestPoolerOptions = {}): Promise<LocalPooler> {
  return startPooler({
    ...options,
    // Whoever says nothing is to be there at once.
    settings: { pool_mode: 'transaction', auth_type: 'plain', tcp_defer_accept: 0, ...options.settings },
    userlist: { [user]: password, ...options.userlist },
  });
}

const startup = frontend.startup({ user, database });

/** Begins a login and waits until it is asked for its password. */
async function halfLogin(to: number | string, from?: string): Promise<ScriptedPeer> {
  const peer = await connectPeer(to, from);
  await peer.send(startup);
  await peer.message('R');
  return peer;
}

async function finishLogin(peer: ScriptedPeer, typed = password): Promise<void> {
  await peer.send(frontend.password(typed));
  await peer.messagesTo('Z');
}

/** What one is told that is let in no further, and that it is closed then. */
async function refusal(peer: ScriptedPeer): Promise<Record<string, string>> {
  const { body } = await peer.message('E');
  await peer.end();
  await peer.close();
  return errorFields(body);
}

const noRoom = (setting: string) => ({
  S: 'FATAL',
  C: '53300',
  M: `no more connections allowed (${setting})`,
});

const placesOf = (pooler: LocalPooler, kind: 'login' | 'cancel') => pooler.pooler.count(kind);
const times = <T>(count: number, make: (i: number) => Promise<T>) =>
  Promise.all(Array.from({ length: count }, (_, i) => make(i)));

describe('connections that have not logged in', () => {
  test('are as many of one address as max_login_conn_per_address says; others are refused before they have said anything', async () => {
    await using pooler = await start({ own: { max_login_conn_per_address: 3 } });
    const silent = await times(2, () => connectPeer(pooler.port));
    const half = await halfLogin(pooler.port);
    // Two threads may come to two connections in either order.
    await waitFor(() => placesOf(pooler, 'login') === 3);
    expect(await refusal(await connectPeer(pooler.port))).toMatchObject(noRoom('max_login_conn_per_address'));
    // Another address, and unix sockets, have nothing to do with that.
    const elsewhere = await halfLogin(pooler.port, OTHER);
    const local = await times(5, () => halfLogin(pooler.socketPath));
    // Who has logged in makes room.
    await finishLogin(half);
    const next = await halfLogin(pooler.port);
    expect(await refusal(await connectPeer(pooler.port))).toMatchObject(noRoom('max_login_conn_per_address'));
    // And who has left.
    await silent[0]?.close();
    await waitFor(() => placesOf(pooler, 'login') === 3);
    await finishLogin(await halfLogin(pooler.port));
    for (const peer of [...silent, half, elsewhere, ...local, next]) await peer.close();
  });

  test('are limited by unix sockets, too, by themselves: the oldest of a system user goes when it has had its time', async () => {
    const clock = new ManualClock();
    await using pooler = await start({ own: { max_login_conn: 3 }, clock });
    const { state } = pooler.pooler;
    const byNet = await times(3, () => connectPeer(pooler.port));
    // As many as always fit into max_client_conn.
    const local = [await halfLogin(pooler.socketPath)];
    local.push(...(await times(99, () => connectPeer(pooler.socketPath))));
    await waitFor(() => state.budget.count('unix login') === 100 && placesOf(pooler, 'login') === 3);
    expect(await refusal(await connectPeer(pooler.socketPath))).toMatchObject(noRoom('max_login_conn'));
    expect(pooler.lines.filter((line) => line.includes('connection from unix'))).toEqual([
      expect.stringMatching(/^WARNING connection from unix.* refused \(max_login_conn\)$/),
    ]);
    clock.advance(2000);
    const next = await halfLogin(pooler.socketPath);
    expect(await refusal(local[0] as ScriptedPeer)).toMatchObject(noRoom('max_login_conn'));
    await finishLogin(next);
    for (const peer of [...byNet, ...local, next]) await peer.close();
  });

  test('follow RELOAD', async () => {
    await using pooler = await start({ own: { max_login_conn_per_address: 1 } });
    const peers = [await connectPeer(pooler.port)];
    await waitFor(() => placesOf(pooler, 'login') === 1);
    await refusal(await connectPeer(pooler.port));
    await pooler.reload({ own: { max_login_conn_per_address: 0 } });
    peers.push(...(await times(120, () => connectPeer(pooler.port))));
    await waitFor(() => peers.filter(({ unread }) => unread > 0).length === 21);
    expect(placesOf(pooler, 'login')).toBe(100);
    await pooler.reload({ own: { max_login_conn_per_address: 0, max_login_conn: 0 } });
    peers.push(...(await times(120, () => connectPeer(pooler.port))));
    await waitFor(() => placesOf(pooler, 'login') === 220);
    for (const peer of peers) peer.reset();
  });

  test('do not keep those of another address out: the oldest of theirs goes', async () => {
    await using pooler = await start({ own: { max_login_conn: 4 } });
    const flood = [await connectPeer(pooler.port, OTHER)];
    flood.push(...(await times(3, () => connectPeer(pooler.port, OTHER))));
    await waitFor(() => placesOf(pooler, 'login') === 4);
    const honest = await halfLogin(pooler.port);
    expect(await refusal(flood[0] as ScriptedPeer)).toMatchObject(noRoom('max_login_conn'));
    await finishLogin(honest);
    await honest.close();
    for (const peer of flood.slice(1)) await peer.close();
  });

  test('do not keep others out of max_client_conn, of which they hold places', async () => {
    await using pooler = await start({
      settings: { max_client_conn: 3 },
      oneLoop: 'who gives way is somebody of the same thread',
    });
    const flood = await times(3, () => halfLogin(pooler.port, OTHER));
    const honest = [];
    for (let i = 0; i < 2; i++) {
      const peer = await halfLogin(pooler.port);
      await finishLogin(peer);
      honest.push(peer);
    }
    const ends = await Promise.all(flood.map((peer) => (peer.unread > 0 ? refusal(peer) : null)));
    expect(ends.filter((end) => end !== null)).toMatchObject(Array(2).fill(noRoom('max_client_conn')));
    // One is left of those: it has come first. And who has logged in gives way to nobody.
    const late = await connectPeer(pooler.port);
    await late.send(startup);
    expect(await refusal(late)).toMatchObject({
      C: '08P01',
      M: 'no more connections allowed (max_client_conn)',
    });
    for (const peer of [...honest, ...flood]) await peer.close();
  });

  test('of one’s own address give their places up when they have had their time', async () => {
    const clock = new ManualClock();
    await using pooler = await start({ settings: { max_client_conn: 2 }, clock });
    const slow = [await halfLogin(pooler.port), await halfLogin(pooler.port)];
    const early = await connectPeer(pooler.port);
    await early.send(startup);
    expect(await refusal(early)).toMatchObject({ C: '08P01' });
    clock.advance(2000);
    const honest = await halfLogin(pooler.port);
    expect(await refusal(slow[0] as ScriptedPeer)).toMatchObject(noRoom('max_client_conn'));
    await finishLogin(honest);
    await finishLogin(slow[1] as ScriptedPeer);
    for (const peer of [honest, ...slow]) await peer.close();
  });
});

describe('cancel requests', () => {
  test('are counted by themselves: too many of them are dropped, and logins go on', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await startPooler({
      settings: { pool_mode: 'transaction', max_client_conn: 50, default_pool_size: 10 },
      databases: { scripted: `host=127.0.0.1 port=${server.port}` },
      userlist: { [user]: '' },
      own: { max_login_conn_per_address: 2, max_login_conn: 0 },
    });
    const connecting = WireClient.connect(pooler.port, { user, database: 'scripted' });
    const backend = await server.acceptLogin();
    await using client = await connecting;
    await client.send(frontend.query('SELECT 1'));
    await backend.message('Q');
    // PostgreSQL takes them and does not answer.
    const cancels = [client.cancel(), client.cancel()];
    const carriers = [await server.accept(), await server.accept()];
    await waitFor(() => placesOf(pooler, 'cancel') === 2);
    await client.cancel();
    const dropped = () =>
      pooler.lines.filter((line) => line.endsWith('because: too many cancel requests (age=0s)'));
    await waitFor(() => dropped().length > 0);
    expect(dropped()).toHaveLength(1);
    const others = await times(2, () => WireClient.connect(pooler.port, { user, database: 'scripted' }));
    for (const carrier of carriers) await carrier.close();
    await Promise.all(cancels);
    await waitFor(() => placesOf(pooler, 'cancel') === 0);
    for (const other of others) await other.end();
  });

  test('that nobody has the key of are logged no more often than failed logins', async () => {
    const clock = new ManualClock();
    await using pooler = await start({ clock });
    for (let i = 0; i < 2 * FAILURES_LOGGED; i++) {
      const peer = await connectPeer(pooler.port);
      await peer.send(frontend.cancelRequest(1, randomBytes(4)));
      await peer.end();
      await peer.close();
    }
    const failed = pooler.lines.filter((line) => line.includes('because: failed cancel request'));
    expect(failed).toHaveLength(FAILURES_LOGGED);
    clock.advance(60_000);
    await waitFor(() =>
      pooler.lines.includes(
        `WARNING ${FAILURES_LOGGED} more lines about failed logins from 127.0.0.1 suppressed`,
      ),
    );
  });
});

describe('a flood of failed logins', () => {
  test('writes as many lines as some failures have, and how many more there would have been', async () => {
    const clock = new ManualClock();
    await using pooler = await start({ clock });
    const fail = async (from: string): Promise<void> => {
      const peer = await halfLogin(pooler.port, from);
      await peer.send(frontend.password('wrong'));
      expect((await refusal(peer))['M']).toBe('password authentication failed');
    };
    const linesOf = (from: string) => pooler.lines.filter((line) => line.includes(`@${from}:`)).length;
    await fail(OTHER);
    const perFailure = linesOf(OTHER);
    expect(perFailure).toBeGreaterThan(1);
    for (let i = 1; i < 3 * FAILURES_LOGGED; i++) await fail(OTHER);
    expect(linesOf(OTHER)).toBeLessThanOrEqual(FAILURES_LOGGED * perFailure);
    expect(linesOf(OTHER)).toBeGreaterThanOrEqual((FAILURES_LOGGED - 1) * perFailure);
    // Another address has lines of its own, and so has who has logged in.
    await fail('127.0.0.3');
    expect(linesOf('127.0.0.3')).toBe(perFailure);
    const before = linesOf(OTHER);
    const honest = await halfLogin(pooler.port, OTHER);
    await finishLogin(honest);
    await honest.send(frontend.terminate());
    await honest.end();
    await honest.close();
    expect(linesOf(OTHER)).toBe(before + 1);
    const suppressed = 3 * FAILURES_LOGGED * perFailure - before + 1;
    clock.advance(60_000);
    await waitFor(() =>
      pooler.lines.includes(`WARNING ${suppressed} more lines about failed logins from ${OTHER} suppressed`),
    );
    await fail(OTHER);
    expect(linesOf(OTHER)).toBe(before + 1 + perFailure);
  });

  test('writes little, however long the names in its packets are', async () => {
    await using pooler = await start();
    const long = 'x'.repeat(60_000);
    for (const parameters of [{ database: long }, { [long]: '1' }, { options: `-c ${long}=1` }]) {
      const peer = await connectPeer(pooler.port);
      await peer.send(frontend.startup({ user, ...parameters }), frontend.password('wrong'));
      await peer.messagesTo('E');
      await peer.close();
    }
    await waitFor(() => pooler.lines.filter((line) => line.includes('pooler error')).length === 3);
    expect(Math.max(...pooler.lines.map(({ length }) => length))).toBeLessThan(2500);
  });

  test('of connections that are refused, too', async () => {
    await using pooler = await start({
      own: { max_login_conn_per_address: 1 },
      oneLoop: 'each thread counts the lines that it writes',
    });
    const first = await connectPeer(pooler.port);
    for (let i = 0; i < 3 * FAILURES_LOGGED; i++) await refusal(await connectPeer(pooler.port));
    const refused = pooler.lines.filter((line) => line.includes('refused (max_login_conn_per_address)'));
    expect(refused).toHaveLength(FAILURES_LOGGED);
    expect(refused[0]).toMatch(/^WARNING connection from 127\.0\.0\.1:\d+ refused/);
    await first.close();
  });

  test('any number of logins that succeed is logged in full', async () => {
    await using pooler = await start();
    for (let i = 0; i < 2 * FAILURES_LOGGED; i++) {
      const peer = await halfLogin(pooler.port);
      await finishLogin(peer);
      await peer.close();
    }
    const attempts = () => pooler.lines.filter((line) => line.includes('login attempt: ')).length;
    await waitFor(() => attempts() >= 2 * FAILURES_LOGGED);
    expect(attempts()).toBe(2 * FAILURES_LOGGED);
  });
});

describe('what comes byte by byte', () => {
  /** Sends one byte after the other, with time passing in between, until the pooler has had enough; gives how many. */
  async function drip(
    pooler: LocalPooler,
    clock: ManualClock,
    peer: ScriptedPeer,
    bytes: Buffer,
  ): Promise<number> {
    const [connection] = pooler.pooler.state.connections;
    for (const [i, byte] of bytes.entries()) {
      const before = connection?.conn.bytesRead ?? 0;
      await peer.send(Buffer.of(byte));
      await waitFor(() => connection?.conn.bytesRead === before + 1);
      clock.advance(5000);
      if (i >= 12) return i + 1;
    }
    throw new Error('nobody stops that');
  }

  test.each(['StartupMessage', 'password'])('in a %s is ended by client_login_timeout', async (what) => {
    const clock = new ManualClock();
    await using pooler = await start({ clock });
    const peer = what === 'password' ? await halfLogin(pooler.port) : await connectPeer(pooler.port);
    await waitFor(() => pooler.pooler.state.connections.size === 1);
    // 65 s by the clock, with never more than 5 s between two bytes.
    await drip(pooler, clock, peer, what === 'password' ? frontend.password('x'.repeat(40)) : startup);
    expect(await refusal(peer)).toMatchObject({ S: 'FATAL', M: 'client_login_timeout' });
  });
});

describe('before login', () => {
  test('the longest StartupMessage and the longest password are let through', async () => {
    const long = 'p'.repeat(65_000);
    await using pooler = await start({ userlist: { [user]: long } });
    const peer = await connectPeer(pooler.port);
    await peer.send(frontend.startup({ user, database, application_name: 'a'.repeat(65_000) }));
    await peer.message('R');
    await finishLogin(peer, long);
    await peer.close();
  });

  test('bytes behind a cancel request are read only so far', async () => {
    await using server = await ScriptedServer.listen();
    await using pooler = await startPooler({
      databases: { scripted: `host=127.0.0.1 port=${server.port}` },
      oneLoop: 'the key is looked up in its sessions',
      userlist: { [user]: '' },
    });
    const connecting = WireClient.connect(pooler.port, { user, database: 'scripted' });
    const backend = await server.acceptLogin();
    await using client = await connecting;
    await client.send(frontend.query('SELECT 1'));
    await backend.message('Q');
    const [key] = [...pooler.pooler.state.sessions.values()].map(({ cancelKey }) => cancelKey);
    const peer = await connectPeer(pooler.port);
    await peer.send(frontend.cancelRequest(key?.readInt32BE(0) ?? 0, key?.subarray(4) ?? int32(0)));
    await server.accept();
    peer.send(Buffer.alloc(1_000_000)).catch(() => {});
    expect((await refusal(peer))['M']).toBe('too many bytes before login');
  });
});

/** Settings by which clients have to use TLS. */
function requiredTls(files: TlsFolder): Record<string, string> {
  const { certFile, keyFile } = files.identity('server');
  return {
    client_tls_sslmode: 'require',
    client_tls_cert_file: certFile,
    client_tls_key_file: keyFile,
  };
}

test('nor in SUSPEND, for as long as that lasts', async () => {
  using files = new TlsFolder();
  await using pooler = await start({ settings: requiredTls(files) });
  const { signal } = new AbortController();
  const records = await TlsRecords.connect(pooler.port);
  await pooler.pooler.control.request({ kind: 'suspend' }, signal);
  await records.send(...Array.from({ length: 8000 }, () => records.keyUpdate()));
  expect((await refusal(records.peer))['M']).toBe('too many bytes before login');
  await pooler.pooler.control.request({ kind: 'resume', database: null }, signal);
});

test('of what TLS takes and no login sees, neither key updates nor padding come without end; after the login they may', async () => {
  using files = new TlsFolder();
  await using pooler = await start({ settings: requiredTls(files) });
  // 216 kB, with an answer to each.
  const updates = (records: TlsRecords) => Array.from({ length: 8000 }, () => records.keyUpdate());
  const updating = await TlsRecords.connect(pooler.port);
  await updating.send(...updates(updating));
  expect((await refusal(updating.peer))['M']).toBe('too many bytes before login');
  const padding = await TlsRecords.connect(pooler.port);
  await padding.send(...Array.from(startup.subarray(0, 16), (byte) => padding.data(Buffer.of(byte), 16_000)));
  expect((await refusal(padding.peer))['M']).toBe('too many bytes before login');
  const honest = await TlsRecords.connect(pooler.port);
  await honest.send(honest.data(startup), honest.keyUpdate(), honest.data(frontend.password(password)));
  await honest.peer.messagesTo('Z');
  await honest.send(...updates(honest));
  await sweepsPass();
  await honest.send(honest.data(frontend.query('SELECT 1')));
  await honest.peer.messagesTo('Z');
  await honest.peer.close();
});

test('answers to key updates do not pile up for somebody who reads nothing, behind the login', async () => {
  using files = new TlsFolder();
  await using pooler = await start({
    settings: { tcp_socket_buffer: 8192, ...requiredTls(files) },
    oneLoop: 'it looks at the client’s connection',
  });
  const lazy = await TlsRecords.connect(pooler.port);
  await lazy.send(lazy.data(startup), lazy.data(frontend.password(password)));
  await lazy.peer.messagesTo('Z');
  lazy.peer.stall();
  // With nothing to say to its owner, Node goes on to read.
  await lazy.send(lazy.data(frontend.query("SELECT repeat('x', 1000000) FROM generate_series(1, 12)")));
  const { state } = pooler.pooler;
  await waitFor(() => [...state.sessions.values()].some(({ connection }) => connection.conn.isCongested));
  // One by one: OpenSSL answers those that come together once.
  for (let sent = 0; state.budget.count('client') > 0; sent++) {
    expect(sent).toBeLessThan(20_000);
    await lazy.send(lazy.keyUpdate()).catch(() => {});
    await new Promise((resolve) => setImmediate(resolve));
  }
  lazy.peer.socket.destroy();
});

test('what begun handshakes hold is bounded, too', async () => {
  using files = new TlsFolder();
  await using pooler = await start({ settings: { max_client_conn: 1000, ...requiredTls(files) } });
  // Nearly all of a ClientHello as long as OpenSSL takes one, in records: it waits for the rest.
  const hello = Buffer.alloc(130_000);
  hello.writeUInt32BE((1 << 24) | 131_000);
  const records: Buffer[] = [];
  for (let at = 0; at < hello.length; at += 16_384) {
    const part = hello.subarray(at, at + 16_384);
    records.push(Buffer.from([0x16, 3, 1, part.length >> 8, part.length & 0xff]), part);
  }
  const COUNT = 600;
  const peers: ScriptedPeer[] = [];
  // One after the other: a backlog is shorter.
  while (peers.length < COUNT) peers.push(await connectPeer(pooler.port));
  await waitFor(() => placesOf(pooler, 'login') === COUNT);
  await Promise.all(peers.map((peer) => peer.send(...records)));
  // 64 MiB are some 516 of them.
  await waitFor(() => placesOf(pooler, 'login') < 520, { what: 'some are closed' });
  expect(placesOf(pooler, 'login')).toBeGreaterThan(400);
  await Promise.all(peers.map((peer) => peer.close()));
});

describe('a flood of logins that cost PBKDF2', () => {
  const FLOOD = 20;
  /** Takes some hundredths of a second to check. */
  const ITERATIONS = 100_000;

  test('neither stops the event loop nor keeps another such login from its turn: they are served in order', async () => {
    await using pooler = await start({
      databases: { [database]: `user=${user}` },
      userlist: { flooded: scramSecret(password, ITERATIONS), served: 'plaintext' },
    });
    const as = (name: string) => frontend.startup({ user: name, database });
    const served = await connectPeer(pooler.port);
    await served.send(as('served'), frontend.password('plaintext'));
    await served.messagesTo('Z');
    let failures = 0;
    let isOver = false;
    /** Fails, and comes again at once. */
    const attack = async (peer: ScriptedPeer): Promise<void> => {
      await peer.send(frontend.password('wrong'));
      await refusal(peer);
      failures++;
      if (isOver) return;
      const next = await connectPeer(pooler.port, OTHER);
      await next.send(as('flooded'));
      await next.message('R');
      return attack(next);
    };
    const flood = await times(FLOOD, async () => {
      const peer = await connectPeer(pooler.port, OTHER);
      await peer.send(as('flooded'));
      await peer.message('R');
      return peer;
    });
    const attacks = Promise.all(flood.map(attack));
    for (let i = 0; i < 5; i++) {
      await served.send(frontend.query('SELECT 1'));
      await served.messagesTo('Z');
    }
    // Most of the first wave has still to be derived.
    expect(failures).toBeLessThan(FLOOD);
    const honest = await connectPeer(pooler.port);
    await honest.send(as('flooded'), frontend.password(password));
    const before = failures;
    await honest.messagesTo('Z');
    // Each of them was ahead of it once, at most; as many again for what is on its way to be counted.
    expect(failures - before).toBeLessThanOrEqual(2 * FLOOD);
    isOver = true;
    await attacks;
    expect(failures).toBeGreaterThanOrEqual(FLOOD);
    for (const peer of [served, honest]) await peer.close();
  });
});

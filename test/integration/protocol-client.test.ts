import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sleeps } from '../support/backends.ts';
import { cuttings } from '../support/cut.ts';
import { errorFields, frontend, message, packet, type ReadMessage } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { connectPeer, type ScriptedPeer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';

const ROLE = 'protocol_client';
const CANCELED = 'canceling statement due to user request';
const V30 = 0x30000;
const V32 = 0x30002;

let pooler: LocalPooler;

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
  pooler = await startPooler({
    settings: {
      pool_mode: 'transaction',
      default_pool_size: 2,
      admin_users: `${ROLE}, ${sharedPostgres().user}`,
    },
    userlist: { [ROLE]: '' },
  });
});

afterAll(() => pooler[Symbol.asyncDispose]());

/** A StartupMessage with options, given as bytes of one character each, behind its parameters. */
function startup(version: number, options: readonly string[] = [], database = 'postgres'): Buffer {
  const pairs = [`user\0${ROLE}\0database\0${database}\0`, ...options.map((name) => `${name}\0v\0`)];
  return packet(version, Buffer.from(`${pairs.join('')}\0`, 'latin1'));
}

/** What a login is told: all that comes before AuthenticationOk, and the key. */
class LoggedIn {
  readonly peer: ScriptedPeer;
  readonly ahead: readonly ReadMessage[];
  readonly key: Buffer;

  private constructor(peer: ScriptedPeer, messages: readonly ReadMessage[]) {
    this.peer = peer;
    this.ahead = messages.slice(
      0,
      messages.findIndex(({ type }) => type === 'R'),
    );
    this.key = messages.find(({ type }) => type === 'K')?.body ?? Buffer.alloc(0);
  }

  static async by(port: number, ...chunks: readonly Uint8Array[]): Promise<LoggedIn> {
    const peer = await connectPeer(port);
    await peer.sendChunks(chunks);
    return new LoggedIn(peer, await peer.messagesTo('Z'));
  }

  /** The error's text, or else the tag, of the answer to come. */
  async outcome(): Promise<string> {
    const messages = await this.peer.messagesTo('Z');
    const error = messages.find(({ type }) => type === 'E');
    if (error !== undefined) return errorFields(error.body)['M'] ?? '';
    return messages.find(({ type }) => type === 'C')?.body.toString('utf8', 0, 6) ?? '';
  }
}

/** Sends a CancelRequest, cut as said; resolves when the pooler has closed that connection. */
async function cancel(key: Buffer, chunksOf = (bytes: Buffer): readonly Buffer[] => [bytes]): Promise<void> {
  const peer = await connectPeer(pooler.port);
  await peer.sendChunks(chunksOf(frontend.cancelRequest(key.readInt32BE(0), key.subarray(4))));
  expect(await peer.end()).toHaveLength(0);
  await peer.close();
}

describe('a client', () => {
  const versions = [V30, 0x30001, V32, 0x30003, 0x30000 + 9999, 0x3ffff];
  const optionLists = [
    [],
    ['_pq_.one'],
    ['_pq_.b', '_pq_.a', '_pq_.b'],
    ['_pq_.\xff\xfe', '_pq_.'],
    ['_pq_.\xc3'],
  ];

  test.each(
    versions,
  )('that asks for version %i, with or without options, is answered as by PostgreSQL 18', async (version) => {
    const { port, version: program } = sharedPostgres();
    if (!/ (1[89]|[2-9][0-9])/.test(program)) {
      console.warn(`${program} does not speak protocol 3.2: its answers are not compared`);
      return;
    }
    for (const options of optionLists) {
      const bytes = startup(version, options);
      const [ours, theirs] = [await LoggedIn.by(pooler.port, bytes), await LoggedIn.by(port, bytes)];
      expect(ours.ahead, options.join()).toEqual(theirs.ahead);
      expect(ours.key.length).toBe(theirs.key.length);
      for (const { peer } of [ours, theirs]) await peer.close();
    }
  });

  test('of a later libpq, which asks for what does not exist to see what happens, is told so', async () => {
    const { ahead, key, peer } = await LoggedIn.by(
      pooler.port,
      startup(0x30000 + 9999, ['_pq_.test_protocol_negotiation']),
    );
    expect(ahead).toEqual([
      { type: 'v', body: message('v', V32, 1, '_pq_.test_protocol_negotiation').subarray(5) },
    ]);
    expect(key).toHaveLength(36);
    await peer.close();
  });

  test.each([
    [V30, 8],
    [V32, 36],
  ])('of version %i logs in with its packet cut anywhere, and with options', async (version, keyBytes) => {
    const options = ['_pq_.x', '_pq_.\xff'];
    const expected = message('v', version, 2, Buffer.from('_pq_.x\0_pq_.\xff\0', 'latin1')).subarray(5);
    for (const { name, chunks } of cuttings(startup(version, options))) {
      const { ahead, key, peer } = await LoggedIn.by(pooler.port, ...chunks);
      expect(ahead, name).toEqual([{ type: 'v', body: expected }]);
      expect(key, name).toHaveLength(keyBytes);
      await peer.close();
    }
  });

  test('with as many options as a packet holds gets them all back, once, and is served', async () => {
    const options = Array.from({ length: 8000 }, () => '_pq_.');
    const { ahead, key, peer } = await LoggedIn.by(pooler.port, startup(V32, options));
    expect(
      ahead.map(({ type, body }) => [type, body.readInt32BE(0), body.readInt32BE(4), body.length]),
    ).toEqual([['v', V32, 8000, 8 + 8000 * 6]]);
    expect(key).toHaveLength(36);
    await peer.send(frontend.query('SELECT 1'));
    expect((await peer.messagesTo('Z')).map(({ type }) => type)).toEqual(['T', 'D', 'C', 'Z']);
    await peer.close();
  });

  test('that sends a NegotiateProtocolVersion itself is closed', async () => {
    const { peer } = await LoggedIn.by(pooler.port, startup(V32));
    await peer.send(message('v', V32, 0));
    expect(errorFields((await peer.message('E')).body)['M']).toBe('unknown pkt');
    await peer.end();
    await peer.close();
  });

  test('whose StartupMessage is broken gets an error and no version', async () => {
    const whole = startup(0x30003, ['_pq_.x']);
    const broken = Buffer.concat([whole.subarray(0, whole.length - 1), Buffer.from('x')]);
    const peer = await connectPeer(pooler.port);
    await peer.send(broken);
    expect(errorFields((await peer.message('E')).body)['M']).toMatch(/^invalid startup packet layout/);
    expect(await peer.end()).toHaveLength(0);
    await peer.close();
  });
});

describe('the key of a client of protocol 3.2', () => {
  test('is no server’s, and another for each client', async () => {
    const clients = await Promise.all(
      Array.from({ length: 20 }, () => LoggedIn.by(pooler.port, startup(V32))),
    );
    expect(new Set(clients.map(({ key }) => key.readInt32BE(0))).size).toBe(20);
    expect(new Set(clients.map(({ key }) => key.toString('hex', 4))).size).toBe(20);
    for (const { peer } of clients) await peer.close();
  });

  test('cancels its query with the request cut anywhere', async () => {
    const client = await LoggedIn.by(pooler.port, startup(V32));
    const request = frontend.cancelRequest(client.key.readInt32BE(0), client.key.subarray(4));
    for (const { name, chunks } of cuttings(request)) {
      const tag = `protocol 3.2 ${name}`;
      await client.peer.send(frontend.query(`SELECT pg_sleep(60) /* ${tag} */`));
      await sleeps(tag);
      await cancel(client.key, () => chunks);
      expect(await client.outcome(), name).toBe(CANCELED);
    }
    await client.peer.close();
  });

  test('cancels nothing with a bit changed, cut short, made longer, or in the form of 3.0', async () => {
    const client = await LoggedIn.by(pooler.port, startup(V32));
    const { key } = client;
    const withBit = (at: number): Buffer => {
      const other = Buffer.from(key);
      other[at] = (other[at] as number) ^ 1;
      return other;
    };
    await client.peer.send(frontend.query('SELECT pg_sleep(60) /* protocol 3.2 wrong keys */'));
    await sleeps('protocol 3.2 wrong keys');
    const before = pooler.lines.length;
    const wrong = [withBit(3), withBit(4), withBit(35), key.subarray(0, 8), key.subarray(0, 35)];
    wrong.push(Buffer.concat([key, Buffer.of(0)]), Buffer.concat([key, Buffer.alloc(224)]));
    for (const other of wrong) await cancel(other);
    const closed = pooler.lines
      .slice(before)
      .filter((line) => line.includes('because: failed cancel request'));
    expect(closed).toHaveLength(wrong.length);
    await cancel(key);
    expect(await client.outcome()).toBe(CANCELED);
    await client.peer.close();
  });

  test('is not in the log, nor shown by the console', async () => {
    const client = await LoggedIn.by(pooler.port, startup(V32));
    await client.peer.send(frontend.query('SELECT 1'));
    await client.peer.messagesTo('Z');
    const shown = JSON.stringify([
      await pooler.show('SHOW CLIENTS'),
      await pooler.show('SHOW SERVERS'),
      await pooler.show('SHOW FDS'),
      pooler.lines,
    ]);
    expect(shown).not.toContain(client.key.toString('hex', 4));
    await client.peer.close();
  });

  test.each([
    [V30, 8],
    [V32, 36],
  ])('on the console in version %i ends a PAUSE', async (version, keyBytes) => {
    const { state } = pooler.pooler;
    const admin = await LoggedIn.by(pooler.port, startup(version, [], 'pgbouncer'));
    expect(admin.key).toHaveLength(keyBytes);
    await admin.peer.send(frontend.query('PAUSE'));
    await admin.peer.messagesTo('Z');
    expect(state.isPaused).toBe(true);
    await cancel(admin.key);
    await waitFor(() => !state.isPaused, { what: 'the end of the PAUSE' });
    await admin.peer.send(frontend.terminate());
    await admin.peer.end();
    await waitFor(() => state.consoleClients.size === 0);
    // With its client the key is gone.
    await admin.peer.close();
    const before = pooler.lines.length;
    await cancel(admin.key);
    expect(pooler.lines.slice(before).some((line) => line.includes('because: failed cancel request'))).toBe(
      true,
    );
  });
});

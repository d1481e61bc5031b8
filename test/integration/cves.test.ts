/**
 * What has gone wrong in PgBouncer once, by CVE number. Those of TLS (CVE-2021-3935) and of auth_query (CVE-2015-6817,
 * CVE-2025-2291, CVE-2025-12819) are with their parts.
 */
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, test } from 'vitest';
import { Bystander } from '../support/bystander.ts';
import { backend, errorFields, frontend, int32, message, packet } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { connectPeer, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';

const ROLE = 'cve_app';
const PASSWORD = 'cve secret';

let pooler: LocalPooler;
let bystander: Bystander;

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
  pooler = await startPooler({
    settings: {
      auth_type: 'scram-sha-256',
      pool_mode: 'transaction',
      admin_users: 'cve_admin',
      stats_users: 'cve_stats',
    },
    databases: { postgres: '', '*': '' },
    userlist: { [ROLE]: PASSWORD, cve_admin: 'a', cve_stats: 's' },
  });
});
afterAll(() => pooler[Symbol.asyncDispose]());
beforeEach(async () => {
  bystander = await Bystander.start(pooler, { user: ROLE, password: PASSWORD });
});
afterEach(async () => {
  // Whatever was sent, others are served.
  await bystander.isServed();
  await bystander[Symbol.asyncDispose]();
  expect(pooler.lines.filter((line) => line.includes('internal error'))).toEqual([]);
});

/** A server that the test plays, a pooler in front of it, and a client that logs in. */
class Scene implements AsyncDisposable {
  readonly server: ScriptedServer;
  readonly #pooler: LocalPooler;
  readonly client: Promise<ScriptedPeer>;

  private constructor(server: ScriptedServer, own: LocalPooler) {
    this.server = server;
    this.#pooler = own;
    this.client = connectPeer(own.port).then(async (peer) => {
      await peer.send(frontend.startup({ user: ROLE, database: 'scripted' }));
      return peer;
    });
  }

  static async set(): Promise<Scene> {
    const server = await ScriptedServer.listen();
    const databases = { scripted: `host=127.0.0.1 port=${server.port} user=${ROLE} password=known` };
    return new Scene(server, await startPooler({ databases, userlist: { [ROLE]: '' } }));
  }

  get lines(): readonly string[] {
    return this.#pooler.lines;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.client).close();
    await this.#pooler[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
  }
}

async function refusalTo(peer: ScriptedPeer): Promise<Record<string, string>> {
  const error = (await peer.messagesTo('E')).at(-1);
  await peer.close();
  return errorFields(error?.body ?? Buffer.alloc(0));
}

/** What a client is told that sends these bytes. */
async function refusal(...bytes: Buffer[]): Promise<Record<string, string>> {
  const peer = await connectPeer(pooler.port);
  await peer.send(...bytes);
  return refusalTo(peer);
}

const startup = frontend.startup({ user: ROLE, database: 'postgres' });

test('CVE-2012-4575: an over-long database name is one that there is not, also with *', async () => {
  for (const length of [64, 65, 256, 60_000]) {
    const client = pooler.client({ user: ROLE, password: PASSWORD, database: 'd'.repeat(length) });
    await expect(client, `${length}`).rejects.toThrow(/^no such database: d/);
  }
});

test('CVE-2015-4054: a password ahead of the StartupMessage is refused', async () => {
  const { M } = await refusal(frontend.password(PASSWORD));
  expect(M).toBe('client password pkt before startup packet');
});

describe('CVE-2026-6664: a SASL message whose lengths are not true is refused', () => {
  const data = Buffer.from('n,,n=,r=abcdefghijkl');
  test.each([0, 1, 19, 21, 0x7fffffff, -1, -2, -(2 ** 31)])('%i in place of 20', async (length) => {
    const response = message('p', 'SCRAM-SHA-256', int32(length), data);
    const { M } = await refusal(startup, response);
    expect(M).toBe('SASL authentication failed');
  });

  test('no zero behind the mechanism, and no length', async () => {
    for (const body of [Buffer.from('SCRAM-SHA-256'), Buffer.from('SCRAM-SHA-256\0'), Buffer.alloc(0)]) {
      expect((await refusal(startup, message('p', body)))['M']).toMatch(/authentication/);
    }
  });
});

describe('CVE-2026-6665: a server’s nonce may be of any length, and one that is too long is refused', () => {
  test.each([2049, 4096, 60_000])('%i characters', async (length) => {
    await using scene = await Scene.set();
    const peer = await scene.server.accept();
    await peer.packet();
    await peer.send(message('R', 10, 'SCRAM-SHA-256', Buffer.of(0)));
    const first = await peer.message('p');
    const nonce = /r=([^,]*)$/.exec(first.body.toString('latin1'))?.[1] ?? '';
    const challenge = `r=${nonce}${'x'.repeat(length - nonce.length)},s=c2FsdHNhbHQ=,i=4096`;
    await peer.send(message('R', 11, Buffer.from(challenge)));
    expect((await peer.end()).toString('latin1')).not.toContain('c=biws');
    await waitFor(() => scene.lines.some((line) => line.includes('failed to answer authreq')));
    expect(scene.lines.filter((line) => line.includes('internal error'))).toEqual([]);
  });
});

describe('CVE-2026-6666: an ErrorResponse without SQLSTATE, or without anything,', () => {
  const NOTHING = message('E', Buffer.of(0));
  const NO_STATE = backend.errorResponse({ S: 'ERROR', M: 'no state' });

  test.each([
    ['nothing', NOTHING],
    ['no SQLSTATE', NO_STATE],
  ])('refuses a login: %s', async (_name, error) => {
    await using scene = await Scene.set();
    // Asked once for 3.2, and once for what anybody has.
    for (let attempt = 0; attempt < 2; attempt++) {
      const peer = await scene.server.accept();
      await peer.packet();
      await peer.send(error);
      await peer.end();
      await peer.close();
    }
    const [refused] = await (await scene.client).messagesTo('E');
    expect(errorFields(refused?.body as Buffer)['S']).toBe('FATAL');
    expect(scene.lines.filter((line) => line.includes('internal error'))).toEqual([]);
  });

  test('passes through as it is, and what is behind it, too', async () => {
    await using scene = await Scene.set();
    const peer = await scene.server.acceptLogin();
    const client = await scene.client;
    await client.messagesTo('Z');
    for (const error of [NOTHING, NO_STATE]) {
      await client.send(frontend.query('SELECT 1'));
      await peer.message('Q');
      await peer.send(error, backend.readyForQuery());
      const [passed] = await client.messagesTo('Z');
      expect(passed?.body).toEqual(error.subarray(5));
    }
  });
});

test('CVE-2026-6667: KILL_CLIENT is for administrators', async () => {
  const stats = await pooler.admin({ user: 'cve_stats', password: 's' });
  try {
    const { rows } = await stats.query('SHOW CLIENTS');
    const victim = rows.find(({ user }) => user === ROLE) as { id: number };
    expect(victim).toBeDefined();
    await expect(stats.query(`KILL_CLIENT ${victim.id}`)).rejects.toThrow('admin access needed');
    await bystander.isServed();
  } finally {
    await stats.end();
  }
});

test.each([
  0x80000000, 0x80000008, 0xffffffff,
])('CVE-2026-107348: a length of %i is refused before it is waited for', async (length) => {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(length);
  head.writeUInt32BE(0x30000, 4);
  expect((await refusal(head))['M']).toMatch(/^bad packet header: /);
  const inSession = Buffer.alloc(5);
  inSession.writeUInt8(0x51);
  inSession.writeUInt32BE(length, 1);
  const peer = await connectPeer(pooler.port);
  await peer.send(startup, inSession);
  expect((await refusalTo(peer))['M']).toMatch(/bad packet|authentication/);
});

test.each([
  '-c=',
  '-c =',
  '--=',
  '-c=x -c a=b',
  '-c',
])('CVE-2026-107349: options "%s" have a name without anything in it', async (options) => {
  const { M } = await refusal(frontend.startup({ user: ROLE, database: 'postgres', options }));
  expect(M).toBe(
    "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed",
  );
});

test('CVE-2026-107350: a second StartupMessage in the middle of SCRAM is refused', async () => {
  const peer = await connectPeer(pooler.port);
  await peer.send(startup);
  expect((await peer.message('R')).body.readInt32BE(0)).toBe(10);
  await peer.send(packet(0x30000, 'user', 'cve_admin', 'database', 'pgbouncer', Buffer.of(0)));
  expect((await refusalTo(peer))['M']).toBe('client re-sent startup pkt');
});

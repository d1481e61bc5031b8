import { beforeAll, describe, expect, test } from 'vitest';
import { poolShows } from '../support/backends.ts';
import { Bystander } from '../support/bystander.ts';
import {
  backend,
  errorFields,
  frontend,
  int16,
  int32,
  lyingMessage,
  message,
} from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { answerToProbe, probeOf } from '../support/probe.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { createRole } from '../support/roles.ts';
import { connectAndLogin, connectPeer, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { byEffort } from '../support/effort.ts';

const ROLE = 'bad_server';
const ANSWER = Buffer.concat([backend.commandComplete('SELECT 0'), backend.readyForQuery()]);
const scripted = { user: ROLE, database: 'scripted' };

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
});

/** A pooler in front of a server that the test plays, and of a good one whose client must notice nothing. */
class Stage implements AsyncDisposable {
  readonly server: ScriptedServer;
  readonly pooler: LocalPooler;
  readonly bystander: Bystander;

  private constructor(server: ScriptedServer, pooler: LocalPooler, bystander: Bystander) {
    this.server = server;
    this.pooler = pooler;
    this.bystander = bystander;
  }

  static async set(): Promise<Stage> {
    const server = await ScriptedServer.listen();
    const pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 1, server_login_retry: 0 },
      databases: { scripted: `host=127.0.0.1 port=${server.port}`, postgres: '' },
      own: { server_close_timeout: 0.1, server_cancel_timeout: 0.1 },
      userlist: { [ROLE]: '' },
    });
    const bystander = await Bystander.start(pooler, { user: ROLE, password: '' });
    await bystander.isServed();
    return new Stage(server, pooler, bystander);
  }

  login(): Promise<ScriptedPeer> {
    return connectAndLogin(this.pooler.port, scripted);
  }

  /** A client and the server connection that answers it; the server has read the client's query. */
  async asked(): Promise<[ScriptedPeer, ScriptedPeer]> {
    const [client, peer] = await Promise.all([this.login(), this.server.acceptLogin()]);
    await client.send(frontend.query('SELECT 1'));
    await peer.message('Q');
    return [client, peer];
  }

  /** As `asked`, and then it has answered: the server is at rest. */
  async answered(): Promise<[ScriptedPeer, ScriptedPeer]> {
    const [client, peer] = await this.asked();
    await peer.send(ANSWER);
    await client.messagesTo('Z');
    await poolShows(this.pooler, 'scripted', ROLE, { sv_active: 0, sv_idle: 1 });
    return [client, peer];
  }

  /** A client's query is answered by the next server connection: the pool's slot is there for it. */
  async recovers(): Promise<void> {
    const client = await connectPeer(this.pooler.port);
    await client.send(frontend.startup(scripted), frontend.query('SELECT 2'));
    const peer = await this.server.acceptLogin();
    expect((await peer.message('Q')).body.toString()).toBe('SELECT 2\0');
    await peer.send(ANSWER);
    await client.messagesTo('Z');
    expect((await client.messagesTo('Z')).map(({ type }) => type)).toEqual(['C', 'Z']);
    expect(client.unread).toBe(0);
    await client.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.bystander.isServed();
    await this.bystander[Symbol.asyncDispose]();
    await this.pooler[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
    expect(this.pooler.lines.filter((line) => line.includes('internal error'))).toEqual([]);
  }
}

/** Of each random client. One takes as long as the pooler waits before it tries a server again. */
const TURNS = byEffort({ wide: 6, full: 30 });

describe.concurrent('a server that breaks the protocol during its login', () => {
  const ok = backend.authenticationOk();
  const md5 = Buffer.from('salt');

  test.for([
    ['a length of 0', lyingMessage('R', 0)],
    ['a negative length', lyingMessage('R', -1)],
    ['a length of 2³¹', lyingMessage('R', -(2 ** 31))],
    ['a length of 2³¹-1', lyingMessage('R', 2 ** 31 - 1, 0)],
    ['an unknown message', message('?', 'x')],
    ['an Authentication without a code', message('R')],
    ['an MD5 request without salt', message('R', 5)],
    ['an MD5 request with too much salt', message('R', 5, md5, md5)],
    ['AuthenticationOk twice', Buffer.concat([ok, ok])],
    ['ReadyForQuery before AuthenticationOk', backend.readyForQuery()],
    ['ReadyForQuery in a transaction', Buffer.concat([ok, backend.readyForQuery('T')])],
    ['ReadyForQuery without a status', Buffer.concat([ok, message('Z')])],
    ['a ParameterStatus without value', Buffer.concat([ok, message('S', Buffer.from('name\0'))])],
    ['a ParameterStatus without zero bytes', Buffer.concat([ok, message('S', Buffer.from('name'))])],
    ['a BackendKeyData of 5 bytes', Buffer.concat([ok, message('K', Buffer.alloc(5))])],
    ['a row', Buffer.concat([ok, backend.dataRow('x')])],
    ['HTTP', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['half a message, and its end', ok.subarray(0, 6)],
    ['nothing but its end', Buffer.alloc(0)],
  ] as const)('by %s is closed, and the waiting client is served by the next one', async ([name, bytes]) => {
    await using stage = await Stage.set();
    const client = stage.login();
    const bad = await stage.server.accept();
    await bad.packet();
    await bad.send(bytes);
    if (name.endsWith('its end')) await bad.close();
    await bad.end();
    await bad.close();
    await stage.server.acceptLogin();
    await (await client).close();
  });

  test.for([
    ['an unknown way to authenticate', message('R', 9), '08P01', null],
    ['mechanisms that nobody knows', message('R', 10, 'GUESS', Buffer.of(0)), '08P01', null],
    ['a SASL exchange that nobody began', message('R', 11, Buffer.from('r=x,s=QQ==,i=4096')), '08P01', null],
    ['an error without SQLSTATE', backend.errorResponse({ S: 'FATAL', M: 'no' }), '08P01', 'no'],
    ['an error without severity', backend.errorResponse({ C: '28000', M: 'no' }), '28000', 'no'],
    ['an error without anything', message('E', Buffer.of(0)), '08P01', 'server login failed'],
    ['an empty error', message('E'), '08P01', 'server login failed'],
    ['an error whose last field has no end', message('E', 'SFATAL', Buffer.from('Mno')), '08P01', null],
    [
      'an error of unknown fields',
      backend.errorResponse({ S: 'FATAL', '!': 'x', C: '57P01', M: 'no' }),
      '57P01',
      'no',
    ],
  ] as const)('by %s: the waiting client is told', async ([name, bytes, code, text]) => {
    await using stage = await Stage.set();
    const client = await connectPeer(stage.pooler.port);
    await client.send(frontend.startup(scripted));
    let bad = await stage.server.accept();
    const asked = (await bad.packet()).body;
    expect(asked.readInt32BE(0)).toBe(0x30002);
    await bad.send(bytes);
    if (/error (without (SQLSTATE|anything)|whose)|empty error/.test(name)) {
      // Without an SQLSTATE it may have been the protocol's version: 3.0 is tried before the client is told.
      await bad.end();
      await bad.close();
      const again = await stage.server.acceptStartup();
      bad = again.peer;
      expect(again.startup.body.equals(Buffer.concat([int32(0x30000), asked.subarray(4)]))).toBe(true);
      await bad.send(bytes);
    }
    const error = errorFields((await client.messagesTo('E')).at(-1)?.body ?? Buffer.alloc(0));
    expect(error).toMatchObject({ S: 'FATAL', C: code });
    if (text !== null) expect(error['M']).toBe(text);
    await bad.end();
    await bad.close();
    await client.close();
    await stage.recovers();
  });
});

describe.concurrent('a server that breaks the protocol in an answer', () => {
  const row = Buffer.concat([backend.rowDescription('a'), backend.dataRow('1')]);

  test.for([
    ['an unknown message', message('?', 'x'), 'unknown pkt'],
    ["a client's message", frontend.query('SELECT 1'), 'unknown pkt'],
    ['an Authentication', backend.authenticationOk(), 'unknown pkt'],
    ['a BackendKeyData', backend.backendKeyData(1, Buffer.from('KEY!')), 'unknown pkt'],
    ['a NegotiateProtocolVersion', message('v', 0x30000, 0), 'unknown pkt'],
    ['a length of 0', lyingMessage('D', 0), 'bad pkt header'],
    ['a length of 3', lyingMessage('D', 3), 'bad pkt header'],
    ['a negative length', lyingMessage('D', -1), 'bad pkt header'],
    ['a length of 2³¹', lyingMessage('D', -(2 ** 31)), 'bad pkt header'],
    ['ReadyForQuery without a status', message('Z'), 'unknown pkt'],
    ['ReadyForQuery with a status of 100 bytes', message('Z', Buffer.alloc(100, 'I')), 'unknown pkt'],
    ['ReadyForQuery with an unknown status', message('Z', Buffer.from('?')), 'unknown pkt'],
    ['a broken ParameterStatus', message('S', Buffer.from('x')), 'broken ParameterStatus packet'],
    ['its end', null, 'server conn crashed?'],
  ] as const)('by %s: the client has all that came before it, then the error', async ([, bytes, text]) => {
    await using stage = await Stage.set();
    const [client, peer] = await stage.asked();
    await peer.send(row, bytes ?? Buffer.alloc(0));
    if (bytes === null) await peer.close();
    expect((await client.message('T')).body.length).toBeGreaterThan(0);
    expect((await client.message('D')).body.subarray(6).toString()).toBe('1');
    const rest = await client.messagesTo('E');
    expect(errorFields(rest.at(-1)?.body ?? Buffer.alloc(0))).toMatchObject({
      S: 'FATAL',
      C: '08P01',
      M: text,
    });
    expect(await client.end()).toHaveLength(0);
    await client.close();
    await peer.end();
    await peer.close();
    await stage.recovers();
  });

  test('by its end inside a row: the client gets no error of ours in that row', async () => {
    await using stage = await Stage.set();
    const [client, peer] = await stage.asked();
    await peer.send(lyingMessage('D', 1000, Buffer.from('half a row')));
    await client.bytes(5);
    await peer.close();
    expect((await client.end()).toString()).toBe('half a row');
    await client.close();
    await stage.recovers();
  });

  test('trap: by an ErrorResponse without SQLSTATE: the client gets it as it is, and nobody is closed', async () => {
    await using stage = await Stage.set();
    const [client, peer] = await stage.asked();
    const bare = backend.errorResponse({ M: 'bare' });
    await peer.send(bare, backend.readyForQuery());
    expect((await client.message('E')).body).toEqual(bare.subarray(5));
    await client.message('Z');
    await client.send(frontend.query('SELECT 2'));
    await peer.message('Q');
    await client.close();
  });

  test('by answers to more than was asked: they reach nobody else', async () => {
    await using stage = await Stage.set();
    const [client, peer] = await stage.asked();
    const next = await stage.login();
    await next.send(frontend.query('SELECT 2'));
    await peer.send(Buffer.concat([ANSWER, row, ANSWER]));
    await client.messagesTo('Z');
    // The server is probed before it serves anybody else: what it says before is not theirs.
    await peer.send(answerToProbe(await probeOf(peer)));
    expect((await peer.message('Q')).body.toString()).toBe('SELECT 2\0');
    await peer.send(ANSWER);
    expect((await next.messagesTo('Z')).map(({ type }) => type)).toEqual(['C', 'Z']);
    expect(next.unread).toBe(0);
    for (const each of [client, next]) await each.close();
  });
});

describe.concurrent('a server that speaks unasked', () => {
  const hostile = Buffer.concat([backend.dataRow("another's"), backend.readyForQuery()]);
  test.for([
    ['an error', backend.errorResponse({ S: 'FATAL', C: '57P01', M: 'bye' })],
    ['an error without fields', message('E', Buffer.of(0))],
    ['a notice', message('N', 'SNOTICE', 'Mhear', Buffer.of(0))],
    ['a row', hostile],
    ['an unknown message', message('?', 'x')],
    ['a negative length', lyingMessage('D', -1)],
    ['a COPY', message('G', Buffer.of(0), int16(0))],
  ] as const)('by %s is not used again', async ([, bytes]) => {
    await using stage = await Stage.set();
    const [client, peer] = await stage.answered();
    await peer.send(bytes);
    await peer.end();
    await peer.close();
    expect(client.unread).toBe(0);
    await client.send(frontend.query('SELECT 1'));
    const next = await stage.server.acceptLogin();
    await next.message('Q');
    await next.send(ANSWER);
    expect((await client.messagesTo('Z')).map(({ type }) => type)).toEqual(['C', 'Z']);
    await client.close();
  });

  test('by half a message: whoever comes next does not get its rest', async () => {
    await using stage = await Stage.set();
    const [client, peer] = await stage.answered();
    await peer.send(hostile.subarray(0, 7));
    await stage.bystander.isServed(5);
    const next = await stage.login();
    await next.send(frontend.query('SELECT 1'));
    await peer.end();
    await peer.close();
    const good = await stage.server.acceptLogin();
    await good.message('Q');
    await good.send(ANSWER);
    expect((await next.messagesTo('Z')).map(({ type }) => type)).toEqual(['C', 'Z']);
    for (const each of [client, next]) await each.close();
  });
});

describe.concurrent('a server that answers anything', () => {
  /** A login and an answer, broken at random places. */
  function hostile(random: Random): Buffer {
    const parts = [
      backend.authenticationOk(),
      backend.parameterStatus('client_encoding', 'UTF8'),
      backend.backendKeyData(1, Buffer.from('KEY!')),
      backend.readyForQuery(random.pick(['I', 'T', 'E'])),
      backend.rowDescription('a'),
      backend.dataRow('x'.repeat(random.below(50))),
      backend.commandComplete('SELECT 1'),
      backend.errorResponse({ S: 'ERROR', M: 'x' }),
      message('G', Buffer.of(0), int16(0)),
      message('s'),
      random.bytes(random.below(30)),
    ];
    const login = parts.slice(0, 4);
    const chosen = Array.from({ length: random.below(8) }, () => random.pick(parts));
    const bytes = Buffer.concat(random.below(3) > 0 ? [...login, ...chosen] : chosen);
    if (random.below(2) === 0)
      for (let i = random.below(4); i > 0 && bytes.length > 0; i--) {
        bytes[random.below(bytes.length)] = random.below(256);
      }
    return bytes.subarray(0, random.below(3) === 0 ? random.below(bytes.length + 1) : bytes.length);
  }

  test('at random costs nobody else anything, and no slot', { timeout: 180_000 }, async () => {
    await withSeed(async (random) => {
      await using stage = await Stage.set();
      const { server, pooler, bystander } = stage;
      let isOver = false;
      const servers = (async () => {
        while (!isOver) {
          const peer = await server.accept().catch(() => null);
          if (peer === null) continue;
          await peer.send(hostile(random));
          if (random.below(2) === 0) await peer.send(hostile(random));
          if (random.below(2) === 0) peer.reset();
          else await peer.close();
        }
      })();
      const clients = Array.from({ length: 4 }, async () => {
        for (let i = 0; i < TURNS; i++) {
          const peer = await connectPeer(pooler.port);
          await peer.send(frontend.startup(scripted), frontend.query('SELECT 1'), frontend.query('SELECT 2'));
          await peer.bytes(random.below(40)).catch(() => null);
          await peer.close();
        }
      });
      await Promise.all(clients);
      isOver = true;
      await bystander.isServed();
      await poolShows(pooler, 'scripted', ROLE, { cl_active: 0, cl_waiting: 0, sv_active: 0, sv_tested: 0 });
      // Ends the wait for one more connection.
      await connectPeer(server.port).then((peer) => peer.close());
      await servers;
    });
  });
});

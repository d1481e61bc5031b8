import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { poolShows } from '../support/backends.ts';
import { Bystander } from '../support/bystander.ts';
import {
  errorFields,
  frontend,
  int16,
  int32,
  lyingMessage,
  message,
  packet,
} from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { createRole } from '../support/roles.ts';
import { connectAndLogin, connectPeer, type ScriptedPeer } from '../support/scripted-peer.ts';
import { waitFor } from '../support/wait-for.ts';

const ROLE = 'bad_input';
const PASSWORD = 'bad input secret';
const startup = frontend.startup({ user: ROLE, database: 'postgres' });

let pooler: LocalPooler;
let scramPooler: LocalPooler;
let bystander: Bystander;

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: ROLE, auth: 'trust' });
  const settings = { pool_mode: 'transaction', default_pool_size: 1, max_client_conn: 2000 };
  const userlist = { [ROLE]: PASSWORD };
  pooler = await startPooler({ settings, userlist });
  scramPooler = await startPooler({ settings: { ...settings, auth_type: 'scram-sha-256' }, userlist });
});
afterAll(async () => {
  for (const each of [pooler, scramPooler]) await each[Symbol.asyncDispose]();
});

// One server connection for everybody: if its slot hangs, or others' bytes reach it, the bystander knows.
beforeEach(async () => {
  bystander = await Bystander.start(pooler, { user: ROLE, password: PASSWORD });
  await bystander.isServed();
});
afterEach(async () => {
  await bystander.isServed();
  await bystander[Symbol.asyncDispose]();
  await poolShows(pooler, 'postgres', ROLE, { cl_active: 0, cl_waiting: 0, sv_active: 0, sv_login: 0 });
  for (const each of [pooler, scramPooler]) {
    expect(each.lines.filter((line) => line.includes('internal error'))).toEqual([]);
  }
});

/** Ends as FATAL with this text, and nothing follows it. */
async function failsWith(peer: ScriptedPeer, text: string): Promise<void> {
  const error = (await peer.messagesTo('E')).at(-1);
  expect(errorFields(error?.body ?? Buffer.alloc(0))).toMatchObject({ S: 'FATAL', C: '08P01', M: text });
  expect(await peer.end()).toHaveLength(0);
  await peer.close();
}

describe('bytes in place of a startup packet', () => {
  const http = Buffer.from('GET / HTTP/1.1\r\n\r\n');
  test.for([
    ['a length of 0', int32(0), "bad packet header: '00000000'"],
    ['a length of 3', int32(3), "bad packet header: '00000003'"],
    ['a length of 7', packet(Buffer.alloc(3)), "bad packet header: '00000007000000'"],
    // What is told of it are its own bytes: behind them in memory are other clients'.
    ['a length of 4 alone', int32(4), "bad packet header: '00000004'"],
    ['a length of 5', packet(Buffer.alloc(1)), "bad packet header: '0000000500'"],
    ['a negative length alone', int32(-1), "bad packet header: 'ffffffff'"],
    [
      'a negative length',
      Buffer.concat([int32(-1), int32(0x30000)]),
      "bad packet header: 'ffffffff00030000'",
    ],
    [
      'a length of 2³¹',
      Buffer.concat([int32(-(2 ** 31)), int32(0x30000)]),
      "bad packet header: '8000000000030000'",
    ],
    [
      'a length of 2³¹-1',
      Buffer.concat([int32(2 ** 31 - 1), int32(0x30000)]),
      "bad packet header: '7fffffff00030000'",
    ],
    [
      'a length of 65536',
      Buffer.concat([int32(65536), int32(0x30000)]),
      "bad packet header: '0001000000030000'",
    ],
    ['protocol 2', packet(0x20000, Buffer.alloc(288)), 'old V2 protocol not supported'],
    ['protocol 4', packet(0x40000, 'user', ROLE, Buffer.of(0)), "bad packet header: '0000001800040000'"],
    ['HTTP', http, `bad packet header: '${http.toString('hex', 0, 8)}'`],
    ['a TLS hello', Buffer.from('16030100a5010000', 'hex'), "bad packet header: '16030100a5010000'"],
    ['no user', packet(0x30000, 'database', 'postgres', Buffer.of(0)), 'no username supplied'],
    ['no parameters', packet(0x30000, Buffer.of(0)), 'no username supplied'],
    [
      'a name without value',
      packet(0x30000, 'user', ROLE, Buffer.from('database\0')),
      'invalid startup packet layout: expected terminator as last byte',
    ],
    [
      'no terminator',
      packet(0x30000, 'user', ROLE),
      'invalid startup packet layout: expected terminator as last byte',
    ],
    [
      'bytes behind the terminator',
      packet(0x30000, 'user', ROLE, Buffer.of(0), 'more'),
      'invalid startup packet layout: expected terminator as last byte',
    ],
    ['a password', frontend.password(PASSWORD), 'client password pkt before startup packet'],
    [
      'a query',
      frontend.query('SELECT 1'),
      `bad packet header: '${frontend.query('').toString('hex', 0, 4)}0d53454c'`,
    ],
    [
      'an SSLRequest with bytes stuffed behind it',
      Buffer.concat([frontend.sslRequest(), startup]),
      'received unencrypted data after SSL request',
    ],
    [
      'a GSSENCRequest with bytes stuffed behind it',
      Buffer.concat([frontend.gssEncRequest(), startup]),
      'received unencrypted data after GSSAPI encryption request',
    ],
  ] as const)('%s', async ([, bytes, text]) => {
    const peer = await connectPeer(pooler.port);
    await peer.send(bytes);
    await failsWith(peer, text);
  });

  test('SSLRequest twice is closed, SSLRequest then GSSENCRequest is answered twice and may go on', async () => {
    const twice = await connectPeer(pooler.port);
    await twice.send(frontend.sslRequest());
    expect((await twice.bytes(1)).toString()).toBe('N');
    await twice.send(frontend.sslRequest());
    expect(await twice.end()).toHaveLength(0);
    await twice.close();
    const both = await connectPeer(pooler.port);
    for (const request of [frontend.sslRequest(), frontend.gssEncRequest()]) {
      await both.send(request);
      expect((await both.bytes(1)).toString()).toBe('N');
    }
    await both.send(startup);
    expect((await both.messagesTo('Z')).length).toBeGreaterThan(3);
    await both.close();
  });

  test('a packet cut at every byte, and the client goes', async () => {
    for (let at = 0; at < startup.length; at++) {
      const peer = await connectPeer(pooler.port);
      await peer.send(startup.subarray(0, at));
      if (at % 2 === 0) peer.reset();
      else await peer.close();
    }
    await waitFor(() => pooler.pooler.state.connections.size === 1);
  });
});

describe('a login by SCRAM', () => {
  async function begin(): Promise<ScriptedPeer> {
    const peer = await connectPeer(scramPooler.port);
    await peer.send(startup);
    expect((await peer.message('R')).body.readInt32BE(0)).toBe(10);
    return peer;
  }
  const clientFirst = Buffer.from('n,,n=,r=abcdefghijklmnopqrstuvwx');
  const initial = message('p', 'SCRAM-SHA-256', clientFirst.length, clientFirst);

  test.for([
    'at its beginning',
    'in its middle',
  ])('trap: a second StartupMessage, %s, ends it', async (where) => {
    const peer = await begin();
    if (where === 'in its middle') {
      await peer.send(initial);
      expect((await peer.message('R')).body.readInt32BE(0)).toBe(11);
    }
    await peer.send(startup);
    await failsWith(peer, 'client re-sent startup pkt');
  });

  test('trap: a second StartupMessage in the same packet as the answer ends it', async () => {
    const peer = await begin();
    await peer.send(Buffer.concat([initial, startup]));
    await failsWith(peer, 'client re-sent startup pkt');
  });

  test.for([
    ['of length 0', lyingMessage('p', 0), "bad packet header: '7000000000'"],
    ['of negative length', lyingMessage('p', -5), "bad packet header: '70fffffffb'"],
    [
      'of length 2³¹ (trap: a length of 2³¹ or more)',
      lyingMessage('p', -(2 ** 31)),
      "bad packet header: '7080000000'",
    ],
    ['of length 2³¹-1', lyingMessage('p', 2 ** 31 - 1), "bad packet header: '707fffffff'"],
    ['that is empty', message('p'), 'SASL authentication failed'],
    ['without a mechanism', message('p', ''), 'SASL authentication failed'],
    [
      'with another mechanism',
      message('p', 'SCRAM-SHA-1', clientFirst.length, clientFirst),
      'client selected an invalid SASL authentication mechanism',
    ],
    [
      'with a data length of 2³¹',
      message('p', 'SCRAM-SHA-256', -(2 ** 31), clientFirst),
      'SASL authentication failed',
    ],
    [
      'with a data length past its end',
      message('p', 'SCRAM-SHA-256', 10_000, clientFirst),
      'SASL authentication failed',
    ],
    ['with no data', message('p', 'SCRAM-SHA-256', -1), 'SASL authentication failed'],
    [
      'with zeros for data',
      message('p', 'SCRAM-SHA-256', 40, Buffer.alloc(40)),
      'SASL authentication failed',
    ],
    [
      'with a nonce of 60,000 bytes that comes back wrong',
      Buffer.concat([
        message('p', 'SCRAM-SHA-256', 60_000, Buffer.from(`n,,n=,r=${'a'.repeat(59_992)}`)),
        message('p', Buffer.from('c=biws,r=b,p=AAAA')),
      ]),
      'SASL authentication failed',
    ],
  ] as const)('with an answer %s', async ([, bytes, text]) => {
    const peer = await begin();
    await peer.send(bytes);
    await failsWith(peer, text);
  });

  test('with a query, or anything else but an answer, is closed without a word', async () => {
    for (const bytes of [frontend.query('SELECT 1'), frontend.sync(), message('d', 'x')]) {
      const peer = await begin();
      await peer.send(bytes);
      expect(await peer.end()).toHaveLength(0);
      await peer.close();
    }
  });
});

describe('messages of a logged-in client', () => {
  const login = { user: ROLE, database: 'postgres' };

  test.for([
    ['of an unknown type', message('?', 'x'), 'unknown pkt'],
    ['that is a StartupMessage', startup, 'unknown pkt'],
    ['that is a password', frontend.password('x'), 'unknown pkt'],
    ["that is a server's", message('Z', Buffer.from('I')), 'unknown pkt'],
    ['of length 0', lyingMessage('Q', 0), "bad packet header: '5100000000'"],
    ['of length 2³¹-1', lyingMessage('Q', 2 ** 31 - 1), "bad packet header: '517fffffff'"],
    ['of length 3', lyingMessage('Q', 3), "bad packet header: '5100000003'"],
    ['of negative length', lyingMessage('Q', -1), "bad packet header: '51ffffffff'"],
    ['of length 2³¹', lyingMessage('Q', -(2 ** 31)), "bad packet header: '5180000000'"],
  ] as const)('%s, idle or in a transaction', async ([, bytes, text]) => {
    const idle = await connectAndLogin(pooler.port, login);
    await idle.send(bytes);
    await failsWith(idle, text);
    const busy = await connectAndLogin(pooler.port, login);
    await busy.send(frontend.query('BEGIN'));
    await busy.messagesTo('Z');
    await busy.send(bytes);
    await failsWith(busy, text);
    const pipelined = await connectAndLogin(pooler.port, login);
    await pipelined.send(Buffer.concat([frontend.query('SELECT 1'), bytes]));
    await pipelined.messagesTo('E');
    await pipelined.close();
  });

  test.for([
    ['of no byte', 0],
    ['of one byte', 1],
  ] as const)('a Bind with a body %s hides no request from who counts the answers', async ([, bodyBytes]) => {
    // For PostgreSQL a bad Bind, data that it ignores, Sync, Query; for who looks for names behind the Bind's end a Bind, and
    // data of which all the rest is a part.
    const hidden = Buffer.concat([frontend.sync(), frontend.query("SELECT pg_sleep(0.1), 'forged'")]);
    const dataBytes = 0x00010101 - 4;
    const filler = Buffer.alloc(dataBytes - 6);
    const names = Buffer.from([0x64, 1, 1, 1, 0].slice(0, 5));
    names.writeInt32BE(dataBytes + 4, 1);
    const data = Buffer.concat([
      names,
      Buffer.of(0),
      lyingMessage('d', 4 + filler.length + hidden.length, filler),
    ]);
    const bind = message('B', Buffer.alloc(bodyBytes, 0x41));
    const peer = await connectAndLogin(pooler.port, login);
    await peer.send(Buffer.concat([bind, data, hidden]), frontend.sync());
    const types: string[] = [];
    for (let ready = 0; ready < 3; ) {
      const { type } = await peer.message();
      types.push(type);
      if (type === 'Z') ready++;
    }
    expect(types.join('')).toBe('EZTDCZZ');
    await bystander.isServed();
    await peer.close();
  });

  test.for([
    ['a Flush with a body', message('H', 'x'), 'broken Flush packet'],
    ['a CopyDone with a body', message('c', 'x'), 'broken CopyDone packet'],
    ['a CopyFail of 10 kB', frontend.copyFail('x'.repeat(10_000)), 'broken CopyFail packet'],
  ] as const)('%s, behind a request that is answered, is an error for nobody else', async ([
    ,
    bytes,
    text,
  ]) => {
    const peer = await connectAndLogin(pooler.port, login);
    await peer.send(Buffer.concat([frontend.query('SELECT 1'), message('d', Buffer.alloc(100_000)), bytes]));
    expect(errorFields((await peer.messagesTo('E')).at(-1)?.body ?? Buffer.alloc(0))).toMatchObject({
      M: text,
    });
    await peer.close();
    await bystander.isServed();
  });

  test('above max_packet_size', async () => {
    await using small = await startPooler({
      settings: { pool_mode: 'transaction', max_packet_size: 1000 },
      userlist: { [ROLE]: '' },
    });
    const peer = await connectAndLogin(small.port, login);
    await peer.send(frontend.query(`SELECT '${'x'.repeat(900)}'`));
    expect((await peer.messagesTo('Z')).map(({ type }) => type)).toEqual(['T', 'D', 'C', 'Z']);
    await peer.send(lyingMessage('Q', 1001));
    await failsWith(peer, "bad packet header: '51000003e9'");
  });

  test('that announce 2³¹-2 bytes cost neither memory nor, once the client has gone, the slot', async () => {
    const memory = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 3; i++) {
      const peer = await connectAndLogin(pooler.port, login);
      await peer.send(lyingMessage('Q', 2 ** 31 - 2, 'SELECT '));
      await peer.send(Buffer.alloc(100_000, 'x'));
      expect(process.memoryUsage().arrayBuffers - memory).toBeLessThan(50_000_000);
      // PostgreSQL refuses it, or waits for the rest: either way the client's end frees the server.
      await peer.close();
      await bystander.isServed(1);
    }
  });

  test('in the wrong state are PostgreSQL’s to refuse, and leave the server usable', async () => {
    const cases = [
      message('d', 'copy data without a COPY'),
      message('c'),
      message('f', 'no'),
      message('B', '', 'no such statement', int16(0), int16(0), int16(0)),
      frontend.execute('no such portal'),
      message('D', Buffer.from('Sno such statement\0')),
      message('P', Buffer.from('no zero byte')),
      message('B'),
      message('E', Buffer.alloc(1)),
      message('C', Buffer.from('?x\0')),
      message('F', int32(0)),
    ];
    for (const bytes of cases) {
      const peer = await connectAndLogin(pooler.port, login);
      await peer.send(bytes, frontend.sync());
      await peer.messagesTo('Z').catch(() => null);
      await peer.close();
      await bystander.isServed(1);
    }
  });

  test('cut at every byte, and the client goes', async () => {
    const bytes = Buffer.concat([
      frontend.query('BEGIN'),
      frontend.parse('', 'SELECT 1'),
      frontend.bind('', ''),
      frontend.execute(''),
      frontend.sync(),
    ]);
    for (let at = 1; at < bytes.length; at++) {
      const peer = await connectAndLogin(pooler.port, login);
      await peer.send(bytes.subarray(0, at));
      if (at % 2 === 0) peer.reset();
      else await peer.close();
    }
    await bystander.isServed(1);
  });
});

describe('many at once', () => {
  test('a flood of half-open logins keeps nobody out, and ends with client_login_timeout', async () => {
    const parts = [Buffer.alloc(0), startup.subarray(0, 3), startup.subarray(0, 20)];
    const peers: ScriptedPeer[] = [];
    // In batches that fit into listen_backlog: the kernel forgets silent connections beyond it.
    for (let batch = 0; batch < 10; batch++) {
      const connecting = Array.from({ length: 60 }, async (_, i) => {
        const peer = await connectPeer(i % 2 === 0 ? pooler.port : scramPooler.port);
        await peer.send(i % 4 === 3 ? startup : (parts[i % 3] as Buffer));
        return peer;
      });
      peers.push(...(await Promise.all(connecting)));
    }
    await bystander.isServed();
    const late = await pooler.client({ user: ROLE, password: PASSWORD });
    expect((await late.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await late.end();
    for (const each of [pooler, scramPooler]) await each.show('SET client_login_timeout = 1');
    await Promise.all(peers.map((peer) => peer.end().then(() => peer.close())));
    for (const each of [pooler, scramPooler]) await each.show('SET client_login_timeout = 60');
    expect(scramPooler.lines.filter((line) => line.includes('because: client_login_timeout'))).not.toEqual(
      [],
    );
  });

  /** Something that begins well and goes wrong at a random place. */
  function hostile(random: Random): Buffer {
    const parts = [
      startup,
      frontend.sslRequest(),
      frontend.password(PASSWORD),
      frontend.query('SELECT 1'),
      frontend.query('BEGIN'),
      frontend.parse('s', 'SELECT 2'),
      frontend.bind('', 's'),
      frontend.execute(''),
      frontend.sync(),
      frontend.query('COPY (SELECT 1) TO STDOUT'),
      frontend.cancelRequest(random.below(2 ** 31), random.bytes(4)),
      random.bytes(random.below(60)),
    ];
    const chosen = Array.from({ length: random.below(6) }, () => random.pick(parts));
    const bytes = Buffer.concat(random.below(4) > 0 ? [startup, ...chosen] : chosen);
    for (let i = random.below(4); i > 0 && bytes.length > 0; i--) {
      bytes[random.below(bytes.length)] = random.below(256);
    }
    return bytes.subarray(0, random.below(3) === 0 ? random.below(bytes.length + 1) : bytes.length);
  }

  test('random, broken and cut conversations disturb nobody', { timeout: 60_000 }, async () => {
    await withSeed(async (random) => {
      const strangers = Array.from({ length: 6 }, async () => {
        for (let i = 0; i < 100; i++) {
          const peer = await connectPeer(random.pick([pooler, scramPooler]).port);
          await peer.send(hostile(random));
          if (random.below(2) === 0) await peer.send(hostile(random));
          if (random.below(3) === 0) peer.reset();
          else await peer.close();
        }
      });
      await Promise.all(strangers);
      await bystander.isServed();
      await waitFor(() => pooler.pooler.state.connections.size === 1);
      await waitFor(() => scramPooler.pooler.state.connections.size === 0);
    });
  });
});

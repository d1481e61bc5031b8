import { pbkdf2Sync, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createClientAuth } from '../../src/auth/client-auth.ts';
import { SaltedPasswordCache } from '../../src/auth/derived-keys.ts';
import { Pbkdf2Queue } from '../../src/auth/pbkdf2-queue.ts';
import { authMessageOf, scramKeysOf, serverSignature } from '../../src/auth/scram.ts';
import {
  ServerLogin,
  type ServerLoginFailure,
  type ServerLoginHost,
  type ServerLoginResult,
} from '../../src/server/login.ts';
import { ProtocolViolation } from '../../src/wire/pg-error.ts';
import { bodyOf, clientArgs, PENCIL_MD5, PENCIL_SCRAM, typed } from '../auth/peers.ts';
import { bytewise, cuttings, feedBorrowed } from '../support/cut.ts';
import { backend as b, lyingMessage, message } from '../support/peer-messages.ts';
import { waitFor } from '../support/wait-for.ts';

const KEY = Buffer.from('SECR');
const welcome = [
  b.parameterStatus('server_version', '18.0'),
  b.parameterStatus('TimeZone', 'UTC'),
  b.backendKeyData(4242, KEY),
  b.readyForQuery(),
];
const accepted: ServerLoginResult = {
  backendKey: Buffer.concat([Buffer.of(0, 0, 0x10, 0x92), KEY]),
  welcome: [
    ['server_version', '18.0'],
    ['TimeZone', 'UTC'],
  ],
};
const sasl = message('R', 10, 'SCRAM-SHA-256', Buffer.of(0));
const md5Request = message('R', 5, Buffer.of(1, 2, 3, 4));
const refusal = b.errorResponse({ S: 'FATAL', C: '28P01', M: 'password authentication failed', H: 'try' });

/** The connection that logs in: notes what it is told, in order. */
class Login implements ServerLoginHost {
  readonly login: ServerLogin;
  /** One job at a time, in order. */
  readonly pbkdf2 = new Pbkdf2Queue(1);
  readonly sent: Buffer[] = [];
  readonly events: string[] = [];
  result: ServerLoginResult | null = null;
  failure: ServerLoginFailure | null = null;

  constructor(secret: string | null = 'pencil', askedMinor = 2) {
    const saltedPasswords = new SaltedPasswordCache(this.pbkdf2);
    const auth = { channel: () => null, user: 't', credentials: typed(secret), randomBytes, saltedPasswords };
    this.login = new ServerLogin(this, auth, askedMinor);
  }

  send(bytes: Buffer): void {
    this.sent.push(bytes);
  }

  pause(): void {
    this.events.push('pause');
  }

  resume(): void {
    this.events.push('resume');
  }

  loggedIn(result: ServerLoginResult): void {
    this.events.push('ok');
    this.result = result;
  }

  failed(failure: ServerLoginFailure): void {
    this.events.push('failed');
    this.failure = failure;
  }

  note(text: string): void {
    this.events.push(`note ${text}`);
  }

  get isOver(): boolean {
    return this.result !== null || this.failure !== null;
  }

  /** Feeds chunks until the login is over; gives how many bytes were left over for the next reader. */
  feed(chunks: readonly Buffer[]): number {
    let rest = 0;
    feedBorrowed(chunks, (chunk) => {
      const pos = this.isOver ? 0 : this.login.feed(chunk, 0, chunk.length);
      rest += chunk.length - pos;
    });
    return rest;
  }
}

/** An honest server that knows `secret`: everything that it sends up to its verdict, one flight at a time. */
class ScramServer {
  readonly #half;

  constructor(secretText: string) {
    this.#half = createClientAuth(clientArgs({ secretText }));
  }

  async start(): Promise<Buffer> {
    const step = await this.#half.start();
    if (step.kind !== 'send') throw new Error('no SASL request');
    return step.bytes;
  }

  /** What comes after the client's message: the challenge, or the proof of the server with all that follows. */
  async answer(sent: Buffer | undefined): Promise<Buffer> {
    if (sent === undefined) throw new Error('the client has sent nothing');
    const step = await this.#half.password(bodyOf(sent));
    if (step.kind === 'send') return step.bytes;
    if (step.kind === 'fail') return refusal;
    return Buffer.concat([step.bytes ?? Buffer.alloc(0), b.authenticationOk(), ...welcome]);
  }
}

describe('a login', () => {
  it('on trust is over with ReadyForQuery, however the bytes are cut, and leaves alone what is behind', () => {
    const input = Buffer.concat([b.authenticationOk(), ...welcome, Buffer.from('rest')]);
    for (const { name, chunks } of cuttings(input)) {
      const login = new Login();
      expect(login.feed(chunks), name).toBe(4);
      expect(login.result, name).toEqual(accepted);
      expect(login.sent, name).toEqual([]);
    }
  });

  it.each<readonly [string, Buffer, string, RegExp]>([
    ['a cleartext password', b.authenticationCleartext(), 'pencil', /^pencil\0$/],
    ['an MD5 password', md5Request, 'pencil', /^md5[0-9a-f]{32}\0$/],
    ['an MD5 password by its stored hash', md5Request, PENCIL_MD5, /^md5[0-9a-f]{32}\0$/],
  ])('with %s answers once, however the bytes are cut', (_what, request, secret, pattern) => {
    for (const { name, chunks } of cuttings(Buffer.concat([request, b.authenticationOk(), ...welcome]))) {
      const login = new Login(secret);
      login.feed(chunks);
      expect(
        login.sent.map((bytes) => bodyOf(bytes).toString()),
        name,
      ).toEqual([expect.stringMatching(pattern)]);
      expect(login.result, name).toEqual(accepted);
    }
  });

  it.each([false, true])('with SCRAM proves both sides, with the bytes single: %s', async (isBytewise) => {
    const login = new Login();
    const server = new ScramServer(PENCIL_SCRAM);
    const flight = (bytes: Buffer) => login.feed(isBytewise ? bytewise(bytes) : [bytes]);
    flight(await server.start());
    flight(await server.answer(login.sent[0]));
    await waitFor(() => login.sent.length === 2);
    flight(await server.answer(login.sent[1]));
    expect(login.result).toEqual(accepted);
    expect(login.events).toEqual(['pause', 'resume', 'ok']);
  });

  it('with a wrong password ends with the server’s own words', async () => {
    const login = new Login('pencil2');
    const server = new ScramServer(PENCIL_SCRAM);
    login.feed([await server.start()]);
    login.feed([await server.answer(login.sent[0])]);
    await waitFor(() => login.sent.length === 2);
    login.feed([await server.answer(login.sent[1])]);
    expect(login.failure).toMatchObject({
      message: 'password authentication failed',
      fields: { sqlstate: '28P01', hint: 'try' },
    });
  });

  it('goes without BackendKeyData', () => {
    const login = new Login();
    login.feed([Buffer.concat([b.authenticationOk(), welcome[0] as Buffer, b.readyForQuery()])]);
    expect(login.result).toEqual({ backendKey: null, welcome: [['server_version', '18.0']] });
  });

  it.each([4, 5, 32, 255, 256])('keeps a secret of %i bytes whole, however it is cut', (bytes) => {
    const secret = Buffer.from(Array.from({ length: bytes }, (_, i) => i));
    const input = Buffer.concat([b.authenticationOk(), b.backendKeyData(1, secret), b.readyForQuery()]);
    for (const { name, chunks } of cuttings(input)) {
      const login = new Login();
      login.feed(chunks);
      expect(login.result?.backendKey?.subarray(4).equals(secret), name).toBe(true);
    }
  });

  it('passes over notices', () => {
    const login = new Login();
    const notice = message('N', Buffer.from('SNOTICE\0Mhm\0\0'));
    login.feed([Buffer.concat([notice, b.authenticationOk(), notice, ...welcome])]);
    expect(login.result).toEqual(accepted);
  });

  it.each([
    ['3.2 was asked for and the server speaks 3.0', 2, 0x30000],
    ['3.2 was asked for and the server confirms it', 2, 0x30002],
    ['3.0 was asked for and the server confirms it', 0, 0x30000],
  ])('goes on behind NegotiateProtocolVersion, however it is cut, where %s', (_what, asked, version) => {
    const input = Buffer.concat([message('v', version, 0), b.authenticationOk(), ...welcome]);
    for (const { name, chunks } of cuttings(input)) {
      const login = new Login('pencil', asked);
      login.feed(chunks);
      expect(login.result, name).toEqual(accepted);
    }
  });

  it('says that the version is taken from the first request for authentication on, not before', () => {
    for (const first of [b.authenticationOk(), b.authenticationCleartext(), sasl]) {
      const login = new Login();
      login.feed([message('N', Buffer.of(0)), message('v', 0x30000, 0)]);
      expect(login.login.isVersionTaken).toBe(false);
      login.feed([first]);
      expect(login.login.isVersionTaken).toBe(true);
    }
    const refused = new Login();
    refused.feed([refusal]);
    expect(refused.login.isVersionTaken).toBe(false);
  });
});

it('a login that was given up reads on and says nothing', () => {
  const login = new Login();
  login.login.abandon();
  const bytes = Buffer.concat([refusal, lyingMessage('?', -1)]);
  expect(login.feed([bytes])).toBe(0);
  expect(login.events).toEqual([]);
});

describe('a refusal', () => {
  it.each<readonly [string, Buffer, object]>([
    [
      'with all its fields',
      refusal,
      { message: 'password authentication failed', fields: { sqlstate: '28P01' } },
    ],
    [
      'without SQLSTATE',
      b.errorResponse({ S: 'FATAL', M: 'no' }),
      { message: 'no', fields: { severity: 'FATAL' } },
    ],
    ['without a message', b.errorResponse({ C: '53300' }), { message: 'server login failed' }],
    ['without anything', message('E'), { message: 'server login failed', fields: {} }],
    ['cut in its last field', message('E', Buffer.from('SFATAL\0Mno')), { message: 'no' }],
  ])('%s is the end at any stage', (_what, bytes, failure) => {
    for (const stage of [[], [b.authenticationOk()], [b.authenticationOk(), ...welcome.slice(0, 3)]]) {
      const login = new Login();
      const before = stage.length > 0 ? [Buffer.concat(stage)] : [];
      login.feed([...before, bytes, Buffer.from('behind')]);
      expect(login.failure).toMatchObject(failure);
      expect(login.events).toEqual(['failed']);
    }
  });

  it('of ours is named: no password for SCRAM, a method that we do not have', () => {
    const unable = new Login(PENCIL_MD5);
    unable.feed([sasl]);
    expect(unable.failure).toEqual({ message: 'server login failed: wrong password type', fields: null });
    const gss = new Login();
    gss.feed([message('R', 7)]);
    expect(gss.failure).toEqual({ message: 'failed to answer authreq', fields: null });
    expect(gss.events[0]).toBe('note unsupported authentication request 7');
  });
});

describe('a server that breaks the protocol', () => {
  const ok = b.authenticationOk();
  it.each<readonly [string, Buffer[]]>([
    ['says it is ready before the login', [b.readyForQuery()]],
    ['sends parameters before the login', [b.parameterStatus('a', 'b')]],
    ['sends its key before the login', [b.backendKeyData(1, KEY)]],
    ['accepts twice', [ok, ok]],
    ['asks for a password after it has accepted', [ok, b.authenticationCleartext()]],
    ['is ready inside a transaction', [ok, b.readyForQuery('T')]],
    ['is ready without status', [ok, message('Z')]],
    ['sends a key of 7 bytes', [ok, message('K', Buffer.alloc(7))]],
    ['sends a process ID without a key', [ok, message('K', 4242)]],
    ['sends nothing for a key', [ok, message('K')]],
    ['sends a key of 261 bytes', [ok, message('K', Buffer.alloc(261))]],
    ['sends a key of 2000 bytes', [ok, message('K', Buffer.alloc(2000))]],
    ['sends a key twice', [ok, b.backendKeyData(1, KEY), b.backendKeyData(1, KEY)]],
    ['negotiates twice', [message('v', 0x30000, 0), message('v', 0x30000, 0)]],
    ['negotiates after it has accepted', [ok, message('v', 0x30000, 0)]],
    ['negotiates behind its key', [ok, b.backendKeyData(1, KEY), message('v', 0x30000, 0)]],
    ['negotiates a newer version than was asked for', [message('v', 0x30003, 0)]],
    ['negotiates version 2', [message('v', 0x20000, 0)]],
    ['knows of options that nobody asked for', [message('v', 0x30000, 1, '_pq_.x')]],
    ['lies about the number of options', [message('v', 0x30000, 0x7fffffff)]],
    ['lies about the length of its negotiation', [lyingMessage('v', 2 << 20, 0x30000, 0)]],
    ['sends a parameter without value', [ok, message('S', 'a')]],
    ['sends rows', [ok, b.dataRow('1')]],
    ['sends a message type that does not exist', [message('?')]],
    ['sends an Authentication message without code', [message('R')]],
    ['sends an Authentication message that is too long', [message('R', 0, 0)]],
    ['sends three bytes of salt', [message('R', 5, Buffer.alloc(3))]],
    ['sends five bytes of salt', [message('R', 5, Buffer.alloc(5))]],
    ['lists mechanisms without end', [message('R', 10, 'SCRAM-SHA-256')]],
    ['sends a message over the limit', [lyingMessage('E', 2 << 20)]],
    ['sends a length of 3', [lyingMessage('R', 3)]],
    ['sends a negative length', [lyingMessage('R', -8)]],
    ['sends a length of 2^31', [lyingMessage('R', 0x8000_0000)]],
  ])('and %s is found out, however it is cut', (_what, parts) => {
    for (const { name, chunks } of cuttings(Buffer.concat(parts))) {
      const login = new Login();
      expect(() => login.feed(chunks), name).toThrow(ProtocolViolation);
      expect(login.isOver, name).toBe(false);
    }
  });

  it('and sends parameters without end is found out', () => {
    for (const [name, count] of [
      ['x'.repeat(1000), 1100],
      ['', 20_000],
    ] as const) {
      const login = new Login();
      login.feed([ok]);
      const flood = Buffer.concat(Array.from({ length: count }, () => b.parameterStatus(name, '')));
      expect(() => login.feed([flood])).toThrow(ProtocolViolation);
    }
  });

  it('with any change of one byte ends in nothing worse than a violation or a failure', () => {
    const streams = [
      [b.authenticationOk(), ...welcome],
      [b.authenticationCleartext(), b.authenticationOk(), ...welcome],
      [md5Request, b.authenticationOk(), ...welcome],
      [sasl, message('R', 11, Buffer.from('r=x,s=c2FsdA==,i=1'))],
      [refusal],
    ].map((parts) => Buffer.concat(parts));
    fc.assert(
      fc.property(fc.constantFrom(...streams), fc.nat(), fc.nat(255), fc.nat(), (stream, at, byte, cut) => {
        const garbled = Buffer.from(stream);
        garbled[at % stream.length] = byte;
        const place = 1 + (cut % (stream.length - 1));
        try {
          new Login().feed([garbled.subarray(0, place), garbled.subarray(place)]);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolViolation);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('bytes that come while the proof is computed', () => {
  /** A login that computes, with `ahead` in the same chunk as the server's challenge. */
  async function computingWith(...ahead: Buffer[]): Promise<Login> {
    const login = new Login();
    const server = new ScramServer(PENCIL_SCRAM);
    login.feed([await server.start()]);
    const challenge = await server.answer(login.sent[0]);
    expect(login.feed([Buffer.concat([challenge, ...ahead])])).toBe(0);
    expect(login.events).toEqual(['pause']);
    return login;
  }

  it.each<readonly [string, Buffer]>([
    ['garbage', Buffer.from('garbage of any kind')],
    ['a bad length', lyingMessage('R', -1)],
    ['an AuthenticationOk', b.authenticationOk()],
    ['a whole login', Buffer.concat([b.authenticationOk(), ...welcome])],
    ['a wrong SASLFinal', message('R', 12, Buffer.from('v=AAAA'))],
    ['ReadyForQuery', b.readyForQuery()],
  ])('fail the login and nothing else when they are %s', async (_what, ahead) => {
    const login = await computingWith(ahead);
    await waitFor(() => login.isOver);
    expect(login.events.at(-1)).toBe('failed');
    expect(login.failure?.fields).toBeNull();
  });

  it('fail it even when the server has foreseen our proof', async () => {
    const login = new Login();
    login.feed([sasl]);
    const clientFirst = /n=,r=.*$/.exec(bodyOf(login.sent[0] as Buffer).toString())?.[0] as string;
    const nonce = `${clientFirst.slice('n=,r='.length)}more`;
    const serverFirst = `r=${nonce},s=c2FsdA==,i=1`;
    const salted = pbkdf2Sync('pencil', 'salt', 1, 32, 'sha256');
    const signature = serverSignature(
      scramKeysOf(salted).serverKey,
      authMessageOf(clientFirst, serverFirst, `c=biws,r=${nonce}`),
    );
    const challenge = message('R', 11, Buffer.from(serverFirst));
    const final = message('R', 12, Buffer.from(`v=${signature.toString('base64')}`));
    login.feed([Buffer.concat([challenge, final, b.authenticationOk(), ...welcome])]);
    await waitFor(() => login.isOver);
    expect(login.failure).toEqual({ message: 'unknown pkt from server', fields: null });
  });

  it('are heard when they are the server’s refusal', async () => {
    const login = await computingWith(message('N', Buffer.of(0)), refusal);
    await waitFor(() => login.isOver);
    expect(login.failure?.fields?.sqlstate).toBe('28P01');
  });

  it('wait in any number of chunks', async () => {
    const login = await computingWith();
    login.feed(bytewise(refusal));
    expect(login.isOver).toBe(false);
    await waitFor(() => login.isOver);
    expect(login.failure?.fields?.sqlstate).toBe('28P01');
  });

  it('are dropped, like the answer, when the connection is given up', async () => {
    const login = await computingWith(b.authenticationOk());
    login.login.abandon();
    // The proof that was computed before is through when this is.
    await login.pbkdf2.derive(Buffer.from('pencil'), Buffer.from('salt'), 1);
    expect(login.events).toEqual(['pause']);
    expect(login.sent).toHaveLength(1);
    const more = lyingMessage('?', -1);
    expect(login.login.feed(more, 0, more.length)).toBe(more.length);
  });

  it('cannot take the process down by an owner that throws', async () => {
    const login = await computingWith();
    login.send = () => {
      throw new Error('a fault of the owner');
    };
    await waitFor(() => login.isOver);
    expect(login.failure).toEqual({ message: 'failed to answer authreq', fields: null });
    expect(login.events.some((event) => event.startsWith('note internal error: Error: a fault'))).toBe(true);
  });
});

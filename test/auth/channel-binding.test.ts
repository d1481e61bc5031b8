import { createHash, pbkdf2Sync, randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createClientAuth } from '../../src/auth/client-auth.ts';
import { passThroughKeys } from '../../src/auth/credentials.ts';
import { scramKeysOf, type TlsChannel } from '../../src/auth/scram.ts';
import { classifySecret } from '../../src/auth/secret.ts';
import { Writer } from '../../src/wire/writer.ts';
import { craftFinal } from './craft-final.ts';
import { bodyOf, clientArgs, decodeRequest, PENCIL_SCRAM, play, serverLogin, typed } from './peers.ts';

const PLUS = 'SCRAM-SHA-256-PLUS';
const PLAIN = 'SCRAM-SHA-256';
const BY_END_POINT = 'p=tls-server-end-point,,';
const hash = createHash('sha256').update('the certificate').digest();
const channel: TlsChannel = { endPointHash: hash };
const other: TlsChannel = { endPointHash: createHash('sha256').update('another one').digest() };
const without: TlsChannel = { endPointHash: null };

/** `c=` with this header and hash. */
function binding(header: string, bytes: Buffer | null = null): string {
  return Buffer.concat([Buffer.from(header), bytes ?? Buffer.alloc(0)]).toString('base64');
}

/** The body of a SASLInitialResponse. */
function initial(mechanism: string, text: string): Buffer {
  return new Writer().cstring(mechanism).int32(text.length).bytes(Buffer.from(text, 'latin1')).take();
}

describe('a client is offered', () => {
  test.each([
    ['both mechanisms over TLS, the better one first', channel, [PLUS, PLAIN]],
    ['the plain one where the certificate has no hash', without, [PLAIN]],
    ['the plain one in the clear', null, [PLAIN]],
  ])('%s', async (_name, over, mechanisms) => {
    const step = await createClientAuth(clientArgs({ channel: over })).start();
    expect(step.kind === 'send' && decodeRequest(step.bytes)).toEqual({ kind: 'sasl', mechanisms });
  });
});

describe('a client that knows the password', () => {
  /** Logs in as one that says this; gives `ok`, or what the log says. */
  async function verdict(
    over: TlsChannel | null,
    mechanism: string,
    header: string,
    bound: string = binding(header),
  ): Promise<string> {
    const exchange = createClientAuth(clientArgs({ secretText: PENCIL_SCRAM, channel: over }));
    await exchange.start();
    const challenge = await exchange.password(initial(mechanism, `${header}n=,r=abc`));
    if (challenge.kind === 'fail') return challenge.logText ?? challenge.error.message;
    if (challenge.kind !== 'send') throw new Error('no challenge');
    const final = await exchange.password(Buffer.from(craftFinal('n=,r=abc', challenge.bytes, bound, '')));
    return final.kind === 'fail' ? (final.logText ?? final.error.message) : final.kind;
  }

  const differs = 'channel binding differs';
  const flipped = Buffer.from(hash);
  flipped[31] = (flipped[31] ?? 0) ^ 1;

  test.each<[string, TlsChannel | null, string, string, string | undefined, string]>([
    ['binds to the certificate', channel, PLUS, BY_END_POINT, binding(BY_END_POINT, hash), 'ok'],
    ['has no channel binding', channel, PLAIN, 'n,,', undefined, 'ok'],
    ['has none to offer it, and says so', without, PLAIN, 'y,,', undefined, 'ok'],
    ['is in the clear, and says so', null, PLAIN, 'y,,', undefined, 'ok'],
    [
      'has seen another certificate',
      channel,
      PLUS,
      BY_END_POINT,
      binding(BY_END_POINT, other.endPointHash),
      differs,
    ],
    ['is off by one bit', channel, PLUS, BY_END_POINT, binding(BY_END_POINT, flipped), differs],
    [
      'binds to a part of the hash',
      channel,
      PLUS,
      BY_END_POINT,
      binding(BY_END_POINT, hash.subarray(1)),
      differs,
    ],
    [
      'binds to more than the hash',
      channel,
      PLUS,
      BY_END_POINT,
      binding(BY_END_POINT, Buffer.concat([hash, hash])),
      differs,
    ],
    ['binds to nothing', channel, PLUS, BY_END_POINT, undefined, differs],
    ['repeats another header', channel, PLUS, BY_END_POINT, binding('n,,', hash), differs],
    ['binds to it without the mechanism', channel, PLAIN, 'n,,', binding('n,,', hash), differs],
    [
      'has not seen our offer',
      channel,
      PLAIN,
      'y,,',
      undefined,
      'the client has not seen that channel binding was offered',
    ],
    ['binds by another type', channel, PLUS, 'p=tls-unique,,', undefined, 'unsupported channel binding type'],
    [
      'binds by another case',
      channel,
      PLUS,
      'p=TLS-server-end-point,,',
      undefined,
      'unsupported channel binding type',
    ],
    [
      'chooses the better mechanism without it',
      channel,
      PLUS,
      'n,,',
      undefined,
      'a mechanism with channel binding, and none in the message',
    ],
    [
      'chooses the better mechanism and has not seen it',
      channel,
      PLUS,
      'y,,',
      undefined,
      'a mechanism with channel binding, and none in the message',
    ],
    [
      'binds with the plain mechanism',
      channel,
      PLAIN,
      BY_END_POINT,
      binding(BY_END_POINT, hash),
      'a mechanism without channel binding, and one in the message',
    ],
    [
      'binds in the clear with the plain mechanism',
      null,
      PLAIN,
      BY_END_POINT,
      undefined,
      'a mechanism without channel binding, and one in the message',
    ],
    [
      'chooses the better mechanism in the clear',
      null,
      PLUS,
      BY_END_POINT,
      undefined,
      'client selected an invalid SASL authentication mechanism',
    ],
    [
      'chooses the better mechanism where there is nothing to bind to',
      without,
      PLUS,
      BY_END_POINT,
      undefined,
      'client selected an invalid SASL authentication mechanism',
    ],
  ])('and %s', async (_name, over, mechanism, header, bound, expected) => {
    expect(await verdict(over, mechanism, header, bound)).toBe(expected);
  });

  test('takes part in the exchange alike when nobody of its name is known', async () => {
    const exchange = createClientAuth(clientArgs({ secretText: null, channel }));
    const offer = await exchange.start();
    expect(offer.kind === 'send' && decodeRequest(offer.bytes)).toMatchObject({ mechanisms: [PLUS, PLAIN] });
    const challenge = await exchange.password(initial(PLUS, `${BY_END_POINT}n=,r=abc`));
    if (challenge.kind !== 'send') throw new Error('no challenge');
    const final = craftFinal('n=,r=abc', challenge.bytes, binding(BY_END_POINT, hash), '');
    expect(await exchange.password(Buffer.from(final))).toMatchObject({
      kind: 'fail',
      error: { message: 'SASL authentication failed' },
    });
  });
});

describe('our login on a server', () => {
  /** What we answer to an offer: mechanism and the beginning of the message. */
  async function answer(over: TlsChannel | null, mechanisms: readonly string[]): Promise<string> {
    const step = await serverLogin(typed('pencil'), 't', over).request({ kind: 'sasl', mechanisms });
    if (step.kind !== 'send') return step.kind === 'fail' ? step.message : step.kind;
    const body = bodyOf(step.bytes);
    const end = body.indexOf(0);
    const text = body.toString('latin1', end + 5);
    return `${body.toString('latin1', 0, end)} ${text.slice(0, text.indexOf('n='))}`;
  }

  const nothing = "server login failed: none of the server's SASL authentication mechanisms are supported";

  test.each([
    ['over TLS, to a server that offers it', channel, [PLUS, PLAIN], `${PLUS} ${BY_END_POINT}`],
    ['in whatever order', channel, [PLAIN, PLUS], `${PLUS} ${BY_END_POINT}`],
    ['and nothing else', channel, [PLUS], `${PLUS} ${BY_END_POINT}`],
    ['over TLS, to one that does not, is told that we could', channel, [PLAIN], `${PLAIN} y,,`],
    ['where the certificate has no hash is none', without, [PLUS, PLAIN], `${PLAIN} n,,`],
    ['where it has none and nothing else is offered fails', without, [PLUS], nothing],
    ['in the clear is none', null, [PLAIN], `${PLAIN} n,,`],
    ['in the clear is none, whatever is offered', null, [PLUS, PLAIN], `${PLAIN} n,,`],
    ['of an unknown kind fails', channel, ['SCRAM-SHA-512-PLUS'], nothing],
  ])('binds the channel %s', async (_name, over, mechanisms, expected) => {
    expect(await answer(over, mechanisms)).toBe(expected);
  });
});

describe('both halves of it', () => {
  test.each([
    ['to the same certificate succeeds', channel, channel, 'ok', 'ok'],
    ['to different ones fails', channel, other, 'fail', undefined],
    ['where one end has none', channel, null, 'ok', 'ok'],
    [
      'where the other end has none, is a downgrade no more than a server’s that has none',
      null,
      channel,
      'ok',
      'ok',
    ],
  ])('bound %s', async (_name, accepting, loggingIn, client, server) => {
    const result = await play(
      createClientAuth(clientArgs({ secretText: PENCIL_SCRAM, channel: accepting })),
      serverLogin(typed('pencil'), 't', loggingIn),
    );
    expect([result.client.kind, result.server?.kind]).toEqual([client, server]);
  });

  test('by keys of a pass-through', async () => {
    const secret = classifySecret(PENCIL_SCRAM);
    if (secret.kind !== 'scram') throw new Error('no verifier');
    // What a client's login has revealed, found here by the password.
    const { clientKey } = scramKeysOf(pbkdf2Sync('pencil', secret.salt, secret.iterations, 32, 'sha256'));
    const keys = passThroughKeys(clientKey, secret);
    const result = await play(
      createClientAuth(clientArgs({ secretText: PENCIL_SCRAM, channel })),
      serverLogin({ secretText: PENCIL_SCRAM, scramKeys: keys }, 't', channel),
    );
    expect([result.client.kind, result.server?.kind]).toEqual(['ok', 'ok']);
  });
});

test('first and final messages of any bytes are answered by a verdict', async () => {
  for (let round = 0; round < 500; round++) {
    const exchange = createClientAuth(clientArgs({ secretText: PENCIL_SCRAM, channel }));
    await exchange.start();
    const text = randomBytes(round % 90).toString('latin1');
    const step = await exchange.password(initial(PLUS, `${BY_END_POINT.slice(0, round % 26)}${text}`));
    expect(['fail', 'send']).toContain(step.kind);
    expect((await exchange.password(randomBytes(round % 200))).kind).toBe('fail');
  }
});

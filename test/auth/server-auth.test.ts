import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createClientAuth } from '../../src/auth/client-auth.ts';
import { SaltedPasswordCache } from '../../src/auth/derived-keys.ts';
import { MAX_PBKDF2_ITERATIONS, Pbkdf2Queue } from '../../src/auth/pbkdf2-queue.ts';
import { createServerAuth, type ServerAuthRequest, type ServerAuthStep } from '../../src/auth/server-auth.ts';
import { bodyOf, clientArgs, decodeRequest, PENCIL_MD5, PENCIL_SCRAM, serverLogin, typed } from './peers.ts';

const sasl: ServerAuthRequest = { kind: 'sasl', mechanisms: ['SCRAM-SHA-256'] };
const NONCE = Buffer.alloc(18, 1).toString('base64');

/** A login with a known nonce. */
function login(secretText: string | null = 'pencil', pbkdf2 = new Pbkdf2Queue()) {
  return createServerAuth({
    channel: () => null,
    user: 't',
    credentials: typed(secretText),
    randomBytes: (size) => Buffer.alloc(size, 1),
    saltedPasswords: new SaltedPasswordCache(pbkdf2),
  });
}

async function feed(...messages: ServerAuthRequest[]): Promise<ServerAuthStep> {
  const exchange = login();
  let step: ServerAuthStep = { kind: 'wait' };
  for (const message of messages) step = await exchange.request(message);
  return step;
}

const challenge = (fields: string): ServerAuthRequest => ({ kind: 'saslContinue', data: fields });
const sound = challenge(`r=${NONCE}srv,s=c2FsdA==,i=1`);
const unanswered = expect.objectContaining({ kind: 'fail', message: 'failed to answer authreq' });
const unproven = expect.objectContaining({
  kind: 'fail',
  message: 'server login failed: failed to verify server signature',
});

/** A SCRAM login up to and including our proof, and the SASLFinal that the honest server would send. */
async function upToProof() {
  const exchange = serverLogin(typed('pencil'));
  const server = createClientAuth(clientArgs({ secretText: PENCIL_SCRAM }));
  let step = await server.start();
  while (step.kind === 'send') {
    const answer = await exchange.request(decodeRequest(step.bytes));
    if (answer.kind !== 'send') throw new Error('no answer');
    step = await server.password(bodyOf(answer.bytes));
  }
  if (step.kind !== 'ok' || step.bytes === null) throw new Error('refused');
  const final = decodeRequest(step.bytes);
  if (final.kind !== 'saslFinal') throw new Error('no final message');
  return { exchange, final: final.data };
}

describe('what we send', () => {
  test('the first SASL message is the contract, byte for byte', async () => {
    const step = await feed(sasl);
    const text = `n,,n=,r=${NONCE}`;
    const body = Buffer.concat([
      Buffer.from('SCRAM-SHA-256\0'),
      Buffer.from([0, 0, 0, text.length]),
      Buffer.from(text),
    ]);
    expect(step).toEqual({
      kind: 'send',
      bytes: Buffer.concat([Buffer.from('p'), Buffer.from([0, 0, 0, body.length + 4]), body]),
    });
  });

  test('the second repeats the binding and the whole nonce', async () => {
    const step = await feed(sasl, sound);
    const body = step.kind === 'send' ? bodyOf(step.bytes).toString() : '';
    expect(body.startsWith(`c=biws,r=${NONCE}srv,p=`)).toBe(true);
  });

  test('a cleartext request gets a password, but no hash', async () => {
    for (const text of ['pencil', '']) {
      const step = await login(text).request({ kind: 'cleartext' });
      expect(step.kind === 'send' ? bodyOf(step.bytes).toString() : '').toBe(`${text}\0`);
    }
    for (const text of [PENCIL_MD5, PENCIL_SCRAM]) {
      expect(await login(text).request({ kind: 'cleartext' })).toEqual({
        kind: 'fail',
        message: 'server login failed: wrong password type',
      });
    }
  });

  test('an md5 request gets the hash of hash and salt, the same from password and from hash', async () => {
    const salt = Buffer.from([1, 2, 3, 4]);
    const fromPassword = await login('pencil').request({ kind: 'md5', salt });
    const fromHash = await login(PENCIL_MD5).request({ kind: 'md5', salt });
    expect(fromPassword).toEqual(fromHash);
    expect(fromHash.kind === 'send' ? bodyOf(fromHash.bytes).toString() : '').toMatch(/^md5[0-9a-f]{32}\0$/);
  });

  test('SCRAM is chosen among several mechanisms', async () => {
    const mechanisms = ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256'];
    expect((await feed({ kind: 'sasl', mechanisms })).kind).toBe('send');
  });
});

describe('a server that we refuse', () => {
  test.each([[['SCRAM-SHA-256-PLUS']], [['OAUTHBEARER']], [[]]])('offers only %j', async (mechanisms) => {
    expect(await feed({ kind: 'sasl', mechanisms })).toEqual({
      kind: 'fail',
      message: "server login failed: none of the server's SASL authentication mechanisms are supported",
    });
  });

  test.each([2, 6, 7, 8, 9, -1, 0x7fffffff])('asks for method %i', async (code) => {
    expect(await feed({ kind: 'other', code })).toEqual(unanswered);
  });

  test.each([
    ['does not repeat our nonce', 'r=other,s=c2FsdA==,i=1'],
    ['adds nothing to our nonce', `r=${NONCE},s=c2FsdA==,i=1`],
    ['puts its part in front', `r=srv${NONCE},s=c2FsdA==,i=1`],
    ['sends a nonce without end', `r=${NONCE}${'x'.repeat(3000)},s=c2FsdA==,i=1`],
    ['asks for no iterations', `r=${NONCE}srv,s=c2FsdA==,i=0`],
    ['asks for a negative count', `r=${NONCE}srv,s=c2FsdA==,i=-4096`],
    ['asks for too many iterations', `r=${NONCE}srv,s=c2FsdA==,i=${MAX_PBKDF2_ITERATIONS + 1}`],
    ['asks for 2^31 iterations', `r=${NONCE}srv,s=c2FsdA==,i=2147483648`],
    ['sends a salt without end', `r=${NONCE}srv,s=${'A'.repeat(4000)},i=1`],
    ['sends a broken salt', `r=${NONCE}srv,s=c2FsdA=,i=1`],
    ['sends nothing', ''],
    ['sends a zero byte', `r=${NONCE}srv\0,s=c2FsdA==,i=1`],
  ])('%s', async (_what, data) => {
    expect(await feed(sasl, challenge(data))).toEqual(unanswered);
  });

  test('cuts its challenge at any byte', async () => {
    const whole = `r=${NONCE}srv,s=c2FsdA==,i=1`;
    for (let end = 0; end < whole.length; end++) {
      expect(await feed(sasl, challenge(whole.slice(0, end)))).toEqual(unanswered);
    }
  });

  test.each([
    ['a cleartext password after SASL', [sasl, { kind: 'cleartext' }]],
    ['a cleartext password after our proof', [sasl, sound, { kind: 'cleartext' }]],
    ['an md5 password after SASL', [sasl, { kind: 'md5', salt: Buffer.alloc(4) }]],
    ['SASL after a cleartext password', [{ kind: 'cleartext' }, sasl]],
    ['two passwords', [{ kind: 'cleartext' }, { kind: 'cleartext' }]],
    [
      'two rounds of md5',
      [
        { kind: 'md5', salt: Buffer.alloc(4) },
        { kind: 'md5', salt: Buffer.alloc(4, 1) },
      ],
    ],
    ['SASL twice', [sasl, sasl]],
    ['two challenges', [sasl, sound, sound]],
    ['a challenge before SASL', [sound]],
    ['an end of SASL before SASL', [{ kind: 'saslFinal', data: 'v=' }]],
    ['an end of SASL before the challenge', [sasl, { kind: 'saslFinal', data: 'v=' }]],
    ['a second AuthenticationOk', [{ kind: 'ok' }, { kind: 'ok' }]],
    ['a password after AuthenticationOk', [{ kind: 'ok' }, { kind: 'cleartext' }]],
  ] as [string, ServerAuthRequest[]][])('asks for %s', async (_what, messages) => {
    expect(await feed(...messages)).toEqual(unanswered);
  });

  test('skips proving itself', async () => {
    expect(await feed(sasl, { kind: 'ok' })).toEqual(unproven);
    expect(await feed(sasl, sound, { kind: 'ok' })).toEqual(unproven);
  });

  test('says ok while we still compute', async () => {
    const exchange = login();
    await exchange.request(sasl);
    const pending = exchange.request(sound);
    expect(await exchange.request({ kind: 'ok' })).toEqual(unproven);
    expect(await pending).toEqual(unanswered);
  });

  test('has a signature with any bit changed', async () => {
    const { final } = await upToProof();
    const signature = Buffer.from(final.slice(2), 'base64');
    for (let at = 0; at < signature.length; at++) {
      const { exchange, final: honest } = await upToProof();
      const tampered = Buffer.from(honest.slice(2), 'base64');
      tampered[at] = (tampered[at] as number) ^ 0x80;
      const data = `v=${tampered.toString('base64')}`;
      expect(await exchange.request({ kind: 'saslFinal', data })).toEqual({
        kind: 'fail',
        message: 'server login failed: invalid server signature',
      });
      expect(await exchange.request({ kind: 'ok' })).toEqual(unanswered);
    }
  });

  test.each(['', 'v=', 'v=AAAA', 'e=invalid-proof', 'x'.repeat(5000)])('ends SASL with %j', async (data) => {
    const { exchange } = await upToProof();
    expect(await exchange.request({ kind: 'saslFinal', data })).toEqual(unproven);
  });
});

test('a proven server is waited for, and its ok ends the login', async () => {
  const { exchange, final } = await upToProof();
  expect(await exchange.request({ kind: 'saslFinal', data: final })).toEqual({ kind: 'wait' });
  expect(await exchange.request({ kind: 'ok' })).toEqual({ kind: 'ok' });
});

test('a reconnect with the same password, salt and count answers at once', async () => {
  const saltedPasswords = new SaltedPasswordCache(new Pbkdf2Queue());
  const make = () =>
    createServerAuth({
      channel: () => null,
      user: 't',
      credentials: typed('pencil'),
      randomBytes: (size) => Buffer.alloc(size, 1),
      saltedPasswords,
    });
  const first = make();
  await first.request(sasl);
  const slow = first.request(sound);
  expect(slow).toBeInstanceOf(Promise);
  const second = make();
  await slow;
  await second.request(sasl);
  expect(second.request(sound)).toEqual(await slow);
});

test('hostile messages in any order end in a step, never in a throw', async () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string().map((tail) => `r=${NONCE}${tail},s=c2FsdA==,i=1`),
    fc.constant(`r=${NONCE}srv,s=c2FsdA==,i=1`),
    fc.integer().map((count) => `r=${NONCE}srv,s=c2FsdA==,i=${count % 1000}`),
  );
  const message: fc.Arbitrary<ServerAuthRequest> = fc.oneof(
    fc.constant<ServerAuthRequest>({ kind: 'cleartext' }),
    fc.constant<ServerAuthRequest>(sasl),
    fc
      .uint8Array({ maxLength: 8 })
      .map((salt): ServerAuthRequest => ({ kind: 'md5', salt: Buffer.from(salt) })),
    fc.array(fc.string()).map((mechanisms): ServerAuthRequest => ({ kind: 'sasl', mechanisms })),
    text.map((data): ServerAuthRequest => ({ kind: 'saslContinue', data })),
    text.map((data): ServerAuthRequest => ({ kind: 'saslFinal', data })),
    fc.integer().map((code): ServerAuthRequest => ({ kind: 'other', code })),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(message, { maxLength: 5 }), async (messages) => {
      const exchange = login();
      let begun = false;
      for (const each of messages) {
        const step = await exchange.request(each);
        expect(['send', 'fail']).toContain(step.kind);
        if (step.kind === 'fail') return;
        begun ||= each.kind === 'sasl';
      }
      // No sequence of guesses makes a server pass for the one that knows the password.
      if (begun) expect((await exchange.request({ kind: 'ok' })).kind).toBe('fail');
    }),
    { numRuns: 500 },
  );
});

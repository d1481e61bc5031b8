import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { type ClientAuthArgs, type ClientAuthMethod, createClientAuth } from '../../src/auth/client-auth.ts';
import type { MockProfile } from '../../src/auth/mock-profile.ts';
import { ScramVerifierCache } from '../../src/auth/derived-keys.ts';
import { MAX_PBKDF2_ITERATIONS, Pbkdf2Queue } from '../../src/auth/pbkdf2-queue.ts';
import { passwordMessage, saslInitialResponse } from '../../src/wire/authentication.ts';
import { Writer } from '../../src/wire/writer.ts';
import { craftFinal } from './craft-final.ts';
import {
  bodyOf,
  clientArgs,
  decodeRequest,
  logIn,
  mockSecret,
  PENCIL_MD5,
  PENCIL_SCRAM,
  play,
  serverLogin,
  typed,
} from './peers.ts';

const first = (text: string, mechanism = 'SCRAM-SHA-256') => bodyOf(saslInitialResponse(mechanism, text));

/** Starts a login and feeds it bodies; gives the last step. */
async function feed(over: Partial<ClientAuthArgs>, ...bodies: Buffer[]) {
  const exchange = createClientAuth(clientArgs(over));
  let step = await exchange.start();
  for (const body of bodies) step = await exchange.password(body);
  return step;
}

/** A SCRAM login that has got its challenge, and what proves `pencil`. */
async function challenged(over: Partial<ClientAuthArgs>) {
  const exchange = createClientAuth(clientArgs(over));
  await exchange.start();
  const challenge = exchange.password(first('n,,n=,r=abc'));
  // It says nothing of what is known, not even by the time that it takes.
  if (challenge instanceof Promise || challenge.kind !== 'send') throw new Error('no challenge at once');
  return { exchange, final: Buffer.from(craftFinal('n=,r=abc', challenge.bytes, 'biws', '')) };
}

function failure(message: string) {
  return expect.objectContaining({
    kind: 'fail',
    error: { severity: 'FATAL', sqlstate: '08P01', message },
  });
}

describe('any and trust', () => {
  test('any lets in at once, known or not', async () => {
    for (const secretText of [null, '', 'pencil']) {
      const credentials = { secretText, scramKeys: null };
      expect(await feed({ method: 'any', secretText })).toEqual({ kind: 'ok', bytes: null, credentials });
    }
  });

  test('trust lets in known users, also those without a password', async () => {
    for (const secretText of ['', 'pencil']) {
      const credentials = { secretText, scramKeys: null };
      expect(await feed({ method: 'trust', secretText })).toEqual({ kind: 'ok', bytes: null, credentials });
    }
  });

  test('trust refuses unknown users', async () => {
    expect(await feed({ method: 'trust', secretText: null })).toEqual(
      failure('"trust" authentication failed'),
    );
  });

  test('a password message that nobody asked for is refused', async () => {
    expect(await feed({ method: 'trust' }, bodyOf(passwordMessage('pencil')))).toEqual(
      failure('password authentication failed'),
    );
  });
});

describe.each(['plain', 'md5'] as const)('%s', (method) => {
  test('an empty password is named as such', async () => {
    for (const secretText of ['pencil', null]) {
      expect(await feed({ method, secretText }, bodyOf(passwordMessage('')))).toEqual(
        failure('empty password returned by client'),
      );
    }
  });

  test('65530 bytes are the most that a password may have', async () => {
    const longest = await feed({ method }, bodyOf(passwordMessage('x'.repeat(65530))));
    expect(longest).toEqual(failure('password authentication failed'));
    const longer = await feed({ method }, bodyOf(passwordMessage('x'.repeat(65531))));
    expect(longer).toEqual(failure('password too long'));
  });

  test.each([
    ['an empty body', ''],
    ['no terminator', 'pencil'],
    ['a zero byte inside', 'pen\0cil\0'],
    ['bytes behind the terminator', 'pencil\0x'],
    ['two terminators', 'pencil\0\0'],
  ])('%s is refused', async (_what, body) => {
    expect(await feed({ method }, Buffer.from(body))).toEqual(failure('password authentication failed'));
  });

  test('a second password is refused, also the right one', async () => {
    const wrong = bodyOf(passwordMessage('wrong'));
    const right = bodyOf(passwordMessage('pencil'));
    expect(await feed({ method: 'plain' }, right)).toMatchObject({ kind: 'ok' });
    expect(await feed({ method: 'plain' }, wrong, right)).toEqual(failure('password authentication failed'));
  });
});

test('an md5 answer to an older salt is refused', async () => {
  const login = serverLogin(typed('pencil'));
  const answer = await login.request({ kind: 'md5', salt: Buffer.from('0000') });
  if (answer.kind !== 'send') throw new Error('no answer');
  const fixed = (salt: string) => ({ method: 'md5' as const, randomBytes: () => Buffer.from(salt) });
  expect(await feed(fixed('0000'), bodyOf(answer.bytes))).toMatchObject({ kind: 'ok' });
  expect(await feed(fixed('0001'), bodyOf(answer.bytes))).toMatchObject({ kind: 'fail' });
});

test('a plain login against a secret of too many iterations is refused without computing them', async () => {
  const secretText = PENCIL_SCRAM.replace('4096', String(MAX_PBKDF2_ITERATIONS + 1));
  const step = await feed({ method: 'plain', secretText }, bodyOf(passwordMessage('pencil')));
  expect(step).toEqual(failure('password authentication failed'));
});

test('a plain login whose client is gone leaves the queue without computing', async () => {
  const pbkdf2 = new Pbkdf2Queue(1);
  const busy = pbkdf2.derive(Buffer.from('x'), Buffer.from('y'), 1000);
  const secretText = PENCIL_SCRAM.replace('4096', String(MAX_PBKDF2_ITERATIONS));
  const exchange = createClientAuth(clientArgs({ method: 'plain', secretText, pbkdf2 }));
  await exchange.start();
  const pending = exchange.password(bodyOf(passwordMessage('pencil')));
  exchange.abandon();
  await busy;
  expect(await pending).toMatchObject({ kind: 'fail', logText: 'nobody waits for the key any more' });
});

test('a password that waits in the queue is a copy: the body may change meanwhile', async () => {
  const pbkdf2 = new Pbkdf2Queue(1);
  const busy = pbkdf2.derive(Buffer.from('x'), Buffer.from('y'), 1000);
  const { client } = await logIn({ method: 'plain', secretText: PENCIL_SCRAM, pbkdf2 }, 'pencil');
  await busy;
  expect(client.kind).toBe('ok');
});

describe('SCRAM', () => {
  test('only SCRAM-SHA-256 may be chosen', async () => {
    for (const mechanism of ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-1', 'PLAIN', 'scram-sha-256', '']) {
      expect(await feed({}, first('n,,n=,r=abc', mechanism))).toEqual(
        failure('client selected an invalid SASL authentication mechanism'),
      );
    }
  });

  test('the challenge extends the nonce and shows the stored salt and count', async () => {
    const step = await feed({ secretText: PENCIL_SCRAM }, first('n,,n=,r=abc'));
    const message = step.kind === 'send' ? decodeRequest(step.bytes) : null;
    expect(message).toEqual({
      kind: 'saslContinue',
      data: expect.stringMatching(/^r=abc[A-Za-z0-9+/]{24},s=ybcA72hE59q5avutIge1HQ==,i=4096$/),
    });
  });

  test.each([
    ['channel binding', 'p=tls-unique,,n=,r=abc'],
    ['an authorization identity', 'n,a=postgres,n=,r=abc'],
    ['no nonce', 'n,,n='],
    ['a zero byte', 'n,,n=,r=a\0c'],
    ['nothing', ''],
  ])('a first message with %s is refused', async (_what, text) => {
    expect(await feed({}, first(text))).toEqual(failure('SASL authentication failed'));
  });

  test.each([
    ['no initial response', new Writer().cstring('SCRAM-SHA-256').int32(-1).take()],
    ['a negative length', new Writer().cstring('SCRAM-SHA-256').int32(-2).take()],
    ['a length of 2^31 - 1', new Writer().cstring('SCRAM-SHA-256').int32(0x7fffffff).take()],
    ['a length of -2^31', new Writer().cstring('SCRAM-SHA-256').int32(-0x80000000).take()],
    ['no length', new Writer().cstring('SCRAM-SHA-256').take()],
    ['bytes behind the message', Buffer.concat([first('n,,n=,r=abc'), Buffer.from('x')])],
    ['a PasswordMessage', bodyOf(passwordMessage('pencil'))],
    ['a huge body', Buffer.alloc(70_000, 0x61)],
  ])('%s is refused', async (_what, body) => {
    expect(await feed({}, body)).toEqual(failure('SASL authentication failed'));
  });

  test('a first message cut at any byte is refused', async () => {
    const whole = first('n,,n=user,r=abc');
    for (let end = 0; end < whole.length; end++) {
      expect(await feed({}, whole.subarray(0, end))).toEqual(failure('SASL authentication failed'));
    }
  });

  test('a second first message is refused, and so is everything after a failure', async () => {
    const again = first('n,,n=,r=abc');
    expect(await feed({}, again, again)).toEqual(failure('SASL authentication failed'));
    expect(await feed({}, first('garbage'), again)).toEqual(failure('SASL authentication failed'));
  });

  test('a message while the verifier is computed fails the login for good', async () => {
    const { exchange, final } = await challenged({});
    const pending = exchange.password(final);
    expect(pending).toBeInstanceOf(Promise);
    expect(await exchange.password(first('n,,n=,r=abc'))).toEqual(failure('SASL authentication failed'));
    expect(await pending).toEqual(failure('SASL authentication failed'));
  });

  test('a login cannot be started twice', async () => {
    const exchange = createClientAuth(clientArgs({}));
    await exchange.start();
    expect(await exchange.start()).toEqual(failure('SASL authentication failed'));
  });

  /** Logs in as a client of our own making; gives the verdict. */
  async function craft(flag: 'n' | 'y', binding: string, nonceTail = ''): Promise<string> {
    const exchange = createClientAuth(clientArgs({ secretText: PENCIL_SCRAM }));
    await exchange.start();
    const challenge = await exchange.password(first(`${flag},,n=,r=abc`));
    if (challenge.kind !== 'send') throw new Error('no challenge');
    const final = craftFinal('n=,r=abc', challenge.bytes, binding, nonceTail);
    return (await exchange.password(Buffer.from(final))).kind;
  }

  test('the flag of the first message must be repeated in the final one', async () => {
    expect(await craft('y', 'eSws')).toBe('ok');
    expect(await craft('n', 'biws')).toBe('ok');
    expect(await craft('y', 'biws')).toBe('fail');
    expect(await craft('n', 'eSws')).toBe('fail');
    expect(await craft('n', 'cD10bHMtdW5pcXVlLCw=')).toBe('fail');
  });

  test('another nonce in the final message is refused, though it is signed', async () => {
    expect(await craft('n', 'biws', 'x')).toBe('fail');
  });

  test('a final message with any byte garbled or cut is refused', async () => {
    const exchange = () =>
      createClientAuth(clientArgs({ secretText: PENCIL_SCRAM, randomBytes: (n) => Buffer.alloc(n, 1) }));
    const login = serverLogin(typed('pencil'));
    const bodies: Buffer[] = [];
    const honest = exchange();
    let step = await honest.start();
    while (step.kind === 'send') {
      const answer = await login.request(decodeRequest(step.bytes));
      if (answer.kind !== 'send') throw new Error('no answer');
      bodies.push(bodyOf(answer.bytes));
      step = await honest.password(bodies.at(-1) as Buffer);
    }
    expect(step.kind).toBe('ok');
    const [begin, final] = bodies as [Buffer, Buffer];
    for (let at = 0; at < final.length; at++) {
      for (const change of [0, 0x2c, 0x3d, (final[at] as number) ^ 1]) {
        if (change === final[at]) continue;
        const garbled = Buffer.from(final);
        garbled[at] = change;
        const replay = exchange();
        await replay.start();
        await replay.password(begin);
        expect(await replay.password(garbled)).toEqual(failure('SASL authentication failed'));
      }
      const replay = exchange();
      await replay.start();
      await replay.password(begin);
      expect(await replay.password(final.subarray(0, at))).toEqual(failure('SASL authentication failed'));
    }
  });

  test('an old proof is refused against a new nonce', async () => {
    const bodies: Buffer[] = [];
    const recorded = serverLogin(typed('pencil'));
    const recorder = {
      request: async (message: Parameters<typeof recorded.request>[0]) => {
        const step = await recorded.request(message);
        if (step.kind === 'send') bodies.push(Buffer.from(bodyOf(step.bytes)));
        return step;
      },
    };
    const { client } = await play(createClientAuth(clientArgs({ secretText: PENCIL_SCRAM })), recorder);
    expect(client.kind).toBe('ok');
    expect(await feed({ secretText: PENCIL_SCRAM }, ...bodies)).toEqual(
      failure('SASL authentication failed'),
    );
  });

  test('scram_iterations beyond what we compute is a refused login, not a hang', async () => {
    const step = await feed({ scramIterations: MAX_PBKDF2_ITERATIONS + 1 }, first('n,,n=,r=abc'));
    expect(step).toEqual(failure('SASL authentication failed'));
  });
});

describe('the mock exchange', () => {
  const methods: ClientAuthMethod[] = ['plain', 'md5', 'scram-sha-256'];
  test.each(
    methods,
  )('under %s an unknown user sees what a known one with a wrong password sees', async (method) => {
    const known = await logIn({ method }, 'wrong');
    const blank = await logIn({ method, secretText: '' }, 'wrong');
    const unknown = await logIn({ method, secretText: null }, 'wrong');
    expect(unknown.trace).toEqual(known.trace);
    expect(blank.trace).toEqual(known.trace);
    const errors = [known, blank, unknown].map(({ client }) =>
      client.kind === 'fail' ? client.error : null,
    );
    expect(errors[0]).toMatchObject({ severity: 'FATAL' });
    expect(errors[1]).toEqual(errors[0]);
    expect(errors[2]).toEqual(errors[0]);
  });

  test('an md5 secret under SCRAM looks like a wrong password as well', async () => {
    const known = await logIn({}, 'wrong');
    const md5 = await logIn({ secretText: PENCIL_MD5 }, 'pencil');
    expect(md5.trace).toEqual(known.trace);
  });

  const saltOf = async (over: Partial<ClientAuthArgs>) => {
    const step = await feed(over, first('n,,n=,r=abc'));
    if (step.kind !== 'send') throw new Error('no challenge');
    const message = decodeRequest(step.bytes);
    return message.kind === 'saslContinue' ? message.data.replace(/^r=[^,]*,/, '') : '';
  };

  test('salt and count are stable for a user, differ between users, and stay when the user appears', async () => {
    const nobody = await saltOf({ user: 'a', secretText: null });
    expect(nobody).toMatch(/^s=[A-Za-z0-9+/]{22}==,i=64$/);
    expect(await saltOf({ user: 'a', secretText: null })).toBe(nobody);
    expect(await saltOf({ user: 'a', secretText: 'pencil' })).toBe(nobody);
    expect(await saltOf({ user: 'b', secretText: null })).not.toBe(nobody);
    expect(await saltOf({ user: 'a', secretText: null, mockSecret: randomBytes(32) })).not.toBe(nobody);
  });

  test('each failure takes a derivation, whoever it is, unless stored SCRAM secrets are all there are', async () => {
    const pbkdf2 = new Pbkdf2Queue();
    const derive = vi.spyOn(pbkdf2, 'derive');
    const verifiers = new ScramVerifierCache(pbkdf2);
    const derivations = async (over: Partial<ClientAuthArgs>): Promise<number> => {
      const { exchange, final } = await challenged({ pbkdf2, verifiers, ...over });
      derive.mockClear();
      await exchange.password(final);
      return derive.mock.calls.length;
    };
    for (const secretText of ['another', null, PENCIL_MD5, '']) {
      for (let i = 0; i < 3; i++) expect(await derivations({ secretText }), `${secretText}`).toBe(1);
    }
    expect(await derivations({ secretText: 'pencil' })).toBe(1);
    expect(await derivations({ secretText: 'pencil' })).toBe(0);
    const scram = { kind: 'scram', iterations: 64, saltBytes: 16 } as const;
    const noKey = Buffer.alloc(32).toString('base64');
    for (const secretText of [null, PENCIL_SCRAM.replace(/[^$]*$/, `${noKey}:${noKey}`)]) {
      const wrong = { user: 'another', secretText, mockSecret: Buffer.from('another') };
      const among = (mock: MockProfile) => derivations({ ...wrong, mock: () => mock });
      expect(await among({ ...scram, derives: true })).toBe(1);
      expect(await among({ ...scram, kind: 'plain', derives: true })).toBe(1);
      expect(await among({ ...scram, derives: false })).toBe(0);
    }
  });

  test('nothing is derived for somebody who has left, known or not', async () => {
    for (const secretText of [null, 'pencil']) {
      const pbkdf2 = new Pbkdf2Queue();
      const derive = vi.spyOn(pbkdf2, 'derive');
      const { exchange, final } = await challenged({ pbkdf2, secretText });
      const step = exchange.password(final);
      exchange.abandon();
      // As it is asked when the turn comes.
      expect(derive.mock.lastCall?.[3]?.()).toBe(false);
      await step;
    }
  });

  test('whoever guesses the mock secret is refused all the same', async () => {
    for (const method of methods) {
      for (const guess of [mockSecret.toString('latin1'), mockSecret.toString('hex')]) {
        expect((await logIn({ method, secretText: null }, guess)).client.kind).toBe('fail');
      }
    }
  });
});

test('logins by SCRAM against a plaintext secret derive its verifier once', async () => {
  let count = 0;
  class Counting extends Pbkdf2Queue {
    override derive(password: Buffer, salt: Buffer, iterations: number): Promise<Buffer> {
      count++;
      return super.derive(password, salt, iterations);
    }
  }
  const verifiers = new ScramVerifierCache(new Counting());
  for (let i = 0; i < 5; i++) {
    expect((await logIn({ verifiers }, 'pencil')).server).toEqual({ kind: 'ok' });
  }
  expect(count).toBe(1);
});

test('hostile bodies in any order end in a verdict, never in a throw', async () => {
  const hostile = fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    fc.string({ unit: 'binary' }).map((text) => first(`n,,${text}`)),
    fc.string().map((text) => first(`n,,n=,r=${text}`)),
    fc.string().map((text) => Buffer.from(`c=biws,r=${text},p=${Buffer.alloc(32).toString('base64')}`)),
    fc.constant(first('n,,n=,r=abc')),
  );
  const method = fc.constantFrom<ClientAuthMethod>('any', 'trust', 'plain', 'md5', 'scram-sha-256');
  const secretText = fc.constantFrom(null, '', 'pencil', PENCIL_MD5, PENCIL_SCRAM.replace('4096', '1'));
  await fc.assert(
    fc.asyncProperty(method, secretText, fc.array(hostile, { maxLength: 4 }), async (m, s, bodies) => {
      const exchange = createClientAuth(clientArgs({ method: m, secretText: s, scramIterations: 1 }));
      await exchange.start();
      for (const body of bodies) {
        const step = await exchange.password(body);
        expect(['send', 'fail']).toContain(step.kind);
        if (step.kind === 'fail') return;
      }
    }),
    { numRuns: 500 },
  );
});

test('log texts and errors never hold what was typed or stored', async () => {
  for (const method of ['plain', 'md5', 'scram-sha-256'] as const) {
    for (const secretText of ['s3cretstored', PENCIL_SCRAM, PENCIL_MD5, null]) {
      const { client } = await logIn({ method, secretText }, 's3crettyped');
      expect(JSON.stringify(client)).not.toMatch(/s3cret|ybcA72|31dcc6/);
    }
  }
});

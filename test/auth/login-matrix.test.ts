import { describe, expect, test } from 'vitest';
import { type ClientAuthMethod, createClientAuth } from '../../src/auth/client-auth.ts';
import type { LoginCredentials } from '../../src/auth/credentials.ts';
import { clientArgs, logIn, PENCIL_MD5, PENCIL_SCRAM, play, serverLogin, typed } from './peers.ts';

const secrets = { plain: 'pencil', md5: PENCIL_MD5, scram: PENCIL_SCRAM };
type Kind = keyof typeof secrets;

describe('a client with the right password', () => {
  const cases: [ClientAuthMethod, Kind, 'in' | 'refused'][] = [
    ['plain', 'plain', 'in'],
    ['plain', 'md5', 'in'],
    ['plain', 'scram', 'in'],
    ['md5', 'plain', 'in'],
    ['md5', 'md5', 'in'],
    ['md5', 'scram', 'in'],
    ['scram-sha-256', 'plain', 'in'],
    ['scram-sha-256', 'md5', 'refused'],
    ['scram-sha-256', 'scram', 'in'],
  ];
  test.each(cases)('under %s, stored as %s, is %s', async (method, kind, verdict) => {
    const { client, server } = await logIn({ method, secretText: secrets[kind] }, 'pencil');
    if (verdict === 'in') {
      expect(client.kind).toBe('ok');
      expect(server).toEqual({ kind: 'ok' });
    } else {
      expect(client).toMatchObject({ kind: 'fail', error: { message: 'SASL authentication failed' } });
    }
  });
});

describe('a client with a wrong password', () => {
  const texts = {
    plain: 'password authentication failed',
    md5: 'password authentication failed',
    'scram-sha-256': 'SASL authentication failed',
  };
  const stored = [...Object.values(secrets), '', null];
  for (const method of ['plain', 'md5', 'scram-sha-256'] as const) {
    test.each(stored)(`under ${method} is refused, whatever is stored (%s)`, async (secretText) => {
      const { client } = await logIn({ method, secretText }, 'pencil2');
      const message =
        method === 'md5' && secretText === PENCIL_SCRAM ? texts['scram-sha-256'] : texts[method];
      expect(client).toMatchObject({
        kind: 'fail',
        error: { severity: 'FATAL', sqlstate: '08P01', message },
      });
    });
  }
});

test('under plain a client that sends the stored hash itself is refused', async () => {
  for (const secretText of [PENCIL_MD5, PENCIL_SCRAM]) {
    const exchange = createClientAuth(clientArgs({ method: 'plain', secretText }));
    await exchange.start();
    expect((await exchange.password(Buffer.from(`${secretText}\0`))).kind).toBe('fail');
  }
});

test.each([
  'plain',
  'md5',
  'scram-sha-256',
] as const)('under %s a known user without a password cannot log in with an empty one', async (method) => {
  expect((await logIn({ method, secretText: '' }, '')).client.kind).toBe('fail');
});

test('md5 switches to SCRAM when a SCRAM secret is stored', async () => {
  const md5 = await logIn({ method: 'md5', secretText: PENCIL_MD5 }, 'pencil');
  const scram = await logIn({ method: 'md5', secretText: PENCIL_SCRAM }, 'pencil');
  expect(md5.trace).toEqual(['> 13', '< 41']);
  expect(scram.trace).toHaveLength(5);
});

describe('our login on a server', () => {
  const impossible = 'server login failed: wrong password type';
  const cases: [Kind, ClientAuthMethod, 'in' | 'given up'][] = [
    ['plain', 'plain', 'in'],
    ['plain', 'md5', 'in'],
    ['plain', 'scram-sha-256', 'in'],
    ['md5', 'plain', 'given up'],
    ['md5', 'md5', 'in'],
    ['md5', 'scram-sha-256', 'given up'],
    ['scram', 'plain', 'given up'],
    ['scram', 'md5', 'given up'],
    ['scram', 'scram-sha-256', 'given up'],
    ['plain', 'trust', 'in'],
    ['scram', 'trust', 'in'],
  ];
  test.each(cases)('with a %s secret, asked for %s, is %s', async (kind, method, verdict) => {
    const { server } = await logIn({ method }, secrets[kind]);
    expect(server).toEqual(verdict === 'in' ? { kind: 'ok' } : { kind: 'fail', message: impossible });
  });

  test('without any password leaves the refusal to the server, in its words', async () => {
    for (const secretText of [null, '']) {
      const { client } = await logIn({ method: 'plain' }, secretText);
      expect(client).toMatchObject({ error: { message: 'empty password returned by client' } });
      expect((await logIn({ method: 'md5' }, secretText)).client.kind).toBe('fail');
      expect((await logIn({ method: 'scram-sha-256' }, secretText)).client.kind).toBe('fail');
    }
  });

  test('under another name is refused with md5, whose hash holds the name', async () => {
    const accepting = createClientAuth(clientArgs({ method: 'md5', user: 't' }));
    const { client } = await play(accepting, serverLogin(typed('pencil'), 'u'));
    expect(client.kind).toBe('fail');
  });
});

describe('SCRAM pass-through', () => {
  async function credentialsOf(secretText: string, method: ClientAuthMethod): Promise<LoginCredentials> {
    const { client } = await logIn({ method, secretText }, 'pencil');
    if (client.kind !== 'ok') throw new Error('the client was refused');
    return client.credentials;
  }

  test.each([
    'scram-sha-256',
    'md5',
  ] as const)('a %s login against a SCRAM secret gives keys that log in where the same secret is stored', async (method) => {
    const credentials = await credentialsOf(PENCIL_SCRAM, method);
    expect(credentials.scramKeys).toMatchObject({ iterations: 4096, salt: 'ybcA72hE59q5avutIge1HQ==' });
    const overWire: LoginCredentials = JSON.parse(JSON.stringify(credentials));
    const server = createClientAuth(clientArgs({ secretText: PENCIL_SCRAM }));
    const result = await play(server, serverLogin(overWire));
    expect(result.server).toEqual({ kind: 'ok' });
  });

  test('an ad-hoc verifier gives no keys; the plaintext logs in', async () => {
    const credentials = await credentialsOf('pencil', 'scram-sha-256');
    expect(credentials).toEqual({ secretText: 'pencil', scramKeys: null });
  });

  test('a plain login gives no keys', async () => {
    expect((await credentialsOf(PENCIL_SCRAM, 'plain')).scramKeys).toBeNull();
  });

  test('keys of another secret are tried, noted, and refused by the server', async () => {
    const credentials = await credentialsOf(PENCIL_SCRAM, 'scram-sha-256');
    const notes: (string | undefined)[] = [];
    const login = serverLogin(credentials);
    const watched = {
      request: async (message: Parameters<typeof login.request>[0]) => {
        const step = await login.request(message);
        if (step.kind === 'send') notes.push(step.note);
        return step;
      },
    };
    const { client } = await play(createClientAuth(clientArgs({ secretText: 'pencil' })), watched);
    expect(client).toMatchObject({ kind: 'fail', logText: 'wrong password' });
    expect(notes).toEqual([
      undefined,
      "the client's SCRAM secret is not the server's: salt or iterations differ",
    ]);
  });

  test('keys serve where no secret text is known', async () => {
    const { scramKeys } = await credentialsOf(PENCIL_SCRAM, 'scram-sha-256');
    const server = createClientAuth(clientArgs({ secretText: PENCIL_SCRAM }));
    const result = await play(server, serverLogin({ secretText: null, scramKeys }));
    expect(result.server).toEqual({ kind: 'ok' });
  });

  test('garbled keys are a wrong password type, never a throw', async () => {
    const { scramKeys } = await credentialsOf(PENCIL_SCRAM, 'scram-sha-256');
    if (scramKeys === null) throw new Error('no keys');
    for (const clientKey of ['', 'AAAA', '*'.repeat(44)]) {
      const broken = { secretText: PENCIL_SCRAM, scramKeys: { ...scramKeys, clientKey } };
      const result = await play(createClientAuth(clientArgs({})), serverLogin(broken));
      expect(result.server).toEqual({ kind: 'fail', message: 'server login failed: wrong password type' });
    }
  });
});

describe('passwords of every kind', () => {
  test.each([
    'a',
    'x'.repeat(65530),
    'pass\u00a0word',
    '\u{1f511}\ufb01',
    "quo'te\\",
    'md5',
    ' ',
  ])('log in by every method (%#)', async (password) => {
    for (const method of ['plain', 'md5', 'scram-sha-256'] as const) {
      const { server } = await logIn({ method, secretText: password }, password);
      expect(server).toEqual({ kind: 'ok' });
    }
  });

  test('a password typed in another Unicode form logs in by SCRAM', async () => {
    expect((await logIn({ secretText: '\u00e9' }, 'e\u0301')).server).toEqual({ kind: 'ok' });
  });
});

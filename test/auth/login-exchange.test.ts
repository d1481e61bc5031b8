import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { ClientAuthStep } from '../../src/auth/client-auth.ts';
import {
  type LoginApplicant,
  LoginExchange,
  type LoginSources,
  type StoredSecret,
} from '../../src/auth/login-exchange.ts';
import type { LoginRule } from '../../src/auth/login-rule.ts';
import type { FoundSecret } from '../../src/auth/secret-lookups.ts';
import { parseLdapOptions } from '../../src/config/ldap-options.ts';
import { passwordMessage } from '../../src/wire/authentication.ts';
import { fatal } from '../../src/wire/pg-error.ts';
import { bodyOf, clientArgs } from './peers.ts';

const applicant: LoginApplicant = {
  database: 'd',
  user: 'u',
  isConsole: false,
  replication: 'none',
  ip: '127.0.0.1',
  peerUid: null,
  tls: null,
};

const rule = (method: LoginRule['method'], over: Partial<LoginRule> = {}): LoginRule => ({
  method,
  map: null,
  ldap: null,
  key: 'hba:1',
  ...over,
});

interface Facts {
  readonly rule: LoginRule | null;
  readonly stored?: StoredSecret;
  readonly refreshed?: FoundSecret;
  readonly isProven?: boolean;
  readonly ruleFor?: (user: string) => LoginRule | null;
  readonly ldapProblem?: string | null;
  /** Names in `auth_file`. */
  readonly listed?: readonly string[];
  /** Everything comes later. */
  readonly isSlow?: boolean;
}

/** A login by these facts; gives its last step as text, and what was noted. */
async function login(facts: Facts, ...passwords: string[]): Promise<[string, string[]]> {
  const notes: string[] = [];
  const later = <T>(value: T): T | Promise<T> => (facts.isSlow === true ? Promise.resolve(value) : value);
  const { method: _method, user: _user, secretText: _secret, ...args } = clientArgs({ randomBytes });
  const sources: LoginSources = {
    args,
    rule: ({ user }) => later(facts.ruleFor === undefined ? facts.rule : facts.ruleFor(user)),
    isProven: () => later(facts.isProven ?? false),
    secret: () => later(facts.stored ?? { kind: 'unknown' }),
    refresh: async () => {
      notes.push('refreshed');
      return facts.refreshed ?? { kind: 'none' };
    },
    isListed: (name) => facts.listed?.includes(name) === true,
    distrust: () => void notes.push('distrusted'),
    ldap: async (_options, user, password, isWanted) => {
      notes.push(`ldap ${user} ${password} ${isWanted()}`);
      return facts.ldapProblem ?? null;
    },
    note: (text) => void notes.push(text),
  };
  const exchange = new LoginExchange(applicant, sources);
  let step = await exchange.start();
  for (const password of passwords) step = await exchange.password(bodyOf(passwordMessage(password)));
  exchange.abandon();
  return [textOf(step), notes];
}

function textOf(step: ClientAuthStep): string {
  if (step.kind === 'fail') return step.error.message;
  return step.kind === 'ok' ? `ok ${step.user ?? 'u'} ${step.credentials.secretText}` : 'send';
}

const queried = (name: string, secret: string | null, isCached = false): StoredSecret => ({
  kind: 'queried',
  isCached,
  found: { kind: 'row', name, secret },
});
const stored = (secret: string): StoredSecret => ({ kind: 'stored', secret });
const nobody: StoredSecret = { kind: 'queried', isCached: false, found: { kind: 'none' } };
const broken: StoredSecret = {
  kind: 'queried',
  isCached: false,
  found: { kind: 'failed', error: fatal('bouncer config error') },
};

describe.each([false, true])('with answers that come later: %s', (isSlow) => {
  test.each<readonly [string, Facts, string[], string]>([
    ['no rule', { rule: null }, [], 'no authentication method is found'],
    ['reject', { rule: rule('reject'), stored: stored('x') }, [], 'login rejected'],
    ['any', { rule: rule('any') }, [], 'ok u null'],
    ['trust, known', { rule: rule('trust'), stored: stored('x') }, [], 'ok u x'],
    ['trust, unknown', { rule: rule('trust') }, [], '"trust" authentication failed'],
    ['trust, no row', { rule: rule('trust'), stored: nobody }, [], 'no such user'],
    ['trust, another name', { rule: rule('trust'), stored: queried('v', 'x') }, [], 'bouncer config error'],
    ['trust, query failed', { rule: rule('trust'), stored: broken }, [], 'bouncer config error'],
    ['cert, proven', { rule: rule('cert'), stored: stored(''), isProven: true }, [], 'ok u '],
    ['cert, not proven', { rule: rule('cert'), stored: stored('') }, [], 'certificate authentication failed'],
    ['cert, unknown', { rule: rule('cert'), isProven: true }, [], 'certificate authentication failed'],
    [
      'cert, another name',
      { rule: rule('cert'), stored: queried('v', 'x'), isProven: true },
      [],
      'bouncer config error',
    ],
    ['cert, no row', { rule: rule('cert'), stored: nobody, isProven: true }, [], 'no such user'],
    ['peer, proven', { rule: rule('peer'), stored: queried('u', 'x'), isProven: true }, [], 'ok u x'],
    ['peer, not proven', { rule: rule('peer'), stored: stored('x') }, [], 'unix socket login rejected'],
    ['peer, unknown', { rule: rule('peer'), isProven: true }, [], 'unix socket login rejected'],
    ['plain, right', { rule: rule('plain'), stored: stored('x') }, ['x'], 'ok u x'],
    ['plain, wrong', { rule: rule('plain'), stored: stored('x') }, ['y'], 'password authentication failed'],
    ['plain, unknown', { rule: rule('plain') }, ['y'], 'password authentication failed'],
    [
      'plain, NULL secret',
      { rule: rule('plain'), stored: queried('u', null) },
      ['y'],
      'password authentication failed',
    ],
    ['plain, query failed', { rule: rule('plain'), stored: broken }, [], 'bouncer config error'],
    [
      'plain, another name, for which the rule has been changed meanwhile',
      {
        rule: null,
        ruleFor: (user) => rule(user === 'u' ? 'plain' : 'reject'),
        stored: queried('v', 'x'),
      },
      ['x'],
      'login rejected',
    ],
    ['plain, another name', { rule: rule('plain'), stored: queried('v', 'x') }, ['x'], 'ok v x'],
    [
      'a second password',
      { rule: rule('plain'), stored: stored('x') },
      ['y', 'x'],
      'password authentication failed',
    ],
    ['ldap without options', { rule: rule('ldap') }, [], 'auth_ldap_options is null'],
  ])('%s', async (_what, facts, passwords, expected) => {
    expect((await login({ ...facts, isSlow }, ...passwords))[0]).toBe(expected);
  });

  test('a name that the query makes of another is let in by the same rule alone', async () => {
    const facts = { rule: null, stored: queried('v', 'x'), isSlow };
    const ruleFor = (key: string | null) => (user: string) =>
      user === 'u' ? rule('plain') : key === null ? null : rule('plain', { key });
    expect((await login({ ...facts, ruleFor: ruleFor('hba:1') }, 'x'))[0]).toBe('ok v x');
    expect((await login({ ...facts, ruleFor: ruleFor('hba:2') }, 'x'))[0]).toBe('login rejected');
    expect((await login({ ...facts, ruleFor: ruleFor(null) }, 'x'))[0]).toBe('login rejected');
  });

  test('the query makes of nobody a user of auth_file, whose own secret he has not proved', async () => {
    const facts = { rule: null, stored: queried('v', 'x'), ruleFor: () => rule('plain'), isSlow };
    expect((await login({ ...facts, listed: ['u'] }, 'x'))[0]).toBe('ok v x');
    expect((await login({ ...facts, listed: ['v'] }, 'x'))[0]).toBe('login rejected');
  });
});

describe('an answer from before', () => {
  const old = queried('u', 'old', true);
  const row = (secret: string): FoundSecret => ({ kind: 'row', name: 'u', secret });

  test('that lets in is not doubted', async () => {
    expect(await login({ rule: rule('plain'), stored: old }, 'old')).toEqual(['ok u old', []]);
  });

  test.each(['plain', 'md5'] as const)('is looked up anew when %s fails on it', async (method) => {
    const answer = method === 'plain' ? 'new' : 'whatever';
    const [text, notes] = await login({ rule: rule(method), stored: old, refreshed: row('new') }, answer);
    expect([text, notes]).toEqual([
      method === 'plain' ? 'ok u new' : 'password authentication failed',
      ['refreshed'],
    ]);
  });

  test('that there was nobody, too', async () => {
    const gone: StoredSecret = { kind: 'queried', isCached: true, found: { kind: 'none' } };
    expect((await login({ rule: rule('plain'), stored: gone, refreshed: row('new') }, 'new'))[0]).toBe(
      'ok u new',
    );
    expect((await login({ rule: rule('trust'), stored: gone, refreshed: row('new') }))[0]).toBe('ok u new');
    expect((await login({ rule: rule('trust'), stored: gone }))[0]).toBe('no such user');
    expect((await login({ rule: rule('plain'), stored: gone }, 'new'))[0]).toBe(
      'password authentication failed',
    );
  });

  test('is distrusted for the next login where SCRAM fails on it', async () => {
    const [text, notes] = await login({ rule: rule('scram-sha-256'), stored: old }, 'nonsense');
    expect([text, notes]).toEqual(['SASL authentication failed', ['distrusted']]);
  });
});

describe('ldap', () => {
  const options = parseLdapOptions(
    new Map([
      ['ldapserver', 'x'],
      ['ldapprefix', 'uid='],
    ]),
    { file: 'f', line: 1 },
  );
  const by = (facts: Partial<Facts>, ...passwords: string[]) =>
    login({ rule: rule('ldap', { ldap: options }), ...facts }, ...passwords);

  test('keeps what was typed for PostgreSQL', async () => {
    expect(await by({}, 'typed')).toEqual(['ok u typed', ['ldap u typed true']]);
  });

  test('says nothing of why', async () => {
    expect((await by({ ldapProblem: 'wrong password' }, 'typed'))[0]).toBe('LDAP authentication failed');
  });

  test('an empty password is refused without asking: servers take it for a bind as nobody', async () => {
    expect(await by({}, '')).toEqual(['empty password returned by client', []]);
  });

  test('a second password, and one that is too long, are refused', async () => {
    expect((await by({ ldapProblem: 'wrong' }, 'a', 'b'))[1]).toEqual(['ldap u a true']);
    expect((await by({}, 'x'.repeat(65_531)))[0]).toBe('password too long');
  });
});

test('an unknown user who leaves without a password is named in the log, once', async () => {
  expect(await login({ rule: rule('plain') })).toEqual(['send', ['no such user: u']]);
  expect((await login({ rule: rule('plain') }, 'x'))[1]).toEqual([]);
});

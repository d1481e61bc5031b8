import { createHash, randomBytes } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectPeer } from '../support/scripted-peer.ts';
import { errorFields, frontend, message, type ReadMessage } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { scramSecret } from '../support/scram-secret.ts';

const PASSWORD = 'right one';

/** The stored secrets of the matrix, by user. `scram` is what PostgreSQL itself stores for the password. */
let secrets: Record<'au_plain' | 'au_md5' | 'au_scram' | 'au_empty', string>;

function md5Secret(user: string, password = PASSWORD): string {
  return `md5${createHash('md5').update(`${password}${user}`).digest('hex')}`;
}

beforeAll(async () => {
  const verifier = await createRole(sharedPostgres(), {
    name: 'au_scram',
    auth: 'scram',
    password: PASSWORD,
  });
  secrets = {
    au_plain: PASSWORD,
    au_md5: md5Secret('au_md5'),
    au_scram: verifier ?? '',
    au_empty: '',
  };
});

/** Logs in with node-postgres on the database of the forced user; gives `ok` or the error's text. */
async function outcome(pooler: LocalPooler, login: pg.ClientConfig): Promise<string> {
  try {
    const client = await pooler.client({ database: 'forced', ...login });
    const { rows } = await client.query<{ user: string }>('SELECT current_user AS user');
    await client.end();
    return rows[0]?.user === pooler.postgres.user ? 'ok' : `as ${rows[0]?.user}`;
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    expect([error.severity, error.code]).toEqual(['FATAL', '08P01']);
    return error.message;
  }
}

/** What a client is asked for first. */
async function firstRequest(pooler: LocalPooler, user: string): Promise<ReadMessage> {
  const peer = await connectPeer(pooler.port);
  await peer.send(frontend.startup({ user, database: 'forced' }));
  const request = await peer.message();
  await peer.close();
  return request;
}

/** The code of an Authentication message: 3 cleartext, 5 MD5, 10 SASL. */
function askedFor({ type, body }: ReadMessage): string {
  return type === 'R' ? `R${body.readInt32BE(0)}` : type;
}

const REFUSED = 'password authentication failed';
const SASL_REFUSED = 'SASL authentication failed';

describe.each([
  {
    method: 'plain',
    refused: REFUSED,
    asked: { au_plain: 'R3', au_md5: 'R3', au_scram: 'R3', au_empty: 'R3', au_nobody: 'R3' },
    accepted: ['au_plain', 'au_md5', 'au_scram'],
  },
  {
    method: 'md5',
    refused: REFUSED,
    // A SCRAM secret can only be proved by SCRAM; for everyone else it stays MD5.
    asked: { au_plain: 'R5', au_md5: 'R5', au_scram: 'R10', au_empty: 'R5', au_nobody: 'R5' },
    accepted: ['au_plain', 'au_md5', 'au_scram'],
  },
  {
    method: 'scram-sha-256',
    refused: SASL_REFUSED,
    asked: { au_plain: 'R10', au_md5: 'R10', au_scram: 'R10', au_empty: 'R10', au_nobody: 'R10' },
    accepted: ['au_plain', 'au_scram'],
  },
])('auth_type $method', ({ method, refused, asked, accepted }) => {
  let pooler: LocalPooler;

  beforeAll(async () => {
    pooler = await startPooler({
      settings: { auth_type: method },
      databases: { forced: `dbname=postgres user=${sharedPostgres().user}` },
      userlist: secrets,
    });
  });

  afterAll(() => pooler[Symbol.asyncDispose]());

  /** What a user who fails is told: one whose secret made the login switch to SCRAM hears of SASL. */
  const refusalOf = (user: string): string =>
    user === 'au_scram' && method === 'md5' ? SASL_REFUSED : refused;

  test.each(Object.entries(asked))('asks %s by %s', async (user, code) => {
    expect(askedFor(await firstRequest(pooler, user))).toBe(code);
  });

  test.each([
    'au_plain',
    'au_md5',
    'au_scram',
  ])('%s gets in with the right password, if at all', async (user) => {
    expect(await outcome(pooler, { user, password: PASSWORD })).toBe(
      accepted.includes(user) ? 'ok' : refused,
    );
    // Once more, now that what was derived from the secret may be kept.
    expect(await outcome(pooler, { user, password: PASSWORD })).toBe(
      accepted.includes(user) ? 'ok' : refused,
    );
  });

  test.each([
    'au_plain',
    'au_md5',
    'au_scram',
    'au_empty',
    'au_nobody',
  ])('%s is refused with a wrong password', async (user) => {
    expect(await outcome(pooler, { user, password: 'wrong one' })).toBe(refusalOf(user));
  });

  test('a database that does not exist is told only to those who proved who they are', async () => {
    for (const user of ['au_plain', 'au_scram']) {
      const database = 'au_nowhere';
      expect(await outcome(pooler, { user, password: PASSWORD, database })).toBe(
        'no such database: au_nowhere',
      );
      expect(await outcome(pooler, { user, password: 'wrong one', database })).toBe(refusalOf(user));
    }
    const user = 'au_nobody';
    expect(await outcome(pooler, { user, password: PASSWORD, database: 'au_nowhere' })).toBe(refused);
  });

  test('the log names unknown users, the client does not learn of them', async () => {
    await outcome(pooler, { user: 'au_nobody', password: 'wrong one' });
    const own = pooler.lines.filter((line) => line.includes('forced/au_nobody@'));
    expect(own.some((line) => line.endsWith('no such user: au_nobody'))).toBe(true);
    expect(own.some((line) => line.endsWith('login failed: db=forced user=au_nobody'))).toBe(true);
  });
});

describe('auth_type plain', () => {
  const longest = 'x'.repeat(65_530);
  let pooler: LocalPooler;

  beforeAll(async () => {
    pooler = await startPooler({
      settings: { auth_type: 'plain' },
      databases: { forced: `dbname=postgres user=${sharedPostgres().user}` },
      userlist: { au_plain: PASSWORD, au_long: longest, au_empty: '' },
    });
  });

  afterAll(() => pooler[Symbol.asyncDispose]());

  test.each(['au_plain', 'au_empty', 'au_nobody'])('%s is told about an empty password', async (user) => {
    expect(await outcome(pooler, { user, password: '' })).toBe('empty password returned by client');
  });

  test('passwords of up to 65530 bytes are taken, one more is too many', async () => {
    expect(await outcome(pooler, { user: 'au_long', password: longest })).toBe('ok');
    expect(await outcome(pooler, { user: 'au_long', password: `${longest.slice(1)}y` })).toBe(REFUSED);
    expect(await outcome(pooler, { user: 'au_long', password: `${longest}x` })).toBe('password too long');
  });

  test('a user name of 127 bytes is looked up, a longer one is refused as such', async () => {
    expect(await outcome(pooler, { user: 'u'.repeat(127), password: 'x' })).toBe(REFUSED);
    expect(await outcome(pooler, { user: 'u'.repeat(128), password: 'x' })).toBe('username too long');
  });
});

test('auth_type scram-sha-256 refuses other mechanisms, and takes the longest password', async () => {
  const longest = 'x'.repeat(65_530);
  await using pooler = await startPooler({
    settings: { auth_type: 'scram-sha-256' },
    databases: { forced: `dbname=postgres user=${sharedPostgres().user}` },
    userlist: { au_long: longest },
  });
  expect(await outcome(pooler, { user: 'au_long', password: longest })).toBe('ok');
  const peer = await connectPeer(pooler.port);
  await peer.send(frontend.startup({ user: 'au_long', database: 'forced' }));
  const offer = await peer.message('R');
  expect(offer.body.subarray(4).toString()).toBe('SCRAM-SHA-256\0\0');
  await peer.send(message('p', 'SCRAM-SHA-256-PLUS', Buffer.from('\0\0\0\x01x')));
  const refusal = await peer.message('E');
  expect(errorFields(refusal.body)).toMatchObject({
    S: 'FATAL',
    C: '08P01',
    M: 'client selected an invalid SASL authentication mechanism',
  });
  expect((await peer.end()).length).toBe(0);
  await peer.close();
});

test('auth_type trust asks nothing of those it knows and refuses the others', async () => {
  await using pooler = await startPooler({
    databases: { forced: `dbname=postgres user=${sharedPostgres().user}` },
    users: { au_listed: 'pool_mode=session' },
    userlist: secrets,
  });
  for (const user of ['au_plain', 'au_md5', 'au_scram', 'au_empty', 'au_listed']) {
    expect(await outcome(pooler, { user })).toBe('ok');
  }
  expect(await outcome(pooler, { user: 'au_nobody' })).toBe('"trust" authentication failed');
  expect(await outcome(pooler, { user: 'au_plain', database: 'au_nowhere' })).toBe(
    'no such database: au_nowhere',
  );
  expect(await outcome(pooler, { user: 'au_nobody', database: 'au_nowhere' })).toBe(
    '"trust" authentication failed',
  );
});

test('auth_type any lets everyone in where a user is forced, and nowhere else', async () => {
  await using pooler = await startPooler({
    settings: { auth_type: 'any' },
    databases: {
      forced: `dbname=postgres user=${sharedPostgres().user} password=${sharedPostgres().password}`,
      free: 'dbname=postgres',
    },
  });
  expect(await outcome(pooler, { user: 'au_whoever' })).toBe('ok');
  expect(await outcome(pooler, { user: 'au_whoever', database: 'free' })).toBe('bouncer config error');
  expect(await outcome(pooler, { user: 'au_whoever', database: 'au_nowhere' })).toBe(
    'no such database: au_nowhere',
  );
  expect(pooler.lines.some((line) => line.endsWith('auth_type=any requires forced user'))).toBe(true);
});

test('with auth_type any a client counts, is shown and logged as the forced user, whatever it says', async () => {
  const { user, password } = sharedPostgres();
  await using pooler = await startPooler({
    settings: { auth_type: 'any' },
    databases: { forced: `dbname=postgres user=${user} password=${password}` },
    users: { [user]: 'max_user_client_connections=1' },
  });
  const client = await pooler.client({ user: 'au_one', database: 'forced' });
  expect(await outcome(pooler, { user: 'au_two' })).toBe(
    'client connections exceeded (max_user_client_connections)',
  );
  const clients = await pooler.show('SHOW CLIENTS');
  expect(clients.filter(({ database }) => database === 'forced').map((row) => row['user'])).toEqual([user]);
  expect(pooler.lines.join()).toContain(`login attempt: db=forced user=${user} `);
  expect(pooler.lines.join()).not.toContain('au_one');
  await client.end();
});

test('a database that PostgreSQL does not have is refused with its own words and SQLSTATE', async () => {
  await using pooler = await startPooler();
  await expect(pooler.client({ database: 'au_nowhere' })).rejects.toMatchObject({
    severity: 'FATAL',
    code: '3D000',
    message: 'database "au_nowhere" does not exist',
  });
  expect(pooler.lines).toContain('LOG registered new auto-database: au_nowhere');
});

test('only logins that succeed are counted', async () => {
  await using pooler = await startPooler({
    settings: { auth_type: 'plain' },
    databases: { forced: `dbname=postgres user=${sharedPostgres().user}` },
    userlist: secrets,
  });
  for (const password of [PASSWORD, 'wrong one', PASSWORD, '', PASSWORD]) {
    await outcome(pooler, { user: 'au_plain', password });
  }
  const stats = await pooler.show('SHOW STATS');
  expect(stats.find(({ database }) => database === 'forced')?.['total_client_login_count']).toBe('3');
});

test.each([
  'scram-sha-256',
  'md5',
])('trap: a SCRAM salt of 28 bytes, not 16, in a stored secret lets its user in by auth_type %s', async (method) => {
  const user = 'au_salt';
  await using pooler = await startPooler({
    settings: { auth_type: method },
    databases: { forced: `dbname=postgres user=${sharedPostgres().user}` },
    userlist: { [user]: scramSecret(PASSWORD, 4096, randomBytes(28)) },
  });
  expect(await outcome(pooler, { user, password: PASSWORD })).toBe('ok');
  expect(await outcome(pooler, { user, password: 'wrong one' })).toBe(SASL_REFUSED);
});

import { createHash, randomBytes } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createRole, type RoleAuth } from '../support/roles.ts';
import { scramSecret } from '../support/scram-secret.ts';
import { waitFor } from '../support/wait-for.ts';

const PASSWORD = 'right one';
const KINDS = ['trust', 'password', 'md5', 'scram'] as const satisfies RoleAuth[];
const STORED = ['plain', 'md5', 'scram'] as const;

type Stored = (typeof STORED)[number];

/** A role per kind of server login and kind of stored secret. */
function roleName(kind: RoleAuth, stored: Stored): string {
  return `sa_${kind}_${stored}`;
}

const userlist: Record<string, string> = {};

beforeAll(async () => {
  const address = sharedPostgres();
  const other = await createRole(address, { name: 'sa_other', auth: 'scram', password: PASSWORD });
  for (const kind of KINDS) {
    for (const stored of STORED) {
      const name = roleName(kind, stored);
      const verifier = await createRole(address, { name, auth: kind, password: PASSWORD });
      const md5 = `md5${createHash('md5').update(`${PASSWORD}${name}`).digest('hex')}`;
      // Where PostgreSQL stores MD5 there is no verifier of the role's own to copy.
      const scram = kind === 'md5' ? other : verifier;
      userlist[name] = { plain: PASSWORD, md5, scram: scram ?? '' }[stored];
    }
  }
});

/** Logs in and asks who it is; gives `ok`, or SQLSTATE and text of the error. */
async function outcome(pooler: LocalPooler, login: pg.ClientConfig): Promise<string> {
  try {
    const client = await pooler.client({ password: PASSWORD, ...login });
    const { rows } = await client.query<{ user: string }>('SELECT current_user AS user');
    await client.end();
    return rows[0]?.user === login.user ? 'ok' : `as ${rows[0]?.user}`;
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    return `${error.severity} ${error.code} ${error.message}`;
  }
}

/** The process behind the next server connection of this login. */
async function backendPid(pooler: LocalPooler, login: pg.ClientConfig): Promise<number> {
  const client = await pooler.client({ password: PASSWORD, ...login });
  try {
    return (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid ?? 0;
  } finally {
    await client.end();
  }
}

const WRONG_TYPE = 'FATAL 08P01 server login failed: wrong password type';

describe('the server login of a client that proved nothing to us', () => {
  let pooler: LocalPooler;

  beforeAll(async () => {
    pooler = await startPooler({ userlist });
  });

  afterAll(() => pooler[Symbol.asyncDispose]());

  /** PostgreSQL's own words, passed on as they are. */
  const refusedBy = (name: string) => `FATAL 28P01 password authentication failed for user "${name}"`;

  test.each<[RoleAuth, Stored, string | null]>([
    ['trust', 'plain', null],
    ['trust', 'md5', null],
    ['trust', 'scram', null],
    ['password', 'plain', null],
    ['password', 'md5', WRONG_TYPE],
    ['password', 'scram', WRONG_TYPE],
    ['md5', 'plain', null],
    ['md5', 'md5', null],
    ['md5', 'scram', WRONG_TYPE],
    ['scram', 'plain', null],
    ['scram', 'md5', WRONG_TYPE],
    ['scram', 'scram', WRONG_TYPE],
  ])('PostgreSQL asks by %s, stored is a %s secret', async (kind, stored, error) => {
    expect(await outcome(pooler, { user: roleName(kind, stored) })).toBe(error ?? 'ok');
  });

  test('a password that the entry names beats the one in auth_file', async () => {
    await using other = await startPooler({
      databases: { forced: `dbname=postgres user=${roleName('scram', 'md5')} password='${PASSWORD}'` },
      userlist,
    });
    const client = await other.client({ database: 'forced', user: roleName('scram', 'plain') });
    const { rows } = await client.query('SELECT current_user AS user');
    expect(rows).toEqual([{ user: roleName('scram', 'md5') }]);
    await client.end();
  });

  test('a wrong password is reported in PostgreSQL’s own words to everyone who waits', async () => {
    const user = roleName('scram', 'plain');
    await using other = await startPooler({ userlist: { [user]: 'wrong one' } });
    const outcomes = await Promise.all([1, 2, 3].map(() => outcome(other, { user })));
    expect(outcomes).toEqual(Array(3).fill(refusedBy(user)));
  });
});

describe('SCRAM pass-through', () => {
  const user = roleName('scram', 'scram');

  test.each(['scram-sha-256', 'md5'])('works after a client login by %s', async (method) => {
    await using pooler = await startPooler({ settings: { auth_type: method }, userlist });
    expect(await outcome(pooler, { user })).toBe('ok');
  });

  test('survives RECONNECT and the end of all server connections', async () => {
    await using pooler = await startPooler({ settings: { auth_type: 'scram-sha-256' }, userlist });
    const first = await backendPid(pooler, { user });
    await pooler.show('RECONNECT');
    const second = await backendPid(pooler, { user });
    expect(second).not.toBe(first);
    await withClient(sharedPostgres(), (client) => client.query('SELECT pg_terminate_backend($1)', [second]));
    await waitFor(async () => (await pooler.show('SHOW SERVERS')).length === 0);
    expect(await backendPid(pooler, { user })).not.toBe(second);
  });

  test('needs the very secret that PostgreSQL has', async () => {
    // The same password under another salt: the client gets in, we do not.
    const secret = userlist[roleName('password', 'scram')] ?? '';
    await using pooler = await startPooler({
      settings: { auth_type: 'scram-sha-256' },
      userlist: { [user]: secret },
    });
    expect(await outcome(pooler, { user })).toBe(
      `FATAL 28P01 password authentication failed for user "${user}"`,
    );
    const note = "the client's SCRAM secret is not the server's: salt or iterations differ";
    expect(pooler.lines.some((line) => line.endsWith(note))).toBe(true);
  });

  test('does not reach to a forced user, whose stored secret is of no use', async () => {
    await using pooler = await startPooler({
      settings: { auth_type: 'scram-sha-256' },
      databases: { forced: `dbname=postgres user=${user}` },
      userlist,
    });
    expect(await outcome(pooler, { user, database: 'forced' })).toBe(WRONG_TYPE);
  });

  test('does not help a client that proved itself by a password in the clear', async () => {
    await using pooler = await startPooler({ settings: { auth_type: 'plain' }, userlist });
    expect(await outcome(pooler, { user })).toBe(WRONG_TYPE);
  });

  test('an MD5 secret stays good for servers that ask by MD5', async () => {
    await using pooler = await startPooler({ settings: { auth_type: 'md5' }, userlist });
    expect(await outcome(pooler, { user: roleName('md5', 'md5') })).toBe('ok');
  });
});

test('a very long password reaches a server that asks for it, however it asks', async () => {
  // Longer than a read of the server's, and than PgBouncer's former limit.
  const password = 'long'.repeat(5000);
  const address = sharedPostgres();
  const names = ['password', 'scram'] as const;
  for (const auth of names) await createRole(address, { name: `sa_long_${auth}`, auth, password });
  await using pooler = await startPooler({
    settings: { auth_type: 'scram-sha-256' },
    userlist: { sa_long_password: password, sa_long_scram: password },
  });
  for (const auth of names) {
    expect(await outcome(pooler, { user: `sa_long_${auth}`, password })).toBe('ok');
  }
});

test('trap: VALID UNTIL is not ignored: an expired password that is in the list lets nobody in', async () => {
  const name = 'sa_expired';
  const options = "VALID UNTIL '2000-01-01'";
  await createRole(sharedPostgres(), { name, auth: 'scram', password: PASSWORD, options });
  const settings = { server_login_retry: 1 };
  await using pooler = await startPooler({ settings, userlist: { [name]: PASSWORD } });
  expect(await outcome(pooler, { user: name })).toBe(
    `FATAL 28P01 password authentication failed for user "${name}"`,
  );
  await withClient(sharedPostgres(), (client) => client.query(`ALTER ROLE ${name} VALID UNTIL 'infinity'`));
  await waitFor(async () => (await outcome(pooler, { user: name })) === 'ok');
});

test('trap: a SCRAM salt of 28 bytes, not 16 (Cloud SQL), on the server: password and pass-through log in', async () => {
  const name = 'sa_salt';
  const verifier = scramSecret(PASSWORD, 4096, randomBytes(28));
  // PostgreSQL takes it as it is.
  expect(await createRole(sharedPostgres(), { name, auth: 'scram', password: verifier })).toBe(verifier);
  for (const [auth_type, stored] of [
    ['trust', PASSWORD],
    ['scram-sha-256', verifier],
  ] as const) {
    await using pooler = await startPooler({ settings: { auth_type }, userlist: { [name]: stored } });
    expect(await outcome(pooler, { user: name })).toBe('ok');
  }
  await using pooler = await startPooler({ userlist: { [name]: 'wrong one' } });
  expect(await outcome(pooler, { user: name })).toBe(
    `FATAL 28P01 password authentication failed for user "${name}"`,
  );
});

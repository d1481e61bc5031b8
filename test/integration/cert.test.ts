import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type LocalPooler, startPooler, type TestPoolerOptions } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { Psql } from '../support/psql.ts';
import { createRole } from '../support/roles.ts';
import { type IdentityFiles, TlsFolder } from '../support/tls.ts';
import { goByRules } from '../support/hba-rules.ts';

const files = new TlsFolder();
afterAll(() => files[Symbol.dispose]());
const server = files.identity('server', { commonName: 'localhost', altNames: ['localhost'] });
const psql = Psql.find();
const REFUSED = 'certificate authentication failed';

beforeAll(async () => {
  for (const name of ['ct_user', 'ct_other']) await createRole(sharedPostgres(), { name, auth: 'trust' });
  await createRole(sharedPostgres(), { name: 'ct_looker', auth: 'trust', options: 'SUPERUSER' });
});

const tls = {
  client_tls_sslmode: 'verify-full',
  client_tls_key_file: server.keyFile,
  client_tls_cert_file: server.certFile,
  client_tls_ca_file: files.caFile,
};

function start(options: TestPoolerOptions = {}): Promise<LocalPooler> {
  return startPooler({
    ...options,
    settings: { auth_type: 'cert', ...tls, ...options.settings },
    userlist: { ct_user: '', ct_other: '', ...options.userlist },
  });
}

async function login(pooler: LocalPooler, by: IdentityFiles | null, user = 'ct_user'): Promise<string> {
  const ssl = {
    ca: files.authority.certPem,
    servername: 'localhost',
    ...(by === null ? {} : { cert: by.certPem, key: by.keyPem }),
  };
  try {
    const client = await pooler.client({ user, ssl });
    const { rows } = await client.query<{ user: string }>('SELECT current_user AS user');
    await client.end();
    return rows[0]?.user ?? 'nobody';
  } catch (error) {
    return (error as Error).message;
  }
}

describe('auth_type = cert', () => {
  test.each([
    ['its common name', { commonName: 'ct_user' }, 'ct_user'],
    ['an alternative name', { commonName: 'somebody', altNames: ['other', 'ct_user'] }, 'ct_user'],
    ['its common name beside alternative ones', { commonName: 'ct_user', altNames: ['other'] }, 'ct_user'],
    ['another name', { commonName: 'ct_other' }, REFUSED],
    ['a wildcard', { commonName: '*', altNames: ['*.ct_user', '*'] }, REFUSED],
    ['a name that begins alike', { commonName: 'ct_user.example.org' }, REFUSED],
    ['no name', {}, REFUSED],
    ['two common names', { commonName: ['ct_other', 'ct_user'] }, REFUSED],
  ])('%s', async (_what, options, expected) => {
    await using pooler = await start();
    expect(await login(pooler, files.identity('one', options))).toBe(expected);
  });

  test('the user has to be one, in auth_file or by auth_query', async () => {
    const certificate = files.identity('nobody', { commonName: 'ct_nobody' });
    const user = files.identity('user', { commonName: 'ct_user' });
    await using pooler = await start();
    expect(await login(pooler, certificate, 'ct_nobody')).toBe(REFUSED);
    await using queried = await startPooler({
      settings: { auth_type: 'cert', ...tls, auth_user: 'ct_looker' },
      userlist: { ct_looker: '' },
      databases: { postgres: '' },
    });
    expect(await login(queried, certificate, 'ct_nobody')).toBe('no such user');
    expect(await login(queried, user)).toBe('ct_user');
    // What is proved is the name that was given, not what a query makes of it.
    queried.reload({ settings: { auth_query: "SELECT 'ct_other', 'x' WHERE $1 <> ''" } });
    expect(await login(queried, user)).toBe('bouncer config error');
  });

  test('needs client certificates to be asked for', async () => {
    await expect(start({ settings: { client_tls_sslmode: 'require' } })).rejects.toThrow(
      'auth_type: expected client_tls_sslmode = verify-full',
    );
  });

  test('psql logs in by it', async ({ skip }) => {
    if (psql === null) return skip('psql is not installed');
    await using pooler = await start();
    const user = files.identity('psql', { commonName: 'ct_user' });
    const where = {
      host: 'localhost',
      port: pooler.port,
      dbname: 'postgres',
      sslmode: 'verify-full',
      sslrootcert: files.caFile,
      sslcert: user.certFile,
      sslkey: user.keyFile,
    };
    const good = await psql.start({ ...where, user: 'ct_user' }, 'SELECT current_user').end;
    expect([good.code, good.stdout.trim()]).toEqual([0, 'ct_user']);
    const bad = await psql.start({ ...where, user: 'ct_other' }, 'SELECT 1').end;
    expect(bad.stderr).toContain(`FATAL:  ${REFUSED}`);
  });
});

describe('rules', () => {
  async function byRules(hba: string, ident: string, mode = 'verify-full'): Promise<LocalPooler> {
    const pooler = await start({ settings: { client_tls_sslmode: mode, auth_type: 'trust' } });
    await goByRules(pooler, hba, ident);
    return pooler;
  }

  test('with a map of names and expressions', async () => {
    await using pooler = await byRules(
      'hostssl all all all cert map=m',
      'm /^(.*)@example\\.org$ ct_\\1\nm boss all\nm wrong nobody\n',
    );
    const by = (commonName: string) => files.identity('mapped', { commonName });
    expect(await login(pooler, by('user@example.org'))).toBe('ct_user');
    expect(await login(pooler, by('user@example.org'), 'ct_other')).toBe(REFUSED);
    expect(await login(pooler, by('user@example.org.evil'))).toBe(REFUSED);
    expect(await login(pooler, by('boss'), 'ct_other')).toBe('ct_other');
    expect(await login(pooler, by('wrong'))).toBe(REFUSED);
    // Under a map a name is not its own any more.
    expect(await login(pooler, by('ct_user'))).toBe(REFUSED);
  });

  test('hostssl and hostnossl go by the connection', async () => {
    await using pooler = await byRules('hostssl all all all cert\nhostnossl all all all reject', '', 'allow');
    const certificate = files.identity('ct', { commonName: 'ct_user' });
    expect(await login(pooler, certificate)).toBe('ct_user');
    expect(await login(pooler, null)).toBe(REFUSED);
    await expect(pooler.client({ user: 'ct_user' })).rejects.toThrow(pg.DatabaseError);
    await expect(pooler.client({ user: 'ct_user' })).rejects.toThrow('login rejected');
  });
});

import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { Psql } from '../support/psql.ts';
import { createRole } from '../support/roles.ts';
import { TlsFolder } from '../support/tls.ts';

/** Every method × kind of secret × place where it is kept, in the clear and by TLS, with psql and with node-postgres. */
const METHODS = ['plain', 'md5', 'scram-sha-256'] as const;
const KINDS = ['plain', 'md5', 'scram'] as const;
const PLACES = ['auth_file', 'auth_query', 'auth_file by HBA'] as const;
const files = new TlsFolder();
afterAll(() => files[Symbol.dispose]());
const server = files.identity('server', { commonName: 'localhost', altNames: ['localhost'] });
const PASSWORD = 'lc right one';
const LOOKER = 'lc_looker';
const psql = Psql.find();

const secrets = new Map<string, string>();

beforeAll(async () => {
  const postgres = sharedPostgres();
  await createRole(postgres, { name: LOOKER, auth: 'trust', options: 'SUPERUSER' });
  for (const kind of KINDS) {
    const name = `lc_${kind}`;
    const verifier = await createRole(postgres, { name, auth: 'scram', password: PASSWORD });
    const md5 = `md5${createHash('md5').update(`${PASSWORD}${name}`).digest('hex')}`;
    secrets.set(name, kind === 'plain' ? PASSWORD : kind === 'md5' ? md5 : (verifier ?? ''));
  }
});

/** SQL that gives the secrets as `auth_file` would. */
function query(): string {
  const rows = [...secrets].map(([name, secret]) => `('${name}', '${secret}')`).join(', ');
  return `SELECT * FROM (VALUES ${rows}) t(name, secret) WHERE name = $1`;
}

async function start(method: string, place: (typeof PLACES)[number], isTls: boolean): Promise<LocalPooler> {
  const tls = isTls
    ? {
        client_tls_sslmode: 'require',
        client_tls_key_file: server.keyFile,
        client_tls_cert_file: server.certFile,
      }
    : {};
  const isQueried = place === 'auth_query';
  const pooler = await startPooler({
    // What is tried is the way in: on the server everybody is the same.
    databases: { postgres: `user=${LOOKER}` },
    userlist: isQueried ? { [LOOKER]: '' } : { ...Object.fromEntries(secrets), [LOOKER]: '' },
    settings: { ...tls, auth_type: method, ...(isQueried ? { auth_user: LOOKER, auth_query: query() } : {}) },
  });
  if (place === 'auth_file by HBA') {
    const path = join(pooler.folder, 'hba');
    const name = method === 'plain' ? 'password' : method;
    writeFileSync(
      path,
      `local all all reject\n${isTls ? 'hostssl' : 'hostnossl'} all "lc_none" all trust\n${isTls ? 'hostssl' : 'hostnossl'} all all 127.0.0.0/8 ${name}\n`,
    );
    pooler.reload({ settings: { auth_type: 'hba', auth_hba_file: path } });
  }
  return pooler;
}

async function byPg(pooler: LocalPooler, isTls: boolean, user: string, password: string): Promise<string> {
  try {
    const client = await pooler.client({
      user,
      password,
      ...(isTls ? { ssl: { ca: files.authority.certPem, servername: 'localhost' } } : {}),
    });
    const { rows } = await client.query<{ one: number }>('SELECT 1 AS one');
    await client.end();
    return `ok ${rows[0]?.one}`;
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    return error.message;
  }
}

async function byPsql(pooler: LocalPooler, isTls: boolean, user: string, password: string): Promise<string> {
  if (psql === null) throw new Error('psql is not there');
  const where = {
    host: '127.0.0.1',
    port: pooler.port,
    user,
    password,
    dbname: 'postgres',
    sslmode: isTls ? 'require' : 'disable',
  };
  const { code, stdout, stderr } = await psql.start(where, 'SELECT 1').end;
  return code === 0 ? `ok ${stdout.trim()}` : (/FATAL: {2}(.*)/.exec(stderr)?.[1] ?? stderr);
}

describe.each(
  METHODS.flatMap((method) =>
    PLACES.flatMap((place) => [false, true].map((isTls) => ({ method, place, isTls }))),
  ),
)('$method, secrets in $place, TLS: $isTls', ({ method, place, isTls }) => {
  let pooler: LocalPooler;
  beforeAll(async () => {
    pooler = await start(method, place, isTls);
  });
  afterAll(() => pooler[Symbol.asyncDispose]());

  const refusalFor = (kind: string) =>
    method === 'scram-sha-256' || (method === 'md5' && kind === 'scram')
      ? 'SASL authentication failed'
      : 'password authentication failed';

  test.each(KINDS)('a %s secret lets in whoever knows the password, and nobody else', async (kind) => {
    const user = `lc_${kind}`;
    // From an MD5 hash no SCRAM exchange can be made.
    const good = method === 'scram-sha-256' && kind === 'md5' ? refusalFor(kind) : 'ok 1';
    expect(await byPg(pooler, isTls, user, PASSWORD)).toBe(good);
    expect(await byPg(pooler, isTls, user, 'wrong')).toBe(refusalFor(kind));
    if (psql === null) return;
    expect(await byPsql(pooler, isTls, user, PASSWORD)).toBe(good);
    expect(await byPsql(pooler, isTls, user, 'wrong')).toBe(refusalFor(kind));
  });
});

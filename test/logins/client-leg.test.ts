import { randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeCertificate } from '../support/certificates.ts';
import { LdapServer, noLdapReason } from '../support/ldap-server.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { Psql } from '../support/psql.ts';
import { Random } from '../support/random.ts';
import { createRole } from '../support/roles.ts';
import { type IdentityFiles, TlsFolder } from '../support/tls.ts';
import { allClientCases, type ClientPlan, type PlannedCase, slug, userOf } from './client-cases.ts';
import { exchangeOf, expectedOf, type Method, type Stored } from './client-table.ts';
import { byPg, byPsql, NOT_TRIED, type Outcome } from './clients.ts';
import {
  covering,
  differenceOf,
  eachOf,
  MORE,
  md5Secret,
  PART,
  PLAN_TIMEOUT_MS,
  scramSecret,
} from './matrix.ts';

/**
 * Each way for a client to log in × what is stored of it × what it gives × TLS on either side × what it asks of TLS, with
 * node-postgres and psql, against the tables of client-table.ts. On the server everybody is the same.
 */
const PASSWORD = 'lm right one';
const OWN = userInfo().username;
const FILLERS = 300;

const seed = Number(process.env['PGWEIR_TEST_SEED'] ?? randomInt(2 ** 31));
const random = new Random(seed);
const psqls = { 'psql 18': Psql.find(), psql: Psql.findInstalled() };
const ldapReason = noLdapReason();
if (ldapReason !== null) console.log(`the matrix of logins has no LDAP: ${ldapReason}`);

const files = new TlsFolder();
const server = files.identity('server', { commonName: 'localhost', altNames: ['localhost'] });
const otherAuthority = makeCertificate({ commonName: 'Another authority', isCa: true });
const otherCaFile = files.write('other-ca.pem', otherAuthority.certPem);
const identities = new Map<string, IdentityFiles>();
let ldap: LdapServer | null = null;
const tried = { pg: 0, 'psql 18': 0, psql: 0 };
const ended = { in: 0, refused: 0, gone: 0 };

const product = allClientCases({
  hasLdap: ldapReason === null,
  clients: ['pg', ...(['psql 18', 'psql'] as const).filter((name) => psqls[name] !== null)],
});
const chosen = new Map<ClientPlan, PlannedCase[]>();
for (const planned of covering(product, MORE, random)) {
  const of = chosen.get(planned.plan) ?? [];
  of.push(planned);
  chosen.set(planned.plan, of);
}

beforeAll(async () => {
  const postgres = sharedPostgres();
  await createRole(postgres, { name: 'lm_one', auth: 'trust', options: 'SUPERUSER' });
  const rows = (['plain', 'md5', 'scram', 'empty'] as const).map((stored) => {
    const secret = secretOf(userOf('auth_query', stored), stored);
    return `('${userOf('auth_query', stored)}', ${secret === '' ? 'NULL' : `'${secret}'`})`;
  });
  await withClient(postgres, (client) =>
    client.query(`CREATE TABLE lm_secrets AS SELECT * FROM (VALUES ${rows.join(', ')}) t(name, secret)`),
  );
  if (ldapReason === null) ldap = await LdapServer.start();
});
afterAll(async () => {
  files[Symbol.dispose]();
  await ldap?.[Symbol.asyncDispose]();
  const total = tried.pg + tried['psql 18'] + tried.psql;
  console.log(
    `logins of clients: ${total} of ${product.cases.length} combinations (${tried.pg} with pg, ${tried['psql 18']} with psql` +
      ` and libpq 18, ${tried.psql} with psql as installed): ${ended.in} let in, ${ended.refused} refused, ${ended.gone}` +
      ` given up by the client; PGWEIR_TEST_SEED=${seed}\n${NOT_TRIED.map((what) => `not with ${what}\n`).join('')}`,
  );
});

function secretOf(user: string, stored: Stored): string {
  if (stored === 'plain') return PASSWORD;
  if (stored === 'md5') return md5Secret(PASSWORD, user);
  return stored === 'scram' ? scramSecret(PASSWORD) : '';
}

/** The pooler of a plan. */
async function start(plan: ClientPlan): Promise<LocalPooler> {
  const { tls, authType, methods, fashion } = plan;
  const names = methods.map(slug);
  const entries = names.flatMap((name) => [
    [`${name}.file`, 'user=lm_one dbname=postgres'],
    [`${name}.query`, 'user=lm_one dbname=postgres auth_user=lm_one'],
    [`${name}.unforced`, 'dbname=postgres'],
  ]);
  const known = (['plain', 'md5', 'scram', 'empty'] as const).map((stored) => {
    const name = userOf('auth_file', stored);
    return [name, secretOf(name, stored)];
  });
  const fillers = Array.from({ length: FILLERS }, (_, i) => {
    return [`lm_filler_${i}`, secretOf(`lm_filler_${i}`, fashion)];
  });
  const at = `ldapserver=127.0.0.1 ldapport=${ldap?.port} ldapprefix="uid=" ldapsuffix=",ou=people,dc=example,dc=org"`;
  const settings = {
    client_tls_sslmode: tls.mode,
    ...(tls.mode === 'disable'
      ? {}
      : { client_tls_cert_file: server.certFile, client_tls_key_file: server.keyFile }),
    ...(tls.hasCa ? { client_tls_ca_file: files.caFile } : {}),
    ...(authType === 'ldap' ? { auth_ldap_options: at } : {}),
    auth_query: 'SELECT name, secret FROM lm_secrets WHERE name = $1',
    pool_mode: 'transaction',
    max_client_conn: 1000,
  };
  const pooler = await startPooler({
    settings: { ...settings, auth_type: authType === 'hba' ? 'trust' : authType },
    databases: Object.fromEntries(entries),
    userlist: Object.fromEntries([...fillers, ...known, ['lm_one', ''], [OWN, '']]),
  });
  if (authType === 'hba') {
    writeFileSync(join(pooler.folder, 'hba'), methods.flatMap((method) => linesOf(method, at)).join('\n'));
    writeFileSync(join(pooler.folder, 'ident'), `m lm_boss all\nm ${OWN} all\n`);
    await pooler.reload({
      settings: {
        auth_type: 'hba',
        auth_hba_file: join(pooler.folder, 'hba'),
        auth_ident_file: join(pooler.folder, 'ident'),
      },
    });
  }
  return pooler;
}

/** HBA lines for the databases of a method. */
function linesOf(method: Method, ldapOptions: string): string[] {
  const name = slug(method);
  const databases = `${name}.file,${name}.query,${name}.nowhere`;
  switch (method) {
    case 'none':
      return [];
    case 'peer':
      return [`local ${databases} all peer`];
    case 'peer map':
      return [`local ${databases} all peer map=m`];
    case 'cert':
      return [`hostssl ${databases} all all cert`];
    case 'cert map':
      return [`hostssl ${databases} all all cert map=m`];
    case 'hostssl':
    case 'hostnossl':
      return [`${method} ${databases} all 127.0.0.1/32 scram-sha-256`];
    default: {
      const said = method === 'ldap' ? `ldap ${ldapOptions}` : method;
      return [`local ${databases} all ${said}`, `host ${databases} all 127.0.0.0/8 ${said}`];
    }
  }
}

function certificateFor(planned: PlannedCase): IdentityFiles | null {
  const { certificate } = planned.ask;
  if (certificate === 'none') return null;
  const commonName = certificate === 'another' ? 'lm_boss' : planned.user;
  const key = `${certificate === 'stranger' ? 'stranger' : 'known'} ${commonName}`;
  let identity = identities.get(key);
  if (identity === undefined) {
    const name = `client${identities.size}`;
    identity =
      certificate === 'stranger'
        ? files.keep(name, makeCertificate({ commonName }))
        : files.identity(name, { commonName });
    identities.set(key, identity);
  }
  return identity;
}

async function tryIt(pooler: LocalPooler, planned: PlannedCase): Promise<Outcome> {
  const { client, ask, user, database, credential, method } = planned;
  const right = method === 'ldap' ? `secret of ${user}` : PASSWORD;
  const attempt = {
    port: pooler.port,
    socketDir: pooler.socketDir,
    database,
    user,
    password: credential === 'empty' ? '' : credential === 'right' ? right : 'wrong one',
    ask,
    certificate: certificateFor(planned),
    ca:
      ask.trusts === 'authority'
        ? { file: files.caFile, pem: files.authority.certPem }
        : { file: otherCaFile, pem: otherAuthority.certPem },
    requiredAuth: exchangeOf(planned) ?? 'none',
  };
  if (client === 'pg') return byPg(attempt);
  const psql = psqls[client];
  if (psql === null) throw new Error(`${client} is not there`);
  return byPsql(psql, client === 'psql 18', attempt);
}

describe('a client', () => {
  test.each([...chosen].map(([plan, cases]) => [plan.title, plan, cases] as const))(
    'with %s',
    async (_title, plan, cases) => {
      await using pooler = await start(plan);
      const wrong: string[] = [];
      await eachOf(cases, 5, async (planned) => {
        const outcome = await tryIt(pooler, planned);
        tried[planned.client]++;
        ended[outcome.kind]++;
        const difference = differenceOf(outcome, expectedOf(planned, planned.database), 'lm_one');
        if (difference !== null) wrong.push(`${planned.title}: ${difference}`);
      });
      expect(wrong, `PGWEIR_TEST_SEED=${seed}`).toEqual([]);
    },
    PLAN_TIMEOUT_MS,
  );

  test('has been tried in every way', () => {
    expect(tried.pg).toBeGreaterThan(500 / PART);
    if (psqls['psql 18'] !== null) expect(tried['psql 18']).toBeGreaterThan(100 / PART);
    for (const count of Object.values(ended)) expect(count).toBeGreaterThan(50 / PART);
  });
});

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { guess } from '../support/guess.ts';
import { LdapServer, noLdapReason } from '../support/ldap-server.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { connectPeer, type ScriptedPeer } from '../support/scripted-peer.ts';
import { connectEncrypted, secure, TlsFolder } from '../support/tls.ts';
import { md5Secret, scramSecret } from './matrix.ts';

/**
 * What tells a wrong password from an unknown user: nothing. Every byte that the pooler sends is compared, but for salts
 * and nonces, of which the lengths are.
 */
const files = new TlsFolder();
const server = files.identity('server', { commonName: 'localhost' });
const METHODS = ['plain', 'md5', 'scram-sha-256'] as const;
const KINDS = ['plain', 'md5', 'scram'] as const;
type Kind = (typeof KINDS)[number];
const LOOKER = 'lr_looker';
/** More than are remembered of those that auth_query has found. */
const FILLERS = 300;

let compared = 0;

const WAYS: Readonly<Record<string, (pooler: LocalPooler) => Promise<ScriptedPeer>>> = {
  'in the clear': ({ port }) => connectPeer(port),
  'over the unix socket': ({ socketPath }) => connectPeer(socketPath),
  'over TLS': async ({ port }) => (await connectEncrypted(port)).peer,
  'over direct TLS': async ({ port }) =>
    (await secure(await connectPeer(port), { ALPNProtocols: ['postgresql'] })).peer,
};

function secretOf(kind: Kind, name: string): string {
  if (kind === 'plain') return 'right';
  return kind === 'md5' ? md5Secret('right', name) : scramSecret('right');
}

/** A pooler of whose users most have a secret of this kind. */
async function start(method: (typeof METHODS)[number], kind: Kind, byHba: boolean): Promise<LocalPooler> {
  const known = ['lr_known', ...Array.from({ length: FILLERS }, (_, i) => `lr_filler_${i}`)];
  const pooler = await startPooler({
    settings: {
      auth_type: byHba ? 'trust' : method,
      client_tls_sslmode: 'allow',
      client_tls_cert_file: server.certFile,
      client_tls_key_file: server.keyFile,
      auth_query: `SELECT name, secret FROM lr_secrets WHERE name = $1 AND kind IN ('${kind}', 'null')`,
    },
    databases: { file: 'dbname=postgres', query: `dbname=postgres auth_user=${LOOKER}` },
    userlist: {
      ...Object.fromEntries(known.map((name) => [name, secretOf(kind, name)])),
      lr_empty: '',
      [LOOKER]: '',
    },
  });
  if (byHba) {
    const path = join(pooler.folder, 'hba');
    const name = method === 'plain' ? 'password' : method;
    writeFileSync(path, `local all all ${name}\nhost all all 127.0.0.0/8 ${name}\n`);
    await pooler.reload({ settings: { auth_type: 'hba', auth_hba_file: path } });
  }
  return pooler;
}

/** Who has no way in: by name and database. */
const OTHERS: readonly (readonly [string, string, string])[] = [
  ['an unknown user', 'lr_nobody', 'file'],
  ['a user without a password', 'lr_empty', 'file'],
  ['a user whom auth_query alone knows, where it is not asked', 'lr_queried', 'file'],
  ['a known user and an unknown database', 'lr_known', 'nowhere'],
  ['an unknown user and an unknown database', 'lr_nobody', 'nowhere'],
  ['a known user, where there is auth_query', 'lr_known', 'query'],
  ['a user whom auth_query knows', 'lr_queried', 'query'],
  ['one for whom auth_query has no row', 'lr_nobody', 'query'],
  ['one for whom it has NULL', 'lr_null', 'query'],
  ['a name as long as names may be', 'x'.repeat(127), 'file'],
  ['a name with control characters', 'lr\x01\x7f', 'query'],
];

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: LOOKER, auth: 'trust', options: 'SUPERUSER' });
  const rows = KINDS.map((kind) => `('lr_queried', '${secretOf(kind, 'lr_queried')}', '${kind}')`);
  await withClient(sharedPostgres(), (client) =>
    client.query(
      `CREATE TABLE lr_secrets AS SELECT * FROM (VALUES ${rows.join(', ')}, ('lr_null', NULL, 'null')) t(name, secret, kind)`,
    ),
  );
});
afterAll(() => {
  files[Symbol.dispose]();
  console.log(`refused logins compared byte for byte: ${compared}`);
});

describe.each(
  METHODS.flatMap((method) => KINDS.map((kind) => [method, kind] as const)),
)('by %s, where most secrets are %s', (method, kind) => {
  test.each([
    ['auth_type', false],
    ['an HBA line', true],
  ] as const)('and the method is that of %s', async (_what, byHba) => {
    await using pooler = await start(method, kind, byHba);
    for (const [way, connect] of Object.entries(WAYS)) {
      const wrongPassword = await guess(await connect(pooler), 'lr_known', 'file');
      // Something was asked before it was refused.
      expect(wrongPassword.length).toBeGreaterThan(2);
      const isScram = method === 'scram-sha-256' || (method === 'md5' && kind === 'scram');
      const text = isScram ? 'SASL authentication failed' : 'password authentication failed';
      expect(wrongPassword.at(-2)).toBe(`E SFATAL\0VFATAL\0C08P01\0M${text}\0\0`);
      for (const [who, name, database] of OTHERS) {
        expect(await guess(await connect(pooler), name, database), `${who}, ${way}`).toEqual(wrongPassword);
        compared++;
      }
    }
  });
});

const ldapReason = noLdapReason();
if (ldapReason !== null) console.log(`refusals of LDAP are not compared: ${ldapReason}`);

test.skipIf(ldapReason !== null)('by LDAP, whoever guesses sees the same', async () => {
  await using ldap = await LdapServer.start();
  const at = `ldapserver=127.0.0.1 ldapport=${ldap.port}`;
  for (const options of [
    'ldapprefix="uid=" ldapsuffix=",ou=people,dc=example,dc=org"',
    'ldapbasedn="dc=example,dc=org"',
  ]) {
    await using pooler = await startPooler({
      settings: { auth_type: 'ldap', auth_ldap_options: `${at} ${options}` },
      databases: { postgres: '' },
    });
    const wrongPassword = await guess(pooler.port, 'la_user');
    expect(wrongPassword.at(-2)).toBe('E SFATAL\0VFATAL\0C08P01\0MLDAP authentication failed\0\0');
    for (const [name, database] of [
      ['la_nobody', 'postgres'],
      ['la_nobody', 'nowhere'],
      ['la_user', 'nowhere'],
      ['*', 'postgres'],
    ] as const) {
      expect(await guess(pooler.port, name, database), `${name} ${database}`).toEqual(wrongPassword);
      compared++;
    }
  }
});

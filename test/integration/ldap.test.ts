import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LdapServer, noLdapReason } from '../support/ldap-server.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';

const REFUSED = 'LDAP authentication failed';
const reason = noLdapReason();
if (reason !== null) console.log(`skipped: LDAP with a real server: ${reason}`);

async function login(pooler: LocalPooler, user = 'la_user', password = `secret of ${user}`): Promise<string> {
  try {
    const client = await pooler.client({ user, password });
    const { rows } = await client.query<{ user: string }>('SELECT current_user AS user');
    await client.end();
    return rows[0]?.user ?? 'nobody';
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    return error.message;
  }
}

function start(options: string): Promise<LocalPooler> {
  return startPooler({ settings: { auth_type: 'ldap', auth_ldap_options: options }, userlist: {} });
}

describe.skipIf(reason !== null)('a real LDAP server', () => {
  let server: LdapServer;
  let at: string;
  const before = process.env['LDAPTLS_CACERT'];

  beforeAll(async () => {
    server = await LdapServer.start();
    at = `ldapserver=127.0.0.1 ldapport=${server.port}`;
    process.env['LDAPTLS_CACERT'] = server.caPath;
    for (const name of ['la_user', 'la_mail', 'la_twice', 'la_reader']) {
      // PostgreSQL asks for the same password: what was typed is what the pooler logs in with.
      await createRole(sharedPostgres(), { name, auth: 'password', password: `secret of ${name}` });
    }
  });
  afterAll(async () => {
    if (before === undefined) delete process.env['LDAPTLS_CACERT'];
    else process.env['LDAPTLS_CACERT'] = before;
    await server[Symbol.asyncDispose]();
  });

  const simple = 'ldapprefix="uid=" ldapsuffix=",ou=people,dc=example,dc=org"';

  test('a simple bind, with the typed password for PostgreSQL, too', async () => {
    await using pooler = await start(`${at} ${simple}`);
    expect(await login(pooler)).toBe('la_user');
    expect(await login(pooler, 'la_user', 'wrong')).toBe(REFUSED);
    expect(await login(pooler, 'la_nobody', 'x')).toBe(REFUSED);
    expect(await login(pooler, 'la_user', '')).toBe('empty password returned by client');
    const log = pooler.lines.join('\n');
    expect(log).toContain('wrong password (LDAP result 49)');
    expect(log).not.toContain('secret of');
  });

  test('a name that is more than a name in a DN is no other user', async () => {
    await using pooler = await start(`${at} ldapprefix="uid=" ldapsuffix=",dc=example,dc=org"`);
    expect(await login(pooler, 'la_user,ou=people', 'secret of la_user')).toBe(REFUSED);
  });

  test.each([
    ['by uid', 'ldapbasedn="dc=example,dc=org"', 'la_user'],
    ['by another attribute', 'ldapbasedn="dc=example,dc=org" ldapsearchattribute=cn', 'la_user'],
    [
      'by a filter',
      'ldapbasedn="dc=example,dc=org" ldapsearchfilter="(&(mail=$username@example.org)(sn=x))"',
      'la_mail',
    ],
    [
      'as somebody',
      'ldapbasedn="ou=others,dc=example,dc=org" ldapbinddn="uid=la_user,ou=people,dc=example,dc=org" ldapbindpasswd="secret of la_user"',
      'la_reader',
    ],
  ])('a search %s', async (_how, options, user) => {
    await using pooler = await start(`${at} ${options}`);
    expect(await login(pooler, user)).toBe(user);
    expect(await login(pooler, user, 'wrong')).toBe(REFUSED);
    expect(await login(pooler, 'la_nobody', 'x')).toBe(REFUSED);
    for (const name of ['*', 'la_*', 'la_user)(uid=*', 'la\\user', 'la/user', '(']) {
      expect(await login(pooler, name, 'secret of la_user'), name).toBe(REFUSED);
    }
  });

  test.each([
    [
      'that finds two',
      'ldapbasedn="dc=example,dc=org" ldapbinddn="uid=la_user,ou=people,dc=example,dc=org" ldapbindpasswd="secret of la_user"',
      'la_twice',
      '2 entries',
    ],
    [
      'that may not be made',
      'ldapbasedn="dc=example,dc=org" ldapbinddn="uid=la_user,ou=people,dc=example,dc=org" ldapbindpasswd=HUSH',
      'la_user',
      'ldapbinddn may not log in',
    ],
    ['of what is not there', 'ldapbasedn="dc=nowhere"', 'la_user', 'the search for the user failed'],
  ])('a search %s lets nobody in', async (_what, options, user, logged) => {
    await using pooler = await start(`${at} ${options}`);
    expect(await login(pooler, user)).toBe(REFUSED);
    expect(pooler.lines.join('\n')).toContain(logged);
    expect(pooler.lines.join('\n')).not.toMatch(/HUSH|secret of/);
  });

  test('a URL with all its parts', async () => {
    await using pooler = await start(`ldapurl="ldap://127.0.0.1:${server.port}/dc=example,dc=org?uid?sub"`);
    expect(await login(pooler)).toBe('la_user');
    await pooler.reload({
      settings: { auth_ldap_options: `ldapurl="ldap://127.0.0.1:${server.port}/dc=example,dc=org?uid?one"` },
    });
    expect(await login(pooler)).toBe(REFUSED);
  });

  test('StartTLS and ldaps, whose certificate is verified', async () => {
    const tls = `ldapserver=localhost ldapport=${server.tlsPort} ldapscheme=ldaps ${simple}`;
    await using pooler = await start(`${at} ldaptls=1 ${simple}`);
    expect(await login(pooler)).toBe('la_user');
    await pooler.reload({ settings: { auth_ldap_options: tls } });
    expect(await login(pooler)).toBe('la_user');
    // Without its authority nothing is told to it.
    delete process.env['LDAPTLS_CACERT'];
    try {
      expect(await login(pooler)).toBe(REFUSED);
      await pooler.reload({ settings: { auth_ldap_options: `${at} ldaptls=1 ${simple}` } });
      expect(await login(pooler)).toBe(REFUSED);
      expect(pooler.lines.join('\n')).toMatch(/no LDAP server answers: .*self-signed certificate/);
    } finally {
      process.env['LDAPTLS_CACERT'] = server.caPath;
    }
    // A plain port is no TLS, and TLS is no plain port.
    await pooler.reload({ settings: { auth_ldap_options: `${at} ldapscheme=ldaps ${simple}` } });
    expect(await login(pooler)).toBe(REFUSED);
  });

  test('the next server is asked where one is not there', async () => {
    await using pooler = await start(`ldapserver="127.0.0.9 127.0.0.1" ldapport=${server.port} ${simple}`);
    expect(await login(pooler)).toBe('la_user');
  });

  test('many at once wait for their turn', async () => {
    await using pooler = await start(`${at} ${simple}`);
    const all = await Promise.all(
      Array.from({ length: 40 }, (_, i) => login(pooler, 'la_user', i % 2 === 0 ? undefined : 'wrong')),
    );
    expect(all.filter((end) => end === 'la_user')).toHaveLength(20);
    expect(all.filter((end) => end === REFUSED)).toHaveLength(20);
  });

  test('by a rule of the HBA file, beside others', async () => {
    await using pooler = await startPooler({ userlist: {} });
    const path = join(pooler.folder, 'hba');
    writeFileSync(path, `host all la_user all ldap ${at} ${simple}\nhost all all all reject\n`);
    await pooler.reload({ settings: { auth_type: 'hba', auth_hba_file: path } });
    expect(await login(pooler)).toBe('la_user');
    expect(await login(pooler, 'la_mail')).toBe('login rejected');
  });
});

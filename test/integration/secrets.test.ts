import { createHash } from 'node:crypto';
import { appendFileSync, chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { showTables } from '../../src/admin/show.ts';
import { runAlone } from '../support/console.ts';
import { DatagramPeer } from '../support/datagram-peer.ts';
import { type SpawnedPooler, spawnPooler } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { TlsFolder } from '../support/tls.ts';
import { waitFor } from '../support/wait-for.ts';

const role = { plain: 'secrets_plain', md5: 'secrets_md5', scram: 'secrets_scram', forced: 'secrets_forced' };
const password = {
  plain: 'Zp4-plain-text',
  md5: 'Zp5-hashed-once',
  scram: 'Zp6-kept-as-scram',
  forced: 'Zp7-of-the-entry',
  wrong: 'Zp8-guessed-wrong',
  stale: 'Zp9-no-longer-right',
};

/** Everything that has come out of the process, on whatever way. */
class Outputs {
  readonly texts = new Map<string, string>();

  add(from: string, text: string): void {
    this.texts.set(from, `${this.texts.get(from) ?? ''}${text}\n`);
  }

  /** Where a secret shows, in plain, Base64 or hexadecimal. */
  leaks(secrets: Readonly<Record<string, string>>): string[] {
    const found: string[] = [];
    for (const [name, secret] of Object.entries(secrets)) {
      const bytes = Buffer.from(secret);
      for (const form of [secret, bytes.toString('base64').replace(/=+$/, ''), bytes.toString('hex')]) {
        for (const [from, text] of this.texts) if (text.includes(form)) found.push(`${name} in ${from}`);
      }
    }
    return found;
  }
}

/** A login, and what the client is told of it. */
async function login(pooler: SpawnedPooler, outputs: Outputs, config: object): Promise<boolean> {
  try {
    const client = await pooler.client(config);
    client.on('notice', (notice) => outputs.add('notices', JSON.stringify(notice)));
    await client.query('SELECT 1');
    await client.end();
    return true;
  } catch (error) {
    outputs.add('errors to clients', JSON.stringify(error, Object.getOwnPropertyNames(error)));
    return false;
  }
}

test('no secret shows in any output, however it goes', { timeout: 90_000 }, async () => {
  const md5 = `md5${createHash('md5').update(`${password.md5}${role.md5}`).digest('hex')}`;
  await createRole(sharedPostgres(), { name: role.plain, auth: 'scram', password: password.plain });
  await createRole(sharedPostgres(), { name: role.md5, auth: 'md5', password: password.md5 });
  await createRole(sharedPostgres(), { name: role.forced, auth: 'scram', password: password.forced });
  const scram = await createRole(sharedPostgres(), {
    name: role.scram,
    auth: 'scram',
    password: password.scram,
  });
  using tls = new TlsFolder();
  const identity = tls.identity('server');
  const outputs = new Outputs();
  using syslog = new DatagramPeer(`@pgweir-secrets-${process.pid}`);
  const databases = {
    '*': '',
    forced: `dbname=postgres user=${role.forced} password=${password.forced}`,
    stale: `dbname=postgres user=${role.forced} password=${password.stale}`,
  };
  const settings = {
    auth_type: 'md5',
    pool_mode: 'transaction',
    verbose: 2,
    syslog: 1,
    client_tls_sslmode: 'allow',
    client_tls_key_file: identity.keyFile,
    client_tls_cert_file: identity.certFile,
    auth_ldap_options: `ldapserver=127.0.0.1 ldapbasedn="dc=x" ldapbinddn="cn=x" ldapbindpasswd=${password.wrong}x`,
  };
  await using pooler = await spawnPooler({
    settings,
    databases,
    userlist: { [role.plain]: password.plain, [role.md5]: md5, [role.scram]: scram ?? '' },
    own: { syslog_socket: syslog.address },
    args: ['-v', '-v'],
  });
  const logfile = join(pooler.folder, 'pooler.log');
  pooler.configure({ settings: { logfile } });
  pooler.signal('SIGHUP');
  await waitFor(() => existsSync(logfile));

  const as = (user: string, given: string, database = 'postgres') => ({ user, password: given, database });
  const good = [
    as(role.plain, password.plain),
    as(role.md5, password.md5),
    as(role.scram, password.scram),
    { ...as(role.plain, password.plain), ssl: { rejectUnauthorized: false } },
    as(role.plain, password.plain, 'forced'),
  ];
  for (const config of good) expect(await login(pooler, outputs, config), JSON.stringify(config)).toBe(true);
  for (const user of [role.plain, role.md5, role.scram, 'secrets_nobody', password.wrong]) {
    if (user !== password.wrong) expect(await login(pooler, outputs, as(user, password.wrong))).toBe(false);
  }
  // PostgreSQL refuses the entry's password.
  expect(await login(pooler, outputs, as(role.plain, password.plain, 'stale'))).toBe(false);
  await waitFor(() => /server login failed/.test(pooler.stderr));

  // Broken lines with secrets in them, read by RELOAD.
  const userlist = join(pooler.folder, 'userlist.txt');
  const own = readFileSync(pooler.iniPath, 'utf8');
  for (const [file, line] of [
    [pooler.iniPath, `\n[databases]\nbroken = password=${password.stale} nonsense='${password.stale}\n`],
    [pooler.iniPath, `\n[databases]\nbroken = password ${password.stale}\n`],
    [pooler.iniPath, `\n[pgbouncer]\nserver_lifetime = ${password.stale}\n`],
    [userlist, `"${role.plain} ${password.stale}\n`],
  ] as const) {
    appendFileSync(file, line);
    outputs.add('RELOAD', await runAlone(pooler.socketPath, 'pgbouncer', 'RELOAD'));
    writeFileSync(pooler.iniPath, own);
  }

  for (const name of showTables.keys()) {
    const console = await pooler.client({ host: pooler.socketDir, user: 'pgbouncer', database: 'pgbouncer' });
    const { rows } = await console.query(`SHOW ${name}`);
    outputs.add(`SHOW ${name}`, JSON.stringify(rows));
    await console.end();
  }
  outputs.add('the list of processes', readFileSync(`/proc/${pooler.pid}/cmdline`, 'latin1'));
  outputs.add('the environment', readFileSync(`/proc/${pooler.pid}/environ`, 'latin1'));
  pooler.signal('SIGQUIT');
  await pooler.ended;
  outputs.add('stderr', pooler.stderr);
  outputs.add('stdout', pooler.stdout);
  outputs.add('the logfile', readFileSync(logfile, 'utf8'));
  outputs.add('syslog', syslog.all().join('\n'));

  // The net has no hole: each way has been gone, and what is no secret is found there.
  for (const from of ['stderr', 'the logfile', 'syslog', 'SHOW config', 'RELOAD', 'errors to clients']) {
    expect(outputs.texts.get(from)?.length ?? 0, from).toBeGreaterThan(20);
  }
  expect(outputs.leaks({ user: role.plain })).toEqual(
    expect.arrayContaining(['user in stderr', 'user in the logfile', 'user in syslog']),
  );
  const [, storedKey = '', serverKey = ''] = /\$([^$:]+):([^:]+)$/.exec(scram ?? '') ?? [];
  expect(storedKey.length).toBeGreaterThan(20);
  const keyLine = identity.keyPem.split('\n')[1] as string;
  expect(outputs.leaks({ ...password, md5Hash: md5.slice(3), storedKey, serverKey, keyLine })).toEqual([]);
});

test('files with secrets that everybody can read are warned about, at start and at RELOAD', async () => {
  const databases = { '*': 'password=x' };
  await using pooler = await spawnPooler({ databases });
  const userlist = join(pooler.folder, 'userlist.txt');
  const warnings = () => pooler.stderr.split('\n').filter((line) => line.includes('holds secrets'));
  // As the tests write them.
  expect([statSync(userlist).mode & 0o777, warnings()]).toEqual([0o600, []]);
  chmodSync(userlist, 0o644);
  chmodSync(pooler.iniPath, 0o604);
  pooler.signal('SIGHUP');
  await waitFor(() => warnings().length === 2);
  expect(
    warnings()
      .map((line) => line.replace(/^.* WARNING /, ''))
      .sort(),
  ).toEqual([
    `${pooler.iniPath} holds secrets and everybody can read it (mode 0604)`,
    `${userlist} holds secrets and everybody can read it (mode 0644)`,
  ]);
  chmodSync(pooler.iniPath, 0o640);
  await using second = await spawnPooler({
    text: readFileSync(pooler.iniPath, 'utf8').replaceAll(/^unix_socket_dir = .*$/gm, 'unix_socket_dir ='),
  });
  expect(second.stderr).toContain(
    ` WARNING ${userlist} holds secrets and everybody can read it (mode 0644)\n`,
  );
});

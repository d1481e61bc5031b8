import { chmodSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { exitStatus } from '../../src/check/finding.ts';
import { makeCertificate } from '../support/certificates.ts';
import { SetUp, shown } from './kit.ts';

const MD5 = 'md532e12f215ba27cb750c9e093ce4b5127';
const SCRAM_SECRET = `SCRAM-SHA-256$4096:c2FsdHNhbHQ=$${'A'.repeat(43)}=:${'A'.repeat(43)}=`;
const authority = makeCertificate({ commonName: 'CA', isCa: true });
const identity = makeCertificate({
  issuer: authority,
  commonName: 'pooler',
  altNames: ['pooler.example.org'],
});

interface Around {
  readonly listen?: string;
  readonly lines?: readonly string[];
  readonly users?: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly databases?: string;
}

/** A set-up with these rules. */
function setUp(rules: readonly string[], around: Around = {}): SetUp {
  const { listen = '*', lines = [], users = `"app" "secret"\n`, files = {}, databases = '' } = around;
  return new SetUp(
    `[databases]
app = host=10.0.0.1
${databases}
[pgbouncer]
listen_addr = ${listen}
auth_type = hba
auth_hba_file = {dir}/hba.conf
auth_file = {dir}/users.txt
pool_mode = transaction
${lines.join('\n')}
`,
    {
      'users.txt': users,
      'hba.conf': `${rules.join('\n')}\n`,
      'own.pem': identity.certPem + authority.certPem,
      'own.key': identity.keyPem,
      'ca.pem': authority.certPem,
      ...files,
    },
  );
}

/** TLS towards clients in a mode. */
const tls = (mode: string, ...more: string[]) => [
  `client_tls_sslmode = ${mode}`,
  'client_tls_cert_file = {dir}/own.pem',
  'client_tls_key_file = {dir}/own.key',
  ...more,
];

/** Findings but for notes, each with its line in the file of rules. */
async function found(rules: readonly string[], around: Around = {}): Promise<string[]> {
  using made = setUp(rules, around);
  const { findings } = await made.check();
  return findings
    .filter(({ level, code }) => level !== 'note' && code !== 'capacity')
    .map(
      ({ level, code, at }) => `${level} ${code}${at?.file === `${made.dir}/hba.conf` ? ` ${at.line}` : ''}`,
    );
}

const SCRAM = 'host all all all scram-sha-256';

test('sound rules are sound', async () => {
  expect(await found(['local all all peer', 'host all all 127.0.0.1/32 trust', SCRAM])).toEqual([]);
});

describe('trust', () => {
  test.each([
    ['0.0.0.0/0', 'error'],
    ['::/0', 'error'],
    ['all', 'error'],
    ['8.8.8.0 255.255.255.0', 'error'],
    ['203.0.113.7/32', 'error'],
    ['2001:db8::/32', 'error'],
    // More than the private network.
    ['10.0.0.0/7', 'error'],
    ['172.0.0.0/11', 'error'],
    ['10.0.0.0/8', 'warning'],
    ['172.20.1.0/24', 'warning'],
    ['192.168.1.1/32', 'warning'],
    ['fd00::/8', 'warning'],
    ['samenet', 'warning'],
    ['db.example.org', 'warning'],
    ['127.0.0.0/8', null],
    ['127.0.0.1/32', null],
    ['::1/128', null],
    ['samehost', null],
  ])('from %s: %s', async (address, level) => {
    expect(await found(['# first', `host all all ${address} trust`])).toEqual(
      level === null ? [] : [`${level} trust 2`],
    );
  });

  test('over the unix socket is none of these', async () => {
    expect(await found(['local all all trust'])).toEqual([]);
  });

  test('is a note where nobody else can connect, and a warning where everybody has a certificate', async () => {
    using made = setUp(['host all all all trust'], { listen: '127.0.0.1' });
    const { findings } = await made.check();
    expect(exitStatus(findings)).toBe(0);
    expect(findings.find(({ code }) => code === 'trust')?.message).toContain('listen_addr lets none of them');
    const verified = { lines: tls('verify-full', 'client_tls_ca_file = {dir}/ca.pem') };
    expect(await found(['hostssl all all all trust'], verified)).toEqual(['warning trust 1']);
  });

  test('in an included file stands where it is', async () => {
    using made = setUp(['include more.conf', SCRAM], {
      files: { 'more.conf': '\n\nhost app app 0.0.0.0/0 trust\n' },
    });
    const { findings } = await made.check();
    expect(findings.filter(({ code }) => code === 'trust').map(({ at }) => at)).toEqual([
      { file: `${made.dir}/more.conf`, line: 3 },
    ]);
  });
});

describe('passwords in clear text', () => {
  const password = ['host all all 10.0.0.0/8 password'];

  test('from other machines are a warning where there need not be TLS', async () => {
    expect(await found(password)).toEqual(['warning cleartext 1']);
    expect(await found(password, { lines: tls('prefer') })).toEqual(['warning cleartext 1']);
    expect(await found(password, { lines: tls('require') })).toEqual([]);
    expect(await found(['hostssl all all all password'], { lines: tls('prefer') })).toEqual([]);
    expect(await found(['host all all 127.0.0.1/32 password'])).toEqual([]);
    expect(await found(password, { listen: '127.0.0.1' })).toEqual([]);
  });

  test('go to an LDAP server', async () => {
    const ldap = (options: string) => [`hostssl all all all ldap ldapprefix="uid=" ${options}`];
    const lines = tls('require');
    expect(await found(ldap('ldapserver=ldap.example.org'), { lines })).toEqual(['warning cleartext 1']);
    expect(await found(ldap('ldapserver=ldap.example.org ldaptls=1'), { lines })).toEqual([]);
    expect(await found(ldap('ldapserver=ldap.example.org ldapscheme=ldaps'), { lines })).toEqual([]);
    expect(await found(ldap('ldapserver="localhost 127.0.0.1"'), { lines })).toEqual([]);
    expect(await found([`local all all ldap ldapprefix=x ldapserver=far`], { lines })).toEqual([
      'warning cleartext 1',
    ]);
  });
});

describe('secrets', () => {
  test('of another kind than the method takes are a warning with the users’ names', async () => {
    const users = `"old" "${MD5}"\n"new" "${SCRAM_SECRET}"\n"app" "plain"\n`;
    using made = setUp([SCRAM], { users });
    const { findings } = await made.check();
    expect(shown({ findings } as never)).toEqual(['warning secret-kind auth_hba_file']);
    expect(findings.find(({ code }) => code === 'secret-kind')?.message).toMatch(/cannot log in: old$/);
    expect(await found(['host all old all md5', SCRAM], { users })).toEqual([]);
    expect(await found(['hostssl all old all md5', SCRAM], { users, lines: tls('prefer') })).toEqual([
      'warning secret-kind 2',
    ]);
    expect(await found(['host all new,app all scram-sha-256', 'host all old all md5'], { users })).toEqual(
      [],
    );
  });

  test('that are SCRAM’s make md5 as good: nothing is said', async () => {
    const noteOf = async (users: string) => {
      using made = setUp(['host all all all md5'], { users });
      return (await made.check()).findings.filter(({ code }) => code === 'md5').map(({ level }) => level);
    };
    expect(await noteOf(`"app" "${SCRAM_SECRET}"`)).toEqual([]);
    expect(await noteOf(`"app" "${MD5}"`)).toEqual(['note']);
  });
});

describe('lines that never count', () => {
  test.each([
    ['an address', 'host all all 10.0.0.0/8 md5', 'host all all 10.1.0.0/16 scram-sha-256'],
    ['all addresses', 'host all all all scram-sha-256', 'host app app ::1/128 scram-sha-256'],
    ['a name', 'host all all all scram-sha-256', 'host app,app app all md5'],
    ['an expression', 'host all /^a all scram-sha-256', 'host app app all reject'],
    ['the same expression', 'host all /^a all scram-sha-256', 'host all /^a all reject'],
    ['a kind', 'host all all all scram-sha-256', 'hostnossl all all all reject'],
    ['the only kind that there is', 'hostnossl all all all scram-sha-256', 'host all all all reject'],
    ['the unix socket', 'local all all peer', 'local app app trust'],
    ['networks of this machine', 'host all all samenet md5', 'host all all samehost md5'],
    ['a host', 'host all all a.example.org md5', 'host all app a.example.org scram-sha-256'],
    ['databases of the users', 'host sameuser all all md5', 'host sameuser app all md5'],
  ])('behind one for all of it: %s', async (_name, first, later) => {
    using made = setUp([first, later]);
    const { findings } = await made.check();
    const never = findings.filter(({ code }) => code === 'never-matches');
    expect(never.map(({ level, at }) => [level, at?.line])).toEqual([['warning', 2]]);
    expect(never[0]?.message).toMatch(/^never counts: line 1 \(\S+\) comes first/);
  });

  test.each([
    ['more addresses', 'host all all 10.1.0.0/16 md5', 'host all all 10.0.0.0/8 md5'],
    ['the other family', 'host all all 0.0.0.0/0 md5', 'host all all ::/0 md5'],
    ['other names', 'host all app all md5', 'host all other,app all md5'],
    ['replication', 'host all all all md5', 'host replication all all md5'],
    ['a name beside the expression', 'host all /^b all md5', 'host all app all md5'],
    ['a host that has that address', 'host all all 10.0.0.0/8 md5', 'host all all a.example.org md5'],
    // A host that cannot be told fits the latter alone.
    ['a host', 'host all all a.example.org md5', 'host all all a.example.org reject'],
  ])('but not behind one for less: %s', async (_name, first, later) => {
    const users = '"app" "x"\n"other" "x"\n';
    const all = await found([first, later], { users });
    expect(all.filter((each) => each.includes('never-matches'))).toEqual([]);
  });

  test('hostssl counts where there may be others', async () => {
    const rules = ['hostssl all all all scram-sha-256', 'host all all all md5'];
    expect(await found(rules, { lines: tls('prefer') })).toEqual([]);
    expect(await found(rules, { lines: tls('require') })).toEqual(['warning never-matches 2']);
  });

  test.each([
    ['hostssl without TLS', 'hostssl all all all scram-sha-256', []],
    ['hostnossl where TLS is asked for', 'hostnossl all all all scram-sha-256', tls('require')],
    ['cert without TLS', 'host all all all cert', []],
    ['cert in the clear', 'hostnossl all all all cert', tls('prefer')],
    ['cert that nobody is asked for', 'hostssl all all all cert', tls('require')],
    ['peer over TCP', 'host all all 127.0.0.1/32 peer', []],
  ] as const)('%s', async (_name, rule, lines) => {
    expect(await found([rule, 'local all all peer'], { lines })).toEqual(['warning never-matches 1']);
  });

  test('cert counts where certificates are asked for', async () => {
    const lines = tls('prefer', 'client_tls_ca_file = {dir}/ca.pem');
    expect(await found(['hostssl all all all cert'], { lines })).toEqual([]);
  });
});

describe('names that nobody has', () => {
  test('are a warning, to reject them a note', async () => {
    expect(await found(['host shop,app nobody,app all md5'])).toEqual([
      'warning unknown-database 1',
      'warning unknown-user 1',
    ]);
    expect(await found(['host shop nobody all reject', SCRAM])).toEqual([]);
    expect(await found(['host pgbouncer app all md5'])).toEqual([]);
  });

  test('may be known elsewhere', async () => {
    expect(await found(['host shop app all md5'], { databases: '* = host=10.0.0.1' })).toEqual([]);
    const lines = ['auth_user = asker'];
    expect(await found(['host all nobody all scram-sha-256'], { lines })).toEqual([]);
  });
});

describe('rules that cannot be read', () => {
  test('are told all at once, and the others are examined', async () => {
    const rules = [
      'host all all all nonsense',
      'hostssl all all all cert map=none',
      'host all all \\',
      '  300.1.1.1/8 md5',
      'host all all all trust',
    ];
    expect(await found(rules)).toEqual([
      'error configuration 1',
      'error configuration 2',
      'error configuration 3',
      'error trust 5',
    ]);
  });

  test('in an ident file stand there', async () => {
    using made = setUp(['local all all peer map=m'], {
      lines: ['auth_ident_file = {dir}/ident.conf'],
      files: { 'ident.conf': 'm root app\nm onlytwo\n' },
    });
    const { findings } = await made.check();
    const errors = findings.filter(({ level }) => level === 'error');
    expect(errors.map(({ at }) => at)).toEqual([{ file: `${made.dir}/ident.conf`, line: 2 }]);
  });

  test('because there is no file: the rest is examined', async () => {
    using made = setUp([], { lines: ['auth_hba_file = {dir}/none.conf', 'listen_port = many'] });
    expect(shown(await made.check()).sort()).toEqual([
      'error configuration auth_hba_file',
      'error configuration listen_port',
      `warning configuration `,
    ]);
  });
});

test('rules that let nobody in are an error', async () => {
  expect(await found([])).toEqual(['error nobody']);
  expect(await found(['host all all all reject'])).toEqual(['error nobody']);
  expect(await found(['hostssl all all all md5'])).toEqual(['warning never-matches 1', 'error nobody']);
});

test('auth_type hba without a file is an error, and a file without auth_type hba a warning', async () => {
  using without = setUp([SCRAM], { lines: ['auth_hba_file ='] });
  expect(shown(await without.check())).toContain('error configuration auth_hba_file');
  expect(await found([SCRAM], { lines: ['auth_type = md5'] })).toEqual([
    'warning configuration',
    'warning no-effect',
  ]);
});

test('files of rules that everybody can write are an error, included ones, too', async () => {
  using made = setUp(['include more.conf', SCRAM], { files: { 'more.conf': '' } });
  chmodSync(`${made.dir}/more.conf`, 0o646);
  expect(shown(await made.check())).toEqual([`error writable ${made.dir}/more.conf`]);
  writeFileSync(`${made.dir}/more.conf`, 'host all all all reject\n');
  expect(shown(await made.check())).toContain(`error writable ${made.dir}/more.conf`);
});

test('many rules are examined in a moment', async () => {
  const rules = Array.from({ length: 20_000 }, (_, i) => `host all all 10.${i >> 8}.${i & 255}.0/24 md5`);
  using made = setUp(rules);
  const { findings } = await made.check();
  expect(findings.filter(({ code }) => code === 'never-matches').map(({ level }) => level)).toEqual(['note']);
});

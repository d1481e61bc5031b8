import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ConfigError } from '../../src/config/config-error.ts';
import { loadConfig } from '../../src/config/load.ts';
import { setSetting } from '../../src/config/set.ts';
import { settingsTable } from '../../src/config/settings-table.ts';
import { configErrorOf, load, memoryFiles } from './files.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'config-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('an empty [pgbouncer] section gives every default and no warning', () => {
  const { settings, own, warnings, path } = load('[pgbouncer]\n');
  expect(settings).toMatchObject({
    listen_port: 6432,
    unix_socket_mode: 0o777,
    listen_addr: [],
    pool_mode: 'session',
    auth_type: 'md5',
    auth_file: null,
    verbose: null,
    server_lifetime: 3600,
    log_connections: true,
    server_check_query: '<empty>',
    track_extra_parameters: ['IntervalStyle'],
    server_tls_sslmode: 'prefer',
    conffile: 'my.ini',
  });
  expect(own).toEqual({
    log_format: 'pgbouncer',
    max_login_conn: -1,
    max_login_conn_per_address: -1,
    server_close_timeout: 1,
    server_cancel_timeout: 5,
    server_max_protocol_version: '3.2',
    syslog_socket: '/dev/log',
    workers: '1',
    auth_query_cache_time: 2,
  });
  expect(Object.keys(settings).sort()).toEqual(Object.keys(settingsTable).sort());
  expect([path, warnings]).toEqual(['my.ini', []]);
});

test('values are typed as the table says', () => {
  const { settings } = load(
    '[pgbouncer]\nlisten_addr = ::1, *\nadmin_users = a, b c\nquery_timeout = 0.5\nunix_socket_mode=0700\n' +
      'pool_mode = TRANSACTION\nlog_stats = 0\nserver_reset_query = \nlogfile = "x" ; y\n',
  );
  expect(settings).toMatchObject({
    listen_addr: ['::1', '*'],
    admin_users: ['a', 'b', 'c'],
    query_timeout: 0.5,
    unix_socket_mode: 0o700,
    pool_mode: 'transaction',
    log_stats: false,
    server_reset_query: '',
    logfile: '"x" ; y',
  });
});

test.each([
  ['', 0, ''],
  ['[databases]\n', 0, ''],
  ['listen_port = 1\n[pgbouncer]', 1, 'listen_port'],
  ['[pgbouncer]\nlisten_prot = 1', 2, 'listen_prot'],
  ['[pgbouncer]\n__proto__ = 1', 2, '__proto__'],
  ['[pgbouncer]\ntoString = 1', 2, 'toString'],
  ['[pgbouncer]\nlog_format = json', 2, 'log_format'],
  ['[pgbouncer]\n[PgBouncer]', 2, '[PgBouncer]'],
  ['[pgbouncer]\n[ users ]', 2, '[ users ]'],
  ['[pgbouncer]\nlisten_port =', 2, 'listen_port'],
  ['[pgbouncer]\nlisten_port = 65536', 2, 'listen_port'],
  ['[pgbouncer]\nlog_stats = on', 2, 'log_stats'],
  ['[pgbouncer]\nquery_timeout = 5min', 2, 'query_timeout'],
  ['[pgbouncer]\npool_mode = both', 2, 'pool_mode'],
  ['[pgbouncer]\ndefault_pool_size = -1', 2, 'default_pool_size'],
  ['[pgbouncer]\nauth_dbname = pgbouncer', 2, 'auth_dbname'],
  ['[pgbouncer]\n[databases]\ndb = hots=x', 3, 'db'],
  ['[pgbouncer]\n[databases]\npgbouncer = host=x', 3, 'pgbouncer'],
  ['[pgbouncer]\n[users]\nu = x=y', 3, 'u'],
  ['[pgbouncer]\n[peers]\nx = host=y', 3, 'x'],
  ['[pgbouncer]\n[pgweir]\nlisten_port = 1', 3, 'listen_port'],
  ['[pgbouncer]\n;pgweir log_format = xml', 2, 'log_format'],
  ['[pgbouncer]\n;pgweir logformat = json', 2, 'logformat'],
])('the file %j is refused with line and key', (text, line, key) => {
  const error = configErrorOf(() => load(text));
  expect([error.file, error.line, error.key]).toEqual(['my.ini', line, key]);
  expect(error.message).toContain(`expected ${error.expected}`);
});

test.each([
  ['auth_type = pam', 'auth_type', 'pam, for which Node has no maintained library'],
  ['auth_type = cert', 'auth_type', 'client_tls_sslmode = verify-full'],
  ['auth_type = hba', 'auth_hba_file', 'a file'],
  [
    'auth_type = hba\nauth_hba_file = /no/such/file',
    'auth_hba_file',
    'a readable file /no/such/file (ENOENT)',
  ],
  ['auth_type = ldap', 'auth_ldap_options', 'options'],
  ['auth_type = ldap\nauth_ldap_options = ldapserver=a', 'ldapbasedn', ''],
  ['auth_type = ldap\nauth_ldap_options = map=x', 'auth_ldap_options', 'options of LDAP'],
  [
    `auth_type = ldap\nauth_ldap_options = ldapbasedn=${'x'.repeat(1023)}`,
    'auth_ldap_options',
    'at most 1023 bytes',
  ],
])('%s is refused', (text, key, expected) => {
  const error = configErrorOf(() => load(`[pgbouncer]\n${text}\n`));
  expect([error.key, error.expected]).toEqual([key, expect.stringContaining(expected)]);
});

test('files of rules are read with auth_type hba alone, and refused as a whole', () => {
  const hba = join(folder, 'hba');
  const ident = join(folder, 'ident');
  writeFileSync(hba, 'local all all peer map=m\nhost all all all scram-sha-256\n');
  writeFileSync(ident, 'm root postgres\n');
  const files = `auth_hba_file = ${hba}\nauth_ident_file = ${ident}\n`;
  expect(load(`[pgbouncer]\n${files}`).login).toEqual({ hba: null, ldap: null });
  const text = `[pgbouncer]\nauth_type = hba\n${files}`;
  const config = load(text);
  expect(config.login.hba?.map(({ method, at }) => [method, at.line])).toEqual([
    ['peer', 1],
    ['scram-sha-256', 2],
  ]);
  expect(structuredClone(config.login)).toEqual(config.login);
  // All or nothing, with the file and line that are wrong.
  writeFileSync(hba, 'local all all peer map=m\n\nhost all all all scram-sha-265\n');
  const error = configErrorOf(() => load(text, config));
  expect([error.file, error.line]).toEqual([hba, 3]);
  writeFileSync(hba, '# nothing\n');
  expect(load(text).warnings).toEqual([`${hba} has no rules: nobody can log in`]);
});

test('one warning names everything that is set but without effect', () => {
  const { warnings } = load('[pgbouncer]\nserver_tls_sslmode = prefer\npkt_buf = 8192\nsbuf_loopcnt = 9\n');
  expect(warnings).toEqual(['set but without effect so far: pkt_buf, sbuf_loopcnt']);
});

test('a setting that asks for what happens anyway is not warned about', () => {
  const text =
    '[pgbouncer]\nmax_prepared_statements = 0\n' +
    'syslog = 0x0\ntcp_user_timeout = 0\nresolv_conf =\ntcp_keepalive = 1\ntcp_keepidle = 5\n';
  expect(load(text).warnings).toEqual([]);
});

test('a second [pgbouncer] header keeps what was set before it', () => {
  expect(load('[pgbouncer]\nlisten_port = 1\n[databases]\n[pgbouncer]\n').settings.listen_port).toBe(1);
});

test('a key given twice has the later value, with a warning that names both places', () => {
  const config = load(
    '[pgbouncer]\nlisten_port = 1\nlisten_port = 2\n[databases]\ndb = host=a\ndb = port=1\n',
  );
  expect(config.settings.listen_port).toBe(2);
  expect(config.databases.get('db')).toMatchObject({ host: null, port: 1 });
  expect(config.warnings).toEqual([
    '[pgbouncer] listen_port is given twice (my.ini:2 and my.ini:3), the later one counts',
    '[databases] db is given twice (my.ini:5 and my.ini:6), the later one counts',
  ]);
});

test('our own settings stand in [pgweir] or in comment lines anywhere', () => {
  const text = ';pgweir log_format = JSON\n[pgbouncer]\n[users]\n;pgweir server_close_timeout = 0.5\n';
  expect(load(`${text}[pgweir]\nserver_cancel_timeout = 2\n`).own).toEqual({
    log_format: 'json',
    max_login_conn: -1,
    max_login_conn_per_address: -1,
    server_close_timeout: 0.5,
    server_cancel_timeout: 2,
    server_max_protocol_version: '3.2',
    syslog_socket: '/dev/log',
    workers: '1',
    auth_query_cache_time: 2,
  });
});

test('databases, users and peers keep the order of the file', () => {
  const config = load(
    "[databases]\nz =\n10 =\n'a b' = host=x\n* = host=y\n[users]\nu = pool_size=1\n[peers]\n2 = host=p\n[pgbouncer]\n",
  );
  expect([...config.databases.keys()]).toEqual(['z', '10', 'a b']);
  expect([config.users.get('u')?.poolSize, config.peers.get(2)?.host]).toEqual([1, 'p']);
  expect(config.autoDatabase).toBe('host=y');
});

test('RELOAD gives back the default of what the file no longer says, also after SET', () => {
  const first = load('[pgbouncer]\nquery_timeout = 5\n;pgweir log_format = json\n');
  const changed = setSetting(first, 'max_client_conn', '7');
  expect(changed.ok && changed.config.settings.max_client_conn).toBe(7);
  const next = load('[pgbouncer]\n', changed.ok ? changed.config : null);
  expect([next.settings.query_timeout, next.settings.max_client_conn]).toEqual([0, 100]);
  expect(next.own.log_format).toBe('pgbouncer');
});

test('RELOAD keeps settings without a default that the file no longer has', () => {
  const first = load('[pgbouncer]\nverbose = 2\nauth_user = looker\nconffile = other.ini\n');
  const next = load('[pgbouncer]\n', first);
  expect(next.settings).toMatchObject({ verbose: 2, auth_user: 'looker', conffile: 'other.ini' });
  expect(load('[pgbouncer]\nverbose = 1\n', first).settings.verbose).toBe(1);
});

test('RELOAD leaves settings alone that are read at start only, and says so', () => {
  const first = load('[pgbouncer]\nlisten_port = 7000\nunix_socket_mode = 0777\n');
  const next = load('[pgbouncer]\nlisten_port = 7001\nunix_socket_mode = 511\nuser = nobody\n', first);
  expect([next.settings.listen_port, next.settings.user]).toEqual([7000, null]);
  expect(next.warnings.filter((text) => text.includes('cannot be changed by RELOAD'))).toEqual([
    'listen_port cannot be changed by RELOAD, its new value takes effect at the next start',
    'user cannot be changed by RELOAD, its new value takes effect at the next start',
  ]);
  expect(load('[pgbouncer]\n', first).settings.listen_port).toBe(7000);
});

test.each([
  ['for a line that makes no sense', 'bad'],
  ['for a setting that does not exist', 'no_such_setting = 1'],
  ['for a value that is none', 'query_wait_timeout = soon'],
])('a RELOAD that fails %s leaves the configuration in force untouched', (_why, line) => {
  const first = load('[databases]\ndb = host=a\n[users]\nu = pool_size=1\n[pgbouncer]\nquery_timeout = 5\n');
  const before = structuredClone(first);
  const next = '[databases]\ndb = host=b\n[users]\nu = pool_size=2\n[pgbouncer]\nquery_timeout = 6\n';
  configErrorOf(() => load(`${next}${line}\n`, first));
  expect(first).toEqual(before);
});

test('a removed [users] entry is gone after RELOAD', () => {
  const first = load('[pgbouncer]\n[users]\nu = pool_size=1\n');
  expect(load('[pgbouncer]\n', first).users.size).toBe(0);
});

test('a configuration can be cloned to another thread', () => {
  const config = load('[databases]\n* = host=x\ndb = host=a,b\n[pgbouncer]\n[users]\nu =\n');
  expect(structuredClone(config)).toEqual(config);
});

function writeUsers(text: string): string {
  const path = join(folder, 'users.txt');
  writeFileSync(path, text);
  return path;
}

test('auth_file gives the users', () => {
  const config = load(`[pgbouncer]\nauth_file = ${writeUsers('"a" "1"\n"b" "2"\n')}\n`);
  expect([...config.userlist]).toEqual([
    ['a', '1'],
    ['b', '2'],
  ]);
});

test('auth_file is not read for auth_type any', () => {
  expect(load(`[pgbouncer]\nauth_type = any\nauth_file = ${folder}/none\n`)).toMatchObject({
    userlistSource: null,
    warnings: [],
  });
});

test('a broken line in auth_file is a warning that names it', () => {
  const config = load(`[pgbouncer]\nauth_file = ${writeUsers('"a" "1"\nb 2\n')}\n`);
  expect(config.userlist.size).toBe(1);
  expect(config.warnings[0]).toMatch(/^broken auth file: .*users\.txt:2: /);
});

test('no warning about auth_file holds anything of its secrets', () => {
  const users = '"a" "first-secret"\n"b" second-secret"\n"c" "third-secret"\n';
  const config = load(`[pgbouncer]\nauth_file = ${writeUsers(users)}\n`);
  expect(config.warnings).toHaveLength(1);
  expect(config.warnings.join('\n')).not.toMatch(/-secret/);
});

test('RELOAD takes an unchanged auth_file as it was and reads a changed one; removed users are gone', () => {
  const text = `[pgbouncer]\nauth_file = ${writeUsers('"a" "1"\n')}\n`;
  const first = load(text);
  const same = load(text, first);
  expect(same.userlist).toBe(first.userlist);
  writeUsers('"bb" "22"\n');
  expect([...load(text, same).userlist]).toEqual([['bb', '22']]);
});

test('an unreadable auth_file is a warning at start', () => {
  const text = `[pgbouncer]\nauth_file = ${join(folder, 'none')}\n`;
  const config = load(text);
  expect(config.userlist.size).toBe(0);
  expect(config.warnings[0]).toContain('could not open auth_file');
  // Nothing is lost by a RELOAD then.
  expect(load(text, config).warnings).toHaveLength(1);
});

test('an auth_file that has become unreadable fails the RELOAD', () => {
  const text = `[pgbouncer]\nauth_file = ${writeUsers('"a" "1"\n')}\n`;
  const first = load(text);
  rmSync(join(folder, 'users.txt'));
  const error = configErrorOf(() => load(text, first));
  expect([error.file, error.line, error.key]).toEqual(['my.ini', 2, 'auth_file']);
});

test('a broken line in an auth_file that was whole fails the RELOAD, and is named', () => {
  const text = `[pgbouncer]\nauth_file = ${writeUsers('"a" "1"\n"b" "2"\n')}\n`;
  const first = load(text);
  const path = writeUsers('"a" "1"\n"b" "2\n');
  const error = configErrorOf(() => load(text, first));
  expect([error.file, error.line, error.key]).toEqual([path, 2, 'auth_file']);
});

test('a real file is read from disk, includes relative to the working directory', () => {
  const included = join(folder, 'more.ini');
  const path = join(folder, 'main.ini');
  writeFileSync(included, 'query_timeout = 3\n');
  writeFileSync(path, `[pgbouncer]\n%include ${included}\n`);
  expect(loadConfig(path, null).settings.query_timeout).toBe(3);
});

test('random files load or end in a ConfigError', () => {
  const key = fc.constantFrom(
    ...Object.keys(settingsTable).filter((name) => name !== 'auth_file'),
    '*',
    'db',
    '1',
  );
  const line = fc.oneof(
    fc.string(),
    fc.constantFrom('[pgbouncer]', '[databases]', '[users]', '[peers]', '[pgweir]', '%include b.ini'),
    fc
      .tuple(key, fc.oneof(fc.string(), fc.constantFrom('1', '0x2', 'host=a', "user='b'")))
      .map((kv) => kv.join('=')),
  );
  fc.assert(
    fc.property(fc.array(line), (lines) => {
      const files = memoryFiles({ 'my.ini': ['[pgbouncer]', ...lines].join('\n'), 'b.ini': 'pool_size = 1' });
      try {
        expect(loadConfig('my.ini', null, files).settings.listen_port).toBeTypeOf('number');
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigError);
      }
    }),
  );
});

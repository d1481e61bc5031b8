import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { MAX_PBKDF2_ITERATIONS } from '../../src/auth/pbkdf2-queue.ts';
import { loadConfig } from '../../src/config/load.ts';
import { configRows } from '../../src/config/show.ts';
import { renderSettingsMarkdown } from '../../src/config/settings-markdown.ts';
import {
  ownSettingsTable,
  settingGroups,
  settingRow,
  settingsTable,
} from '../../src/config/settings-table.ts';
import { parseSetting } from '../../src/config/setting-values.ts';
import type { SettingRow } from '../../src/config/setting-rows.ts';
import { load } from './files.ts';

const root = new URL('../../', import.meta.url);
const rows: [string, SettingRow][] = [...Object.entries(settingsTable), ...Object.entries(ownSettingsTable)];

// Written down apart from the table: every setting of PgBouncer 1.25.2 and of its development branch.
const expectedNames = `
  admin_users application_name_add_host auth_dbname auth_file auth_hba_file auth_ident_file auth_ldap_options
  auth_query auth_type auth_user autodb_idle_timeout cancel_wait_timeout client_idle_timeout
  client_login_timeout client_tls13_ciphers client_tls_ca_file client_tls_cert_file client_tls_ciphers
  client_tls_dheparams client_tls_ecdhcurve client_tls_key_file client_tls_protocols client_tls_sslmode
  conffile default_pool_size disable_pqexec dns_max_ttl dns_nxdomain_ttl dns_zone_check_period
  idle_transaction_timeout ignore_startup_parameters job_name listen_addr listen_backlog listen_port
  log_connections log_disconnections log_pooler_errors log_stats logfile login_notify_message max_client_conn
  max_db_client_connections max_db_connections max_packet_size max_prepared_statements
  max_user_client_connections max_user_connections min_pool_size peer_id pidfile pkt_buf pool_mode
  pool_idle_timeout query_timeout query_wait_notify query_wait_timeout reserve_pool_size reserve_pool_timeout
  resolv_conf sbuf_loopcnt scram_iterations server_check_delay server_check_query server_connect_timeout
  server_fast_close server_idle_timeout server_lifetime server_login_retry server_reset_query
  server_reset_query_always server_round_robin server_tls13_ciphers server_tls_ca_file server_tls_cert_file
  server_tls_ciphers server_tls_key_file server_tls_protocols server_tls_sslmode so_reuseport stats_period
  stats_users suspend_timeout syslog syslog_facility syslog_ident tcp_defer_accept tcp_keepalive tcp_keepcnt
  tcp_keepidle tcp_keepintvl tcp_socket_buffer tcp_user_timeout track_extra_parameters transaction_timeout
  unix_socket_dir unix_socket_group unix_socket_mode user verbose`
  .trim()
  .split(/\s+/);

const restartOnly = `
  pidfile listen_addr listen_port unix_socket_dir unix_socket_mode unix_socket_group user listen_backlog
  so_reuseport job_name disable_pqexec resolv_conf pkt_buf track_extra_parameters workers`
  .trim()
  .split(/\s+/);

const withoutDefault = `
  auth_dbname auth_file auth_ident_file auth_ldap_options auth_user conffile client_tls13_ciphers
  server_tls13_ciphers user verbose`
  .trim()
  .split(/\s+/);

test('the table has every setting of PgBouncer, and ours have names of their own', () => {
  expect(Object.keys(settingsTable).sort()).toEqual([...expectedNames].sort());
  expect(Object.keys(ownSettingsTable).filter((name) => expectedNames.includes(name))).toEqual([]);
});

test('the right settings are read at start only', () => {
  expect(
    rows
      .filter(([, row]) => !row.reloadable)
      .map(([name]) => name)
      .sort(),
  ).toEqual(restartOnly.sort());
});

test('the right settings have no default', () => {
  expect(
    rows
      .filter(([, row]) => row.default === null)
      .map(([name]) => name)
      .sort(),
  ).toEqual(withoutDefault.sort());
});

test.each(
  rows,
)('%s has a doc of one sentence or two, and a default and an inert value that parse', (_name, row) => {
  expect(row.doc).toMatch(/^[A-Z*].{8,100}\.$/);
  expect(row.doc).not.toContain('\n');
  if (row.default !== null) expect(parseSetting(row, row.default).ok).toBe(true);
  expect(row.inert === null).toBe(row.effect === 'yes');
  if (row.inert !== null) expect(parseSetting(row, row.inert).ok).toBe(true);
});

test('scram_iterations takes what can be derived, and no more', () => {
  const row = settingsTable.scram_iterations;
  expect(parseSetting(row, String(MAX_PBKDF2_ITERATIONS)).ok).toBe(true);
  expect(parseSetting(row, String(MAX_PBKDF2_ITERATIONS + 1))).toEqual({
    ok: false,
    expected: 'an integer from 1 to 1000000',
  });
});

test('every setting stands in exactly one group', () => {
  const grouped = settingGroups.flatMap((group) => Object.keys(group.rows));
  expect([...grouped].sort()).toEqual(rows.map(([name]) => name).sort());
});

test('names that every object has are no settings', () => {
  expect([settingRow('toString'), settingRow('__proto__'), settingRow('')]).toEqual([null, null, null]);
});

test('SHOW CONFIG lists all settings by name, pool_mode before pool_idle_timeout, then ours', () => {
  const keys = configRows(load('[pgbouncer]\n')).map((row) => row.key);
  expect(keys.slice(0, 3)).toEqual(['admin_users', 'application_name_add_host', 'auth_dbname']);
  expect(keys.indexOf('pool_idle_timeout') - keys.indexOf('pool_mode')).toBe(1);
  const theirs = keys.slice(0, expectedNames.length);
  const sorted = theirs.filter((name) => name !== 'pool_mode');
  expect(sorted).toEqual([...sorted].sort());
  expect(keys.slice(expectedNames.length)).toEqual([
    'auth_query_cache_time',
    'log_format',
    'max_login_conn',
    'max_login_conn_per_address',
    'server_cancel_timeout',
    'server_close_timeout',
    'server_max_protocol_version',
    'syslog_socket',
    'workers',
  ]);
});

test('SHOW CONFIG shows values, defaults and whether RELOAD applies them', () => {
  const rowsByKey = new Map(
    configRows(load('[pgbouncer]\nlisten_addr = a,  b\nquery_timeout = 1.50\n')).map((row) => [row.key, row]),
  );
  expect(rowsByKey.get('unix_socket_mode')).toEqual({
    key: 'unix_socket_mode',
    value: '511',
    default: '0777',
    changeable: 'no',
  });
  expect(rowsByKey.get('query_timeout')).toMatchObject({ value: '1.5', default: '0', changeable: 'yes' });
  expect(rowsByKey.get('listen_addr')).toMatchObject({ value: 'a,  b', default: '' });
  expect(rowsByKey.get('auth_file')).toMatchObject({ value: null, default: null });
  expect(rowsByKey.get('verbose')).toMatchObject({ value: '0', default: null });
  expect(rowsByKey.get('conffile')).toMatchObject({ value: 'my.ini', default: null });
});

test('the Markdown table has one row for every setting', () => {
  const markdown = renderSettingsMarkdown();
  for (const [name] of rows) expect(markdown.split(`| \`${name}\` |`)).toHaveLength(2);
  expect(markdown).toContain('| `default_pool_size` | `20` | RELOAD | ');
  expect(markdown).toMatch(/\| `pkt_buf` \| `4096` \| restart \| .* \*\*No effect yet\.\*\* \|/);
});

test("README's table of settings is the one that the settings table makes", () => {
  const path = new URL('README.md', root);
  const readme = existsSync(path) ? readFileSync(path, 'utf8') : '';
  const marked = /<!-- settings:start -->\n([\s\S]*?)<!-- settings:end -->/.exec(readme)?.[1];
  expect((marked ?? renderSettingsMarkdown()).trim()).toBe(renderSettingsMarkdown().trim());
});

const examplePath = new URL('pgbouncer.example.ini', root).pathname;

test('the example loads without a warning, in transaction mode, for this machine only', () => {
  const config = loadConfig(examplePath, null);
  expect(config.warnings).toEqual([]);
  expect(config.settings).toMatchObject({ pool_mode: 'transaction', listen_addr: ['127.0.0.1'] });
  expect(config.autoDatabase).toContain('user=');
});

test('the example shows every setting with its default', () => {
  const lines = readFileSync(examplePath, 'utf8').split('\n');
  for (const [name, row] of Object.entries(ownSettingsTable)) {
    expect(lines).toContain(`;pgweir ${name} = ${row.default}`);
  }
  for (const [name, row] of Object.entries<SettingRow>(settingsTable)) {
    const isShown = lines.some((line) => line === `;${name} = ${row.default ?? ''}`.trimEnd());
    expect(isShown || lines.some((line) => line.startsWith(`${name} = `)), name).toBe(true);
  }
});

test('the example says of every setting what README says', () => {
  const lines = readFileSync(examplePath, 'utf8').split('\n');
  const own = Object.entries(ownSettingsTable).map(([name, row]) => [`;pgweir ${name} =`, row] as const);
  const pgbouncers = Object.entries<SettingRow>(settingsTable).flatMap(([name, row]) => [
    [`;${name} =`, row] as const,
    [`${name} =`, row] as const,
  ]);
  let count = 0;
  for (const [start, row] of [...own, ...pgbouncers]) {
    const at = lines.findIndex((line) => line === start || line.startsWith(`${start} `));
    if (at < 0) continue;
    count++;
    const comment = `; ${row.doc}${row.effect === 'yes' ? '' : ' No effect yet.'}`;
    // More may stand between it and the setting.
    const top = lines.slice(0, at).findLastIndex((line) => !line.startsWith('; ')) + 1;
    expect(lines.slice(top, at), start).toContain(comment);
  }
  expect(count).toBe(Object.keys(ownSettingsTable).length + Object.keys(settingsTable).length);
});

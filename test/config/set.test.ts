import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { setSetting } from '../../src/config/set.ts';
import { load } from './files.ts';

const config = load('[databases]\ndb = host=a\n[pgbouncer]\nlisten_port = 7000\n');

test('SET gives a new configuration and leaves the old one', () => {
  const result = setSetting(config, 'query_timeout', '1.5');
  if (!result.ok) throw new Error(result.reason);
  expect([result.config.settings.query_timeout, result.notice]).toEqual([1.5, null]);
  expect(result.config.texts.get('query_timeout')).toBe('1.5');
  expect(result.config.databases).toBe(config.databases);
  expect(config.settings.query_timeout).toBe(0);
});

test('SET of server_check_query takes effect at once', () => {
  const result = setSetting(config, 'server_check_query', 'select 1');
  expect(result.ok && result.config.settings.server_check_query).toBe('select 1');
});

test('SET takes our own settings too', () => {
  const result = setSetting(config, 'log_format', 'json');
  expect(result.ok && result.config.own.log_format).toBe('json');
});

test.each([
  ['nonsense', '1', 'there is no setting nonsense'],
  ['__proto__', '1', 'there is no setting __proto__'],
  ['listen_port', '7001', 'listen_port can be changed by a restart only'],
  ['pool_mode', 'both', 'pool_mode: expected session, transaction or statement'],
  [
    'auth_dbname',
    'pgbouncer',
    'auth_dbname: expected a database other than pgbouncer, which is reserved for the console',
  ],
])('SET %s=%s fails and says why', (key, value, reason) => {
  expect(setSetting(config, key, value)).toEqual({ ok: false, error: 'SET failed', reason });
});

test('SET cannot ask for security that is not there', () => {
  expect(setSetting(config, 'auth_type', 'hba').ok).toBe(false);
});

test.each([
  ['client_tls_ca_file', '', 'auth_type: expected client_tls_ca_file with auth_type cert'],
  [
    'client_tls_sslmode',
    'prefer',
    'auth_type: expected client_tls_sslmode = verify-full with auth_type cert',
  ],
])('SET does not take away what certificates are proved by: %s=%s', (key, value, reason) => {
  const asked = 'auth_type = cert\nclient_tls_sslmode = verify-ca\nclient_tls_ca_file = /ca.pem\n';
  const proved = load(`[databases]\ndb = host=a\n[pgbouncer]\n${asked}`);
  expect(setSetting(proved, key, value)).toEqual({ ok: false, error: 'SET failed', reason });
});

test('SET of a setting without effect says so', () => {
  const result = setSetting(config, 'sbuf_loopcnt', '9');
  expect(result.ok && result.notice).toBe('sbuf_loopcnt is set but without effect so far');
});

test('SET auth_file reads the new file, and keeps the old users when it cannot', () => {
  const folder = mkdtempSync(join(tmpdir(), 'set-'));
  try {
    writeFileSync(join(folder, 'users'), '"a" "1"\n');
    const result = setSetting(config, 'auth_file', join(folder, 'users'));
    if (!result.ok) throw new Error(result.reason);
    expect([...result.config.userlist]).toEqual([['a', '1']]);
    const gone = setSetting(result.config, 'auth_file', join(folder, 'none'));
    expect(gone).toEqual({
      ok: false,
      error: 'SET failed',
      reason: 'auth_file: expected a readable file (ENOENT)',
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { askLimits } from '../../src/check/ask.ts';
import type { Postgres } from '../../src/cli/start/postgres.ts';
import { createRole } from '../support/roles.ts';
import { startTlsPostgres, TlsFolder } from '../support/tls.ts';
import { SetUp, shown } from './kit.ts';

const files = new TlsFolder();
const identity = files.identity('pg', { commonName: 'localhost', altNames: ['localhost'] });
let postgres: Postgres;

beforeAll(async () => {
  postgres = await startTlsPostgres(identity, files.authority.certPem, [
    'hostnossl all check_tls 127.0.0.1/32 reject',
  ]);
  await createRole(postgres.address, { name: 'check_tls', auth: 'scram', password: 'known' });
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  files[Symbol.dispose]();
});

/** What is found in a set-up with these lines of TLS. */
async function found(
  lines: string,
  ask: typeof askLimits | null = null,
  host = 'localhost',
): Promise<string[]> {
  using setUp = new SetUp(
    `[databases]
app = host=${host} port=${postgres.port} dbname=postgres
[pgbouncer]
listen_addr = 127.0.0.1
auth_type = scram-sha-256
auth_file = {dir}/users.txt
pool_mode = transaction
${lines}
`,
    { 'users.txt': '"check_tls" "known"' },
  );
  return shown(await setUp.check({ ask }));
}

describe('TLS that cannot be had is an error of its setting, once', () => {
  const both = `client_tls_cert_file = ${identity.certFile}\nclient_tls_key_file = ${identity.keyFile}\n`;

  test.each([
    ['client_tls_sslmode = require', 'error tls client_tls_cert_file'],
    [`${both}client_tls_sslmode = verify-full`, 'error tls client_tls_ca_file'],
    [`${both}client_tls_sslmode = require\nclient_tls_ciphers = ROT13`, 'error tls client_tls_ciphers'],
    [
      `client_tls_sslmode = require\nclient_tls_cert_file = ${identity.certFile}\nclient_tls_key_file = /nowhere.key`,
      'error missing-file client_tls_key_file',
    ],
    ['server_tls_sslmode = verify-ca\nserver_tls_ca_file = /nowhere.pem', 'error tls server_tls_ca_file'],
  ])('%s', async (lines, finding) => {
    expect(await found(lines)).toEqual([finding]);
  });

  test('that can be had is none', async () => {
    expect(await found(`${both}client_tls_sslmode = require`)).toEqual([]);
  });
});

describe('a server is asked over TLS where the settings say so', () => {
  test('and only there', async () => {
    expect(await found('server_tls_sslmode = prefer', askLimits)).toEqual([]);
    const verified = `server_tls_sslmode = verify-full\nserver_tls_ca_file = ${files.caFile}`;
    expect(await found(verified, askLimits)).toEqual([]);
    const refused = [`error connect localhost:${postgres.port}`];
    expect(await found('server_tls_sslmode = disable', askLimits)).toEqual(refused);
  });

  test('and not in the clear where it has not the right certificate', async () => {
    const verified = `server_tls_sslmode = verify-full\nserver_tls_ca_file = ${files.caFile}`;
    expect(await found(verified, askLimits, '127.0.0.1')).toEqual([
      `error connect 127.0.0.1:${postgres.port}`,
    ]);
  });
});

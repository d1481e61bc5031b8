import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Postgres } from '../../src/cli/start/postgres.ts';
import {
  type Certificate,
  type CertificateOptions,
  makeCertificate,
  type SignatureKind,
} from '../support/certificates.ts';
import { type LocalPooler, startPooler, type TestPoolerOptions } from '../support/pooler.ts';
import { connectTo } from '../support/postgres.ts';
import { Psql } from '../support/psql.ts';
import { createRole } from '../support/roles.ts';
import {
  type IdentityFiles,
  ManInTheMiddle,
  showCertificate,
  startTlsPostgres,
  TlsFolder,
} from '../support/tls.ts';
import { waitFor } from '../support/wait-for.ts';

const PASSWORD = 'right one';
const files = new TlsFolder();
const pgIdentity = files.identity('pg', { commonName: 'localhost' });
const shown = files.identity('pooler', { commonName: 'localhost' });
const foreign = files.identity('foreign', { commonName: 'localhost' });

let postgres: Postgres;
/** What PostgreSQL stores of the role's password. */
let verifier: string;
beforeAll(async () => {
  postgres = await startTlsPostgres(pgIdentity, files.authority.certPem);
  verifier = (await createRole(postgres.address, { name: 'cb', auth: 'scram', password: PASSWORD })) ?? '';
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  files[Symbol.dispose]();
});

/** A pooler with SCRAM and TLS on both sides. `serverPort`: where it takes PostgreSQL to be. */
function scramPooler(
  settings: Readonly<Record<string, string | number>> = {},
  options: TestPoolerOptions & { readonly serverPort?: number; readonly identity?: IdentityFiles } = {},
): Promise<LocalPooler> {
  const { serverPort = postgres.port, identity = shown, ...rest } = options;
  return startPooler({
    postgres: postgres.address,
    databases: { '*': `host=localhost port=${serverPort}` },
    userlist: { cb: PASSWORD },
    ...rest,
    settings: {
      auth_type: 'scram-sha-256',
      server_tls_sslmode: 'require',
      client_tls_sslmode: 'prefer',
      client_tls_cert_file: identity.certFile,
      client_tls_key_file: identity.keyFile,
      ...settings,
    },
  });
}

/** A login with node-postgres, which binds the channel where that is offered; gives `ok` or the error. */
async function logIn(port: number, config: pg.ClientConfig = {}): Promise<string> {
  try {
    const client = await connectTo(
      { ...postgres.address, port },
      {
        user: 'cb',
        password: PASSWORD,
        ssl: { ca: files.authority.certPem, servername: 'localhost' },
        ...bindsChannel,
        ...config,
      },
    );
    await client.query('SELECT 1');
    await client.end();
    return 'ok';
  } catch (error) {
    return (error as Error).message;
  }
}

/** One whose signature is of this kind: it signs itself, since that takes a key of the kind. */
function selfSigned(signature: SignatureKind): Certificate {
  return makeCertificate({ commonName: 'localhost', signature });
}

/** An option that the package's types do not know. */
const bindsChannel = { enableChannelBinding: true } as pg.ClientConfig;

const certificates: readonly (readonly [string, CertificateOptions])[] = [
  ['ECDSA with SHA-256', {}],
  ['ECDSA with SHA-384', { signature: 'ecdsa-sha384' }],
  ['ECDSA with SHA-512', { signature: 'ecdsa-sha512' }],
];

describe.each([
  ['of PostgreSQL 18', Psql.find()],
  ['that is installed', Psql.findInstalled()],
])('psql with the libpq %s', (_name, psql) => {
  const skipped = psql === null;

  function connection(port: number, more: Readonly<Record<string, string | number>> = {}) {
    const base = { host: '127.0.0.1', port, user: 'cb', password: PASSWORD, dbname: 'postgres' };
    return { ...base, sslmode: 'require', channel_binding: 'require', ...more };
  }

  test.skipIf(skipped).each(certificates)('binds to a certificate signed by %s', async (_kind, options) => {
    const identity = files.identity('kind', { commonName: 'localhost', ...options });
    await using pooler = await scramPooler({}, { identity });
    const end = await psql?.run(connection(pooler.port), 'SELECT 42');
    expect(end).toEqual({ code: 0, stdout: '42', stderr: '' });
  });

  test.skipIf(skipped).each([
    ['a certificate signed by RSA-PSS', 'rsa-pss-sha384'],
    ['a certificate signed by RSA with SHA-1', 'rsa-sha1'],
  ] as const)('binds to %s', async (_kind, signature) => {
    const identity = files.keep('rsa', selfSigned(signature));
    await using pooler = await scramPooler({ client_tls_ciphers: 'DEFAULT:@SECLEVEL=0' }, { identity });
    const end = await psql?.run(connection(pooler.port), 'SELECT 42');
    expect(end).toEqual({ code: 0, stdout: '42', stderr: '' });
  });

  test.skipIf(skipped)('is not offered it where Ed25519 has signed, and logs in without', async () => {
    const identity = files.keep('ed', selfSigned('ed25519'));
    await using pooler = await scramPooler({}, { identity });
    const required = await psql?.run(connection(pooler.port), 'SELECT 42');
    expect(required?.stderr).toMatch(/did not offer an authentication method that supports channel binding/);
    const preferred = await psql?.run(connection(pooler.port, { channel_binding: 'prefer' }), 'SELECT 42');
    expect(preferred).toEqual({ code: 0, stdout: '42', stderr: '' });
  });

  test.skipIf(skipped)('logs in without it in the clear, and not if it insists', async () => {
    await using pooler = await scramPooler();
    const clear = { sslmode: 'disable' };
    const preferred = connection(pooler.port, { ...clear, channel_binding: 'prefer' });
    expect((await psql?.run(preferred, 'SELECT 42'))?.stdout).toBe('42');
    expect((await psql?.run(connection(pooler.port, clear), 'SELECT 42'))?.stderr).toContain(
      'channel binding',
    );
  });

  test.skipIf(skipped)('finds out who has put another certificate in between', async () => {
    await using pooler = await scramPooler();
    await using middle = await ManInTheMiddle.start(pooler.port, foreign);
    const verified = { sslmode: 'verify-ca', sslrootcert: files.caFile };
    // The certificate is the authority's: without channel binding nobody notices.
    const unbound = connection(middle.port, { ...verified, channel_binding: 'disable' });
    expect((await psql?.run(unbound, 'SELECT 42'))?.stdout).toBe('42');
    for (const channel_binding of ['prefer', 'require']) {
      const end = await psql?.run(connection(middle.port, { ...verified, channel_binding }), 'SELECT 42');
      expect(end?.stdout).toBe('');
      expect(end?.stderr).toContain('SASL authentication failed');
    }
    expect(pooler.lines.filter((line) => line.includes('channel binding differs'))).toHaveLength(2);
  });
});

describe('towards PostgreSQL', () => {
  /** Waits until the server's refusal has been logged. */
  async function refusal(pooler: LocalPooler): Promise<string> {
    const line = () => pooler.lines.find((said) => said.includes('server login failed: FATAL'));
    return String(await waitFor(line));
  }

  test.each([
    ['a password', () => ({ cb: PASSWORD })],
    ['keys of a pass-through', () => ({ cb: verifier })],
  ])('we log in with %s, and are refused through somebody in between', async (_name, userlist) => {
    await using pooler = await scramPooler({}, { userlist: userlist() });
    expect(await logIn(pooler.port)).toBe('ok');
    await using middle = await ManInTheMiddle.start(postgres.port, foreign);
    await using tapped = await scramPooler(
      { server_tls_sslmode: 'verify-full', server_tls_ca_file: files.caFile },
      { userlist: userlist(), serverPort: middle.port },
    );
    expect(await logIn(tapped.port)).toMatch(/channel binding/);
    expect(await refusal(tapped)).toContain('SCRAM channel binding check failed');
  });

  test('we log in without it where Ed25519 has signed, although it is offered', async () => {
    await using own = await startTlsPostgres(pgIdentity, files.authority.certPem);
    await createRole(own.address, { name: 'cb', auth: 'scram', password: PASSWORD });
    await showCertificate(own, selfSigned('ed25519'), files.authority.certPem);
    await using pooler = await scramPooler({}, { serverPort: own.port });
    expect(await logIn(pooler.port)).toBe('ok');
  });

  test('we log in by the certificate that was shown to us, also while PostgreSQL gets another', async () => {
    await using own = await startTlsPostgres(pgIdentity, files.authority.certPem);
    await createRole(own.address, { name: 'cb', auth: 'scram', password: PASSWORD });
    await using pooler = await scramPooler({}, { serverPort: own.port });
    expect(await logIn(pooler.port)).toBe('ok');
    await showCertificate(own, foreign, files.authority.certPem);
    pooler.pooler.state.pools.all().forEach((pool) => pool.markAllCloseNeeded(true));
    expect(await logIn(pooler.port)).toBe('ok');
  });
});

test('a login that a RELOAD overtakes is bound to the certificate that its handshake has seen', async () => {
  const renewed = files.identity('renewed', { commonName: 'localhost' });
  await using pooler = await scramPooler({}, { identity: renewed });
  let asked = 0;
  const password = () => {
    // Between the handshake, with its offer, and the client's first message.
    files.identity('renewed', { commonName: 'localhost', signature: 'ecdsa-sha384' });
    void pooler.reload();
    asked++;
    return PASSWORD;
  };
  expect(await logIn(pooler.port, { password })).toBe('ok');
  expect(asked).toBe(1);
  expect(await logIn(pooler.port)).toBe('ok');
});

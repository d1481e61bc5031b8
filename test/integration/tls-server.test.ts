import { createHash } from 'node:crypto';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Postgres } from '../../src/cli/start/postgres.ts';
import { makeCertificate } from '../support/certificates.ts';
import { backend, frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler, type TestPoolerOptions } from '../support/pooler.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { refusalOf } from '../support/refusals.ts';
import { createRole } from '../support/roles.ts';
import { playLogin, type ScriptedPeer, ScriptedServer } from '../support/scripted-peer.ts';
import { sweepsPass } from '../support/sweeps.ts';
import { acceptEncrypted, expectSslRequest, startTlsPostgres, TlsFolder } from '../support/tls.ts';
import { waitFor } from '../support/wait-for.ts';

const files = new TlsFolder();
const identity = files.identity('server', { commonName: 'pg', altNames: ['localhost'] });
const own = files.identity('own', { commonName: 'ts_cert' });
const otherCa = files.write('other-ca.pem', makeCertificate({ commonName: 'another', isCa: true }).certPem);

let postgres: Postgres;
beforeAll(async () => {
  postgres = await startTlsPostgres(identity, files.authority.certPem, [
    'hostssl all ts_only 127.0.0.1/32 trust',
    'hostnossl all ts_only 127.0.0.1/32 reject',
    'hostssl all ts_cert 127.0.0.1/32 cert',
  ]);
  await createRole(postgres.address, { name: 'ts_only', auth: 'scram' });
  await createRole(postgres.address, { name: 'ts_cert', auth: 'scram' });
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  files[Symbol.dispose]();
});

/** A pooler in front of it. `host` is what the entry says. */
function tlsPooler(
  mode: string,
  settings: Readonly<Record<string, string | number>> = {},
  { host = 'localhost', ...options }: TestPoolerOptions & { readonly host?: string } = {},
): Promise<LocalPooler> {
  const to = options.postgres ?? postgres.address;
  return startPooler({
    postgres: to,
    databases: { '*': `host=${host} port=${to.port}` },
    userlist: { ts_only: '', ts_cert: '' },
    ...options,
    settings: { server_tls_sslmode: mode, server_login_retry: 0, query_wait_timeout: 20, ...settings },
  });
}

/** `TLSv1.3`, `clear`, or how the first query ended. */
async function encryption(pooler: LocalPooler, config: pg.ClientConfig = {}): Promise<string> {
  const client = await pooler.client(config).catch((error: Error) => error);
  if (client instanceof Error) return client.message;
  try {
    const { rows } = await client.query<{ version: string | null }>(
      'SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
    );
    return rows[0]?.version ?? 'clear';
  } catch (error) {
    return (error as Error).message;
  } finally {
    await client.end();
  }
}

function lines(pooler: LocalPooler, text: string): string[] {
  return pooler.lines.filter((line) => line.includes(text));
}

/** Waits until no connection to a server came about for this reason, and gives what the log says of it. */
async function failedBecause(pooler: LocalPooler, reason: string): Promise<string[]> {
  // It waits for a server in vain.
  const client = pooler.client();
  client.catch(() => {});
  await waitFor(() => lines(pooler, `closing because: ${reason}`).length > 0);
  const said = pooler.lines.filter((line) => line.startsWith('WARNING S-'));
  return said.map((line) => line.replace(/^WARNING S-\S+ \S+ /, ''));
}

describe('server_tls_sslmode', () => {
  test.each([
    ['disable', 'clear'],
    ['allow', 'TLSv1.3'],
    ['prefer', 'TLSv1.3'],
    ['require', 'TLSv1.3'],
  ])('%s with a PostgreSQL that has TLS is %s, whoever signed its certificate', async (mode, expected) => {
    await using pooler = await tlsPooler(mode, { server_tls_ca_file: otherCa });
    expect(await encryption(pooler)).toBe(expected);
  });

  test.each(['allow', 'prefer'])('%s with one that has none is in the clear', async (mode) => {
    await using pooler = await tlsPooler(mode, {}, { postgres: sharedPostgres() });
    expect(await encryption(pooler)).toBe('clear');
  });

  test.each([
    'require',
    'verify-ca',
    'verify-full',
  ])('%s with one that has none is no connection', async (mode) => {
    const settings = { server_tls_ca_file: files.caFile };
    await using pooler = await tlsPooler(mode, settings, { postgres: sharedPostgres() });
    expect(await failedBecause(pooler, 'server refused SSL')).toEqual([]);
  });

  test.each([
    ['verify-ca', 'localhost'],
    ['verify-ca', '127.0.0.1'],
    ['verify-full', 'localhost'],
  ])('%s takes a certificate of the authority, connected to as %s', async (mode, host) => {
    await using pooler = await tlsPooler(mode, { server_tls_ca_file: files.caFile }, { host });
    expect(await encryption(pooler)).toBe('TLSv1.3');
  });

  test('verify-full takes no other host’s certificate', async () => {
    await using pooler = await tlsPooler(
      'verify-full',
      { server_tls_ca_file: files.caFile },
      { host: '127.0.0.1' },
    );
    expect(await failedBecause(pooler, 'TLS handshake failed')).toEqual([
      'TLS handshake failed: the server\'s certificate is not for host "127.0.0.1"',
    ]);
  });

  test.each(['verify-ca', 'verify-full'])('%s takes no certificate of another authority', async (mode) => {
    await using pooler = await tlsPooler(mode, { server_tls_ca_file: otherCa });
    expect(await failedBecause(pooler, 'TLS handshake failed')).toEqual([
      'TLS handshake failed: self-signed certificate in certificate chain',
    ]);
  });

  test('verify-full without a file trusts the system’s authorities, who do not know this one', async () => {
    await using pooler = await tlsPooler('verify-full');
    expect((await failedBecause(pooler, 'TLS handshake failed')).length).toBe(1);
  });

  test('counts for nothing at a unix socket', async () => {
    const settings = { server_tls_ca_file: files.caFile };
    await using pooler = await tlsPooler('verify-full', settings, { host: postgres.address.socketDir });
    expect(await encryption(pooler)).toBe('clear');
  });
});

test('a server that takes TLS alone is reached, and a client certificate logs us in', async () => {
  await using pooler = await tlsPooler('require', {
    server_tls_cert_file: own.certFile,
    server_tls_key_file: own.keyFile,
  });
  expect(await encryption(pooler, { user: 'ts_only' })).toBe('TLSv1.3');
  expect(await encryption(pooler, { user: 'ts_cert' })).toBe('TLSv1.3');
  await using without = await tlsPooler('require');
  expect(await encryption(without, { user: 'ts_cert' })).toContain('valid client certificate');
});

test('the settings choose version and cipher, and log and SHOW name them', async () => {
  await using pooler = await tlsPooler('require', {
    server_tls_protocols: 'tlsv1.2',
    server_tls_ciphers: 'ECDHE-ECDSA-AES256-GCM-SHA384',
  });
  const client = await pooler.client();
  await client.query('SELECT 1');
  const [row] = await pooler.show('SHOW SERVERS');
  expect(row?.['tls']).toMatch(/^TLSv1\.2\/ECDHE-ECDSA-AES256-GCM-SHA384\/ECDH=\w+$/);
  expect(lines(pooler, `SSL established: ${row?.['tls']}`)).toHaveLength(1);
  await pooler.reload({
    settings: { server_tls_protocols: 'tlsv1.3', server_tls13_ciphers: 'TLS_AES_128_GCM_SHA256' },
  });
  await client.end();
  const again = await pooler.client();
  await again.query('SELECT 1');
  await waitFor(async () =>
    (await pooler.show('SHOW SERVERS')).every((shown) =>
      /^TLSv1\.3\/TLS_AES_128_GCM_SHA256\/ECDH=\w+$/.test(String(shown['tls'])),
    ),
  );
  await again.end();
});

test('much goes through both encrypted sides whole', async () => {
  const shown = files.identity('pooler', { commonName: 'localhost' });
  await using pooler = await tlsPooler('require', {
    pool_mode: 'transaction',
    client_tls_sslmode: 'require',
    client_tls_cert_file: shown.certFile,
    client_tls_key_file: shown.keyFile,
  });
  const client = await pooler.client({ ssl: { ca: files.authority.certPem, servername: 'localhost' } });
  const sizes = [0, 1, 16_383, 16_384, 16_385, 65_536, 5_000_000];
  for (const size of sizes) {
    const text = createHash('shake256', { outputLength: Math.ceil(size / 2) })
      .update(String(size))
      .digest('hex')
      .slice(0, size);
    const { rows } = await client.query<{ back: string }>('SELECT $1::text AS back', [text]);
    expect(rows[0]?.back === text).toBe(true);
  }
  await client.end();
});

describe('RELOAD and SET', () => {
  async function backendPid(client: pg.Client): Promise<number> {
    return (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid ?? 0;
  }

  test('recycle server connections where what they are encrypted by has changed, and else not', async () => {
    const renewed = files.identity('renewed', { commonName: 'ts_cert' });
    await using pooler = await tlsPooler('require', {
      pool_mode: 'transaction',
      server_tls_cert_file: renewed.certFile,
      server_tls_key_file: renewed.keyFile,
    });
    const client = await pooler.client();
    const first = await backendPid(client);
    await pooler.reload({ settings: { query_timeout: 60 } });
    files.keep('renewed', renewed);
    await pooler.reload({ settings: { server_tls_protocols: 'tlsv1.2,tlsv1.3' } });
    expect(await backendPid(client)).toBe(first);
    await client.query('BEGIN');
    files.identity('renewed', { commonName: 'ts_cert' });
    await pooler.reload();
    // The transaction keeps its server.
    expect(await backendPid(client)).toBe(first);
    await client.query('COMMIT');
    const second = await backendPid(client);
    expect(second).not.toBe(first);
    await pooler.reload({ settings: { server_tls_sslmode: 'disable' } });
    expect(await backendPid(client)).not.toBe(second);
    expect((await client.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')).rows).toEqual([
      { ssl: false },
    ]);
    await client.end();
  });

  test('let clients log in while transactions hold every server connection', async () => {
    await using pooler = await tlsPooler('require', { pool_mode: 'transaction', default_pool_size: 1 });
    const busy = await pooler.client();
    await busy.query('BEGIN');
    const first = await backendPid(busy);
    await pooler.reload({ settings: { server_tls_protocols: 'tlsv1.2' } });
    // There is no room for a new one that could report its parameters.
    const late = await pooler.client();
    expect(await backendPid(busy)).toBe(first);
    await busy.query('COMMIT');
    expect(await backendPid(late)).not.toBe(first);
    await Promise.all([busy.end(), late.end()]);
  });

  test('SET that TLS cannot follow keeps servers as they are', async () => {
    await using pooler = await tlsPooler('require', { pool_mode: 'transaction' });
    const client = await pooler.client();
    const first = await backendPid(client);
    const admin = await pooler.admin();
    const notices: (string | undefined)[] = [];
    admin.on('notice', ({ message }) => notices.push(message));
    await admin.query("SET server_tls_ca_file = '/nowhere.pem'");
    expect(notices).toEqual(['TLS settings could not be applied, still using old configuration']);
    expect(await backendPid(client)).toBe(first);
    await Promise.all([client.end(), admin.end()]);
  });
});

describe('a server of which we know every byte', () => {
  let server: ScriptedServer;
  beforeAll(async () => {
    server = await ScriptedServer.listen();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  function pooler(
    mode: string,
    settings: Readonly<Record<string, string | number>> = {},
  ): Promise<LocalPooler> {
    return tlsPooler(
      mode,
      { pool_mode: 'transaction', default_pool_size: 1, ...settings },
      { databases: { '*': `host=localhost port=${server.port}` } },
    );
  }

  test.each([
    ['another byte', 'X', 'bad sslreq answer'],
    ['an error, as before PostgreSQL 7', 'EFATAL: what?\0', 'bad sslreq answer'],
    [
      'S with bytes stuffed behind it',
      'SR\0\0\0\x08\0\0\0\0',
      'received unencrypted data after SSL response',
    ],
    [
      'N with bytes stuffed behind it',
      'NR\0\0\0\x08\0\0\0\0',
      'received unencrypted data after SSL response',
    ],
  ])('%s is no answer to SSLRequest (CVE-2021-3935)', async (_name, answer, reason) => {
    await using front = await pooler('prefer', { server_login_retry: 60 });
    const failing = failedBecause(front, reason);
    const peer = await server.accept();
    await expectSslRequest(peer);
    await peer.send(Buffer.from(answer, 'latin1'));
    expect(await peer.end()).toHaveLength(0);
    await peer.close();
    await failing;
  });

  test('TLS that fails is not followed by a try in the clear, nor by one for protocol 3.0', async () => {
    await using front = await pooler('prefer', { server_login_retry: 60 });
    const before = server.accepted;
    const failing = failedBecause(front, 'TLS handshake failed');
    const peer = await server.accept();
    await expectSslRequest(peer);
    await peer.send(Buffer.from('S'));
    await peer.bytes(1);
    await peer.send(Buffer.from('no handshake at all'));
    await peer.end();
    await peer.close();
    expect(await failing).toEqual([expect.stringMatching(/^TLS handshake failed: [a-z ]+$/)]);
    await sweepsPass(2);
    expect(server.accepted).toBe(before + 1);
  });

  test('a server that is silent after S has server_connect_timeout', async () => {
    await using front = await pooler('prefer', { server_connect_timeout: 0.2, server_login_retry: 60 });
    const failing = failedBecause(front, 'connect timeout');
    const peer = await server.accept();
    await expectSslRequest(peer);
    await peer.send(Buffer.from('S'));
    await peer.end();
    await peer.close();
    await failing;
  });

  test('is told the host’s name and the protocol, and gets cancels encrypted, too', async () => {
    await using front = await pooler('prefer');
    const clients = front.client();
    const { peer, socket } = await acceptEncrypted(server, identity);
    await playLogin(peer);
    // Node's server names a protocol only where it has one to choose.
    expect((socket as { servername?: unknown }).servername).toBe('localhost');
    const client = await clients;
    const running = refusalOf(client.query('SELECT 1'));
    await peer.message('Q');
    const cancel = await front.pooler.control.request(
      { kind: 'killClient', id: [...front.pooler.state.sessions.keys()][0] ?? 0 },
      new AbortController().signal,
    );
    expect(cancel.ok).toBe(true);
    await running;
    const second = await acceptEncrypted(server, identity);
    expect(await second.peer.bytes(16)).toEqual(frontend.cancelRequest(4242, Buffer.from('KEY!')));
    await Promise.all([second.peer.close(), peer.close()]);
  });

  test('that refuses TLS to a cancel of an encrypted connection gets no key', async () => {
    await using front = await pooler('prefer');
    const clients = front.client();
    const { peer } = await acceptEncrypted(server, identity);
    await playLogin(peer);
    const client = await clients;
    const running = refusalOf(client.query('SELECT 1'));
    await peer.message('Q');
    const [session] = [...front.pooler.state.sessions.values()];
    const sent = front.pooler.control.request(
      { kind: 'killClient', id: session?.id ?? 0 },
      new AbortController().signal,
    );
    expect((await sent).ok).toBe(true);
    await running;
    const second = await server.accept();
    await expectSslRequest(second);
    await second.send(Buffer.from('N'));
    expect(await second.end()).toHaveLength(0);
    await Promise.all([second.close(), peer.close()]);
  });

  test('that does not take protocol 3.2 is asked for 3.0 over TLS again', async () => {
    await using front = await pooler('require');
    const clients = front.client();
    const refusal = backend.errorResponse({ S: 'FATAL', C: '0A000', M: 'unsupported frontend protocol 3.2' });
    const asked = async (version: number): Promise<ScriptedPeer> => {
      const { peer } = await acceptEncrypted(server, identity);
      expect((await peer.packet()).body.readInt32BE(0)).toBe(version);
      return peer;
    };
    const first = await asked(0x30002);
    await first.send(refusal);
    await first.close();
    const second = await asked(0x30000);
    await second.send(
      backend.authenticationOk(),
      backend.backendKeyData(1, Buffer.from('KEY!')),
      backend.readyForQuery(),
    );
    const client = await clients;
    const [row] = (await front.show('SHOW SERVERS')).filter(({ database }) => database === 'postgres');
    expect(row?.['tls']).toContain('TLSv1.3');
    await client.end();
    await second.close();
  });
});

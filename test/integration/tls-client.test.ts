import { createHash } from 'node:crypto';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sleeps } from '../support/backends.ts';
import { makeCertificate } from '../support/certificates.ts';
import { errorFields, frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler, type TestPoolerOptions } from '../support/pooler.ts';
import { Psql } from '../support/psql.ts';
import { withSeed } from '../support/random.ts';
import { connectPeer, type ScriptedPeer } from '../support/scripted-peer.ts';
import { connectEncrypted, isTakenUp, secure, TlsFolder } from '../support/tls.ts';
import { waitFor } from '../support/wait-for.ts';

const files = new TlsFolder();
afterAll(() => files[Symbol.dispose]());

const server = files.identity('server', { commonName: 'localhost', altNames: ['localhost', '127.0.0.1'] });
const client = files.identity('client', { commonName: 'alice', altNames: ['alice.example.com'] });
const stranger = makeCertificate({ commonName: 'alice' });

/** A pooler with TLS towards clients. */
function tlsPooler(
  mode: string,
  settings: Readonly<Record<string, string | number>> = {},
  options: TestPoolerOptions = {},
): Promise<LocalPooler> {
  return startPooler({
    ...options,
    settings: {
      client_tls_sslmode: mode,
      client_tls_cert_file: server.certFile,
      client_tls_key_file: server.keyFile,
      ...settings,
    },
  });
}

/** TLS as a client's that verifies the pooler. */
const verified: pg.ClientConfig['ssl'] = { ca: files.authority.certPem, servername: 'localhost' };
const withCertificate: pg.ClientConfig['ssl'] = { ...verified, cert: client.certPem, key: client.keyPem };

/** `ok`, or how the login ended. */
async function outcome(pooler: LocalPooler, config: pg.ClientConfig): Promise<string> {
  try {
    const connected = await pooler.client(config);
    const { rows } = await connected.query<{ one: number }>('SELECT 1 AS one');
    await connected.end();
    return rows[0]?.one === 1 ? 'ok' : 'wrong';
  } catch (error) {
    return (error as Error).message;
  }
}

/** The text of the FATAL error that comes next, behind which the connection ends. */
async function fatalText(peer: ScriptedPeer): Promise<string> {
  const { body } = await peer.message('E');
  expect(await peer.end()).toHaveLength(0);
  await peer.close();
  return errorFields(body)['M'] ?? '';
}

describe.each([
  ['disable', {}, { plain: 'ok', tls: 'The server does not support SSL connections' }],
  ['allow', {}, { plain: 'ok', tls: 'ok' }],
  ['prefer', {}, { plain: 'ok', tls: 'ok' }],
  ['require', {}, { plain: 'SSL required', tls: 'ok' }],
  [
    'verify-ca',
    { client_tls_ca_file: files.caFile },
    { plain: 'SSL required', tls: 'certificate verify failed: no certificate' },
  ],
  [
    'verify-full',
    { client_tls_ca_file: files.caFile },
    { plain: 'SSL required', tls: 'certificate verify failed: no certificate' },
  ],
])('client_tls_sslmode = %s', (mode, settings, expected) => {
  let pooler: LocalPooler;
  beforeAll(async () => {
    pooler = await tlsPooler(mode, settings);
  });
  afterAll(() => pooler[Symbol.asyncDispose]());

  test('over TCP, in the clear', async () => {
    expect(await outcome(pooler, {})).toBe(expected.plain);
  });

  test('over TCP, encrypted', async () => {
    expect(await outcome(pooler, { ssl: verified })).toBe(expected.tls);
  });

  test('over the unix socket it is never encrypted', async () => {
    expect(await outcome(pooler, { host: pooler.socketDir })).toBe('ok');
    const peer = await connectPeer(pooler.socketPath);
    await peer.send(frontend.sslRequest());
    expect((await peer.bytes(1)).toString()).toBe('N');
    await peer.close();
  });

  test('bytes stuffed behind SSLRequest are refused (CVE-2021-3935)', async () => {
    const peer = await connectPeer(pooler.port);
    await peer.send(frontend.sslRequest(), frontend.startup({ user: pooler.postgres.user }));
    expect(await fatalText(peer)).toBe('received unencrypted data after SSL request');
  });

  test('a cancel request need not be encrypted', async () => {
    const peer = await connectPeer(pooler.port);
    await peer.send(frontend.cancelRequest(1, Buffer.from('none')));
    expect(await peer.end()).toHaveLength(0);
    await waitFor(() => pooler.lines.some((line) => line.includes('failed cancel request')));
    await peer.close();
  });
});

describe('client certificates', () => {
  let pooler: LocalPooler;
  beforeAll(async () => {
    pooler = await tlsPooler('verify-full', { client_tls_ca_file: files.caFile });
  });
  afterAll(() => pooler[Symbol.asyncDispose]());

  test('of the authority let a client in, and their names are known', async () => {
    const connected = await pooler.client({ ssl: withCertificate });
    const [connection] = [...pooler.pooler.state.connections];
    expect(connection?.tls?.peerCertificate).toEqual({
      commonName: 'alice',
      altNames: ['alice.example.com'],
    });
    await connected.end();
  });

  test.each([
    ['of nobody that is known', stranger, 'certificate verify failed: self-signed certificate'],
    [
      'that have expired',
      makeCertificate({ issuer: files.authority, commonName: 'alice', validFromDays: -9, validToDays: -1 }),
      'certificate verify failed: certificate has expired',
    ],
  ])('%s do not, and the client is told why', async (_name, { certPem, keyPem }, text) => {
    const ended = await outcome(pooler, { ssl: { ...verified, cert: certPem, key: keyPem } });
    expect(ended).toBe(text);
    expect(pooler.lines.filter((line) => line.includes(`closing because: ${text}`))).toHaveLength(1);
  });

  test('are asked for where there is an authority, and then have to be good, but need not be there', async () => {
    await using optional = await tlsPooler('prefer', { client_tls_ca_file: files.caFile });
    expect(await outcome(optional, { ssl: verified })).toBe('ok');
    expect(await outcome(optional, { ssl: withCertificate })).toBe('ok');
    const wrong = { ...verified, cert: stranger.certPem, key: stranger.keyPem };
    expect(await outcome(optional, { ssl: wrong })).toBe(
      'certificate verify failed: self-signed certificate',
    );
  });

  test('are not asked for without an authority', async () => {
    await using plain = await tlsPooler('require');
    const wrong = { ...verified, cert: stranger.certPem, key: stranger.keyPem };
    const connected = await plain.client({ ssl: wrong });
    expect([...plain.pooler.state.connections][0]?.tls?.peerCertificate).toBe(null);
    await connected.end();
  });
});

describe('sessions', () => {
  test.each([
    'TLSv1.2',
    'TLSv1.3',
  ] as const)('are taken up by %s without client certificates only', async (version) => {
    const options = { maxVersion: version, ca: files.authority.certPem, servername: 'localhost' };
    await using open = await tlsPooler('require');
    const { user } = open.postgres;
    expect(await isTakenUp({ port: open.port, user }, options)).toBe(true);
    await using strict = await tlsPooler('verify-full', { client_tls_ca_file: files.caFile });
    const own = { ...options, cert: client.certPem, key: client.keyPem };
    expect(await isTakenUp({ port: strict.port, user }, own)).toBe(false);
  });
});

describe('direct TLS', () => {
  let pooler: LocalPooler;
  beforeAll(async () => {
    pooler = await tlsPooler('require');
  });
  afterAll(() => pooler[Symbol.asyncDispose]());

  test('serves a client that names PostgreSQL’s protocol', async () => {
    const { peer, socket } = await secure(await connectPeer(pooler.port), {
      ALPNProtocols: ['h2', 'postgresql'],
    });
    expect(socket.alpnProtocol).toBe('postgresql');
    await peer.send(frontend.startup({ user: pooler.postgres.user, database: 'postgres' }));
    await peer.messagesTo('Z');
    await peer.close();
  });

  test('is closed after the handshake where the client names none', async () => {
    const { peer } = await secure(await connectPeer(pooler.port));
    expect(await peer.end()).toHaveLength(0);
    await waitFor(() =>
      pooler.lines.some((line) => line.includes('closing because: direct TLS without ALPN')),
    );
    await peer.close();
  });

  test('is refused in the handshake where the client names others alone, SSLRequest or not', async () => {
    const others = { ALPNProtocols: ['h2', 'http/1.1'] };
    await expect(secure(await connectPeer(pooler.port), others)).rejects.toMatchObject({
      message: expect.stringContaining('no application protocol') as string,
    });
    await expect(connectEncrypted(pooler.port, others)).rejects.toMatchObject({
      message: expect.stringContaining('no application protocol') as string,
    });
  });

  test('is a bad packet where there is no TLS', async () => {
    await using plain = await startPooler();
    for (const to of [plain.port, pooler.socketPath]) {
      const peer = await connectPeer(to);
      await peer.send(Buffer.from('16030100a5010000', 'hex'));
      expect(await fatalText(peer)).toBe("bad packet header: '16030100a5010000'");
    }
  });

  test('begins with the first byte or not at all', async () => {
    const peer = await connectPeer(pooler.port);
    await peer.send(frontend.gssEncRequest());
    expect((await peer.bytes(1)).toString()).toBe('N');
    await peer.send(Buffer.from('16030100a5010000', 'hex'));
    expect(await fatalText(peer)).toBe("bad packet header: '16030100a5010000'");
  });
});

test('garbage in place of a handshake, or in the middle of one, ends its connection alone', async () => {
  await using pooler = await tlsPooler('require', { client_tls_ca_file: files.caFile });
  await withSeed(async (random) => {
    for (let round = 0; round < 150; round++) {
      const peer = await connectPeer(pooler.port);
      const isDirect = round % 2 === 0;
      if (!isDirect) {
        await peer.send(frontend.sslRequest());
        await peer.bytes(1);
      }
      const head = random.below(3) === 0 ? Buffer.from('160301', 'hex') : Buffer.of(0x16);
      await peer.send(head, random.bytes(random.below(300)));
      if (random.below(2) === 0) peer.reset();
      else peer.halfClose();
      await peer.end();
      await peer.close();
    }
    await waitFor(() => pooler.pooler.state.connections.size === 0);
  });
  expect(pooler.lines.filter((line) => line.startsWith('ERROR'))).toEqual([]);
  expect(await outcome(pooler, { ssl: verified })).toBe('ok');
});

describe('inside TLS', () => {
  let pooler: LocalPooler;
  beforeAll(async () => {
    pooler = await tlsPooler('prefer');
  });
  afterAll(() => pooler[Symbol.asyncDispose]());

  test('another SSLRequest is closed without a word', async () => {
    const { peer } = await connectEncrypted(pooler.port);
    await peer.send(frontend.sslRequest());
    expect(await peer.end()).toHaveLength(0);
    await waitFor(() => pooler.lines.some((line) => line.includes('closing because: SSL req inside SSL')));
    await peer.close();
  });

  test('GSSAPI is declined, and direct TLS is a bad packet', async () => {
    const { peer } = await connectEncrypted(pooler.port);
    await peer.send(frontend.gssEncRequest());
    expect((await peer.bytes(1)).toString()).toBe('N');
    await peer.close();
    const again = await connectEncrypted(pooler.port);
    await again.peer.send(Buffer.from('16030100a5010000', 'hex'));
    expect(await fatalText(again.peer)).toBe("bad packet header: '16030100a5010000'");
  });

  test('cancelling works', async () => {
    const { peer } = await connectEncrypted(pooler.port);
    await peer.send(frontend.startup({ user: pooler.postgres.user, database: 'postgres' }));
    const key = (await peer.messagesTo('Z')).find(({ type }) => type === 'K')?.body as Buffer;
    await peer.send(frontend.query('SELECT pg_sleep(60) /* tls_cancel */'));
    await sleeps('tls_cancel');
    const cancel = await connectEncrypted(pooler.port);
    await cancel.peer.send(frontend.cancelRequest(key.readInt32BE(0), key.subarray(4)));
    expect(await cancel.peer.end()).toHaveLength(0);
    const error = (await peer.messagesTo('E')).at(-1)?.body as Buffer;
    expect(errorFields(error)['C']).toBe('57014');
    await peer.close();
  });

  test('a client of TLS 1.2 cannot negotiate anew', async () => {
    const { peer, socket } = await connectEncrypted(pooler.port, { maxVersion: 'TLSv1.2' });
    const refused = new Promise((resolve) => {
      socket.on('error', resolve);
      peer.end().then(resolve, resolve);
      socket.renegotiate({}, (error) => resolve(error ?? 'negotiated anew'));
    });
    expect(await refused).not.toBe('negotiated anew');
    await peer.close();
  });

  test('much goes either way whole, to a slow reader too', async () => {
    const connected = await pooler.client({ ssl: verified });
    const text = 'x'.repeat(3_000_000);
    const { rows } = await connected.query<{ back: string }>('SELECT $1::text AS back', [text]);
    expect(rows[0]?.back === text).toBe(true);
    await connected.end();
    const { peer } = await connectEncrypted(pooler.port);
    await peer.send(frontend.startup({ user: pooler.postgres.user, database: 'postgres' }));
    await peer.messagesTo('Z');
    peer.stall();
    const rowCount = 40_000;
    await peer.send(
      frontend.query(`COPY (SELECT i || repeat('y', 1000) FROM generate_series(1, ${rowCount}) i) TO STDOUT`),
    );
    const holdsBack = () =>
      [...pooler.pooler.state.connections].some((connection) => connection.conn.isCongested);
    await waitFor(holdsBack);
    peer.resume();
    const got = createHash('sha256');
    const expected = createHash('sha256');
    let rowsRead = 0;
    for (const { type, body } of await peer.messagesTo('Z')) {
      if (type !== 'd') continue;
      got.update(body);
      rowsRead++;
      expected.update(`${rowsRead}${'y'.repeat(1000)}\n`);
    }
    expect(rowsRead).toBe(rowCount);
    expect(got.digest('hex')).toBe(expected.digest('hex'));
    await peer.close();
  });
});

describe('what is said of it', () => {
  test('SHOW and the login’s line name version, cipher and curve, as the settings choose them', async () => {
    await using pooler = await tlsPooler('prefer', {
      client_tls_protocols: 'tlsv1.2',
      client_tls_ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256',
      client_tls_ecdhcurve: 'P-256',
    });
    const twelve = await pooler.client({ ssl: verified });
    const text = 'TLSv1.2/ECDHE-ECDSA-AES128-GCM-SHA256/ECDH=prime256v1';
    const shown = await pooler.show('SHOW CLIENTS');
    expect(shown.map((row) => row['tls']).sort()).toEqual(['', text]);
    expect(pooler.lines.some((line) => line.includes(` tls=${text} replication=no`))).toBe(true);
    await pooler.reload({
      settings: {
        client_tls_protocols: 'tlsv1.3',
        client_tls13_ciphers: 'TLS_CHACHA20_POLY1305_SHA256',
        client_tls_ecdhcurve: 'X25519',
      },
    });
    const thirteen = await pooler.client({ ssl: verified });
    const tls = (await pooler.show('SHOW SOCKETS')).map((row) => row['tls']);
    expect(tls).toContain('TLSv1.3/TLS_CHACHA20_POLY1305_SHA256/ECDH=X25519');
    // The one that was there stays as it was.
    expect(tls).toContain(text);
    await twelve.query('SELECT 1');
    await Promise.all([twelve.end(), thirteen.end()]);
    expect(await outcome(pooler, { ssl: { ...verified, maxVersion: 'TLSv1.2' } })).toMatch(
      /protocol version/,
    );
  });

  test('a handshake that fails is one line, a client that leaves in it none', async () => {
    await using pooler = await tlsPooler('require');
    const left = await connectPeer(pooler.port);
    await left.send(frontend.sslRequest());
    expect((await left.bytes(1)).toString()).toBe('S');
    await left.send(Buffer.from('1603', 'hex'));
    await left.close();
    const half = await connectPeer(pooler.port);
    await half.send(Buffer.from('16', 'hex'));
    half.halfClose();
    await half.end();
    await half.close();
    await waitFor(() => pooler.pooler.state.connections.size === 0);
    const said = () => pooler.lines.filter((line) => !/listening|^DEBUG/.test(line));
    expect(said()).toEqual([]);
    const garbage = await connectPeer(pooler.port);
    await garbage.send(frontend.sslRequest());
    expect((await garbage.bytes(1)).toString()).toBe('S');
    await garbage.send(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
    await garbage.end();
    await garbage.close();
    await waitFor(() => said().length > 0);
    expect(said()).toEqual([
      expect.stringMatching(
        /^WARNING C-0x\w+: \(nodb\)\/\(nouser\)@127\.0\.0\.1:\d+ TLS handshake failed: [ a-z]+$/,
      ),
    ]);
  });

  test('a handshake takes no longer than client_login_timeout', async () => {
    await using pooler = await tlsPooler('require', { client_login_timeout: 0.1 });
    for (const began of [frontend.sslRequest(), Buffer.of(0x16)]) {
      const peer = await connectPeer(pooler.port);
      await peer.send(began);
      await waitFor(() => peer.isClosed || peer.unread <= 1);
      expect((await peer.end()).length).toBeLessThanOrEqual(1);
      await peer.close();
    }
    await waitFor(() => pooler.lines.filter((line) => line.includes('client_login_timeout')).length === 2);
  });
});

describe('RELOAD and SET', () => {
  /** The name in the certificate that a new client is shown. */
  async function shownName(pooler: LocalPooler): Promise<unknown> {
    const { peer, socket } = await connectEncrypted(pooler.port);
    const name = socket.getPeerX509Certificate()?.toLegacyObject().subject?.CN;
    await peer.close();
    return name;
  }

  test('a new certificate is shown after RELOAD, and clients stay that saw the old one', async () => {
    const renewed = files.identity('renewed', { commonName: 'old' });
    await using pooler = await tlsPooler('require', {
      client_tls_cert_file: renewed.certFile,
      client_tls_key_file: renewed.keyFile,
    });
    const connected = await pooler.client({ ssl: { rejectUnauthorized: false } });
    expect(await shownName(pooler)).toBe('old');
    files.identity('renewed', { commonName: 'new' });
    // Only RELOAD reads files.
    expect(await shownName(pooler)).toBe('old');
    await pooler.reload();
    expect(await shownName(pooler)).toBe('new');
    expect((await connected.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await connected.end();
  });

  test('RELOAD with a file that is gone changes nothing at all, and names the setting', async () => {
    await using pooler = await tlsPooler('require');
    const before = await shownName(pooler);
    const reloading = pooler.reload({ settings: { client_tls_cert_file: '/nowhere.pem', query_timeout: 7 } });
    await expect(reloading).rejects.toThrow(
      'client_tls_cert_file: expected a readable file: /nowhere.pem (ENOENT)',
    );
    expect(await shownName(pooler)).toBe(before);
    const admin = await pooler.admin({ ssl: verified });
    const refused = await admin.query('RELOAD').catch((error: pg.DatabaseError) => error);
    expect(refused).toMatchObject({
      code: 'F0000',
      message: expect.stringContaining('RELOAD failed') as string,
    });
    const { rows } = await admin.query<{ key: string; value: string }>('SHOW CONFIG');
    const valueOf = (key: string) => rows.find((row) => row.key === key)?.value;
    expect([valueOf('query_timeout'), valueOf('client_tls_cert_file')]).toEqual(['0', server.certFile]);
    await admin.end();
  });

  test('SET turns TLS on and off for those who come after', async () => {
    await using pooler = await tlsPooler('disable');
    const admin = await pooler.admin();
    await admin.query("SET client_tls_sslmode = 'require'");
    expect(await outcome(pooler, {})).toBe('SSL required');
    expect(await outcome(pooler, { ssl: verified })).toBe('ok');
    await admin.query("SET client_tls_sslmode = 'disable'");
    expect(await outcome(pooler, {})).toBe('ok');
    await admin.end();
  });

  test('SET that TLS cannot follow leaves it as it was, and says so', async () => {
    await using pooler = await tlsPooler('require');
    const admin = await pooler.admin({ ssl: verified });
    const notices: (string | undefined)[] = [];
    admin.on('notice', ({ message }) => notices.push(message));
    await admin.query("SET client_tls_cert_file = '/nowhere.pem'");
    expect(notices).toEqual(['TLS settings could not be applied, still using old configuration']);
    expect(
      pooler.lines.some((line) => line.startsWith('ERROR') && line.includes('client_tls_cert_file: ')),
    ).toBe(true);
    expect(await outcome(pooler, { ssl: verified })).toBe('ok');
    // One setting after the other: the last one makes it whole again.
    const other = files.identity('other', { commonName: 'other' });
    await admin.query(`SET client_tls_key_file = '${other.keyFile}'`);
    expect(notices).toHaveLength(2);
    await admin.query(`SET client_tls_cert_file = '${other.certFile}'`);
    expect([notices.length, await shownName(pooler)]).toEqual([2, 'other']);
    await admin.end();
  });

  test('a start with TLS that cannot be had fails and names the setting', async () => {
    await expect(tlsPooler('require', { client_tls_key_file: '' })).rejects.toMatchObject({
      name: 'ConfigError',
      key: 'client_tls_key_file',
    });
  });
});

describe.each([
  ['of PostgreSQL 18', Psql.find()],
  ['that is installed', Psql.findInstalled()],
])('psql with the libpq %s', (name, psql) => {
  test.skipIf(psql === null)('verifies the pooler, by SSLRequest and directly', async () => {
    await using pooler = await tlsPooler('verify-full', { client_tls_ca_file: files.caFile });
    const connection = {
      host: 'localhost',
      port: pooler.port,
      user: pooler.postgres.user,
      dbname: 'postgres',
      sslmode: 'verify-full',
      sslrootcert: files.caFile,
      sslcert: client.certFile,
      sslkey: client.keyFile,
    };
    const asked = await psql?.run(connection, 'SELECT 42');
    expect(asked).toEqual({ code: 0, stdout: '42', stderr: '' });
    const without = { ...connection, sslcert: '/nowhere', sslkey: '/nowhere' };
    expect((await psql?.run(without, 'SELECT 42'))?.stderr).toContain(
      'FATAL:  certificate verify failed: no certificate',
    );
    if (name !== 'of PostgreSQL 18') return;
    const direct = await psql?.run({ ...connection, sslnegotiation: 'direct' }, 'SELECT 43');
    expect(direct).toEqual({ code: 0, stdout: '43', stderr: '' });
    const fresh = { ...connection, sslnegotiation: 'direct', max_protocol_version: '3.2' };
    expect((await psql?.run(fresh, 'SELECT 44'))?.stdout).toBe('44');
  });
});

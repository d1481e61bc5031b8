import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { connect, getCACertificates } from 'node:tls';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { typedSettings, defaultTexts } from '../../src/config/settings.ts';
import type { TlsCalls } from '../../src/net/native-tls.ts';
import type { TlsContextParts } from '../../src/net/native-tls-context.ts';
import {
  TICKET_KEY_BYTES,
  TICKET_SECRET_BYTES,
  TlsContexts,
  type TlsSettings,
} from '../../src/tls/contexts.ts';
import { TlsSettingError } from '../../src/tls/setting-error.ts';
import { makeCertificate } from '../support/certificates.ts';

const folder = mkdtempSync(join(tmpdir(), 'pgweir-tls-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const first = makeCertificate({ commonName: 'first' });
const second = makeCertificate({ commonName: 'second' });
const [key, cert, ca] = ['key.pem', 'cert.pem', 'ca.pem'].map((name) => join(folder, name)) as [
  string,
  string,
  string,
];

beforeEach(() => {
  writeFileSync(key, first.keyPem, { mode: 0o600 });
  writeFileSync(cert, first.certPem);
  writeFileSync(ca, first.certPem);
  chmodSync(key, 0o600);
});

/** The defaults, with TLS towards servers off, and what is given. */
function settings(given: Readonly<Record<string, string>>): TlsSettings {
  const texts = new Map([...defaultTexts(), ['server_tls_sslmode', 'disable'], ...Object.entries(given)]);
  return typedSettings(texts).settings;
}

/** TLS towards clients from the files. */
const towardsClients = {
  client_tls_sslmode: 'require',
  client_tls_key_file: key,
  client_tls_cert_file: cert,
};

function errorOf(given: Readonly<Record<string, string>>): TlsSettingError {
  try {
    new TlsContexts().prepare(settings(given));
  } catch (error) {
    if (error instanceof TlsSettingError) return error;
    throw error;
  }
  throw new Error('no error');
}

it('nothing is read and nothing is made while TLS is off', () => {
  const tls = new TlsContexts();
  tls.use(tls.prepare(settings({ client_tls_cert_file: '/nowhere', server_tls_ca_file: '/nowhere' })));
  expect([tls.client, tls.server, tls.builds]).toEqual([null, null, 0]);
});

it('each side is made once, and again only where its settings or its files’ contents have changed', () => {
  const tls = new TlsContexts();
  const both = { ...towardsClients, server_tls_sslmode: 'verify-full', server_tls_ca_file: ca };
  tls.use(tls.prepare(settings(both)));
  expect(tls.builds).toBe(2);
  const { client, server } = tls;
  // Written anew with the same contents.
  writeFileSync(cert, first.certPem);
  const again = tls.prepare(settings(both));
  tls.use(again);
  expect([tls.builds, again.isServerChanged, tls.client === client, tls.server === server]).toEqual([
    2,
    false,
    true,
    true,
  ]);
  writeFileSync(key, second.keyPem);
  writeFileSync(cert, second.certPem);
  const renewed = tls.prepare(settings(both));
  expect([tls.client === client, renewed.isServerChanged]).toEqual([true, false]);
  tls.use(renewed);
  expect([tls.builds, tls.client === client, tls.server === server]).toEqual([3, false, true]);
  writeFileSync(ca, second.certPem);
  expect(tls.prepare(settings(both)).isServerChanged).toBe(true);
});

it('tickets of one context are read by those that are made from the same, in other threads as well', () => {
  /** What tickets are encrypted by, in OpenSSL's own context. */
  const keysOf = (secret: Uint8Array | undefined, given: Readonly<Record<string, string>> = {}): string => {
    const tls = new TlsContexts(secret);
    tls.use(tls.prepare(settings({ ...towardsClients, ...given })));
    let keys = '';
    const serverContext = ({ ticketKeys }: TlsContextParts) => {
      keys = Buffer.from(ticketKeys).toString('hex');
      return null;
    };
    tls.client?.session({ serverContext } as unknown as TlsCalls);
    return keys;
  };
  const secret = Buffer.alloc(TICKET_SECRET_BYTES, 1);
  expect(keysOf(secret)).toHaveLength(2 * TICKET_KEY_BYTES);
  expect(keysOf(secret)).toBe(keysOf(secret));
  // Of other settings, with another secret, and in other processes, they are others.
  const others = [
    keysOf(secret),
    keysOf(secret, { client_tls_protocols: 'tlsv1.3' }),
    keysOf(Buffer.alloc(TICKET_SECRET_BYTES, 2)),
    keysOf(undefined),
    keysOf(undefined),
  ];
  expect(new Set(others).size).toBe(others.length);
});

it('so are those of Node’s sockets, which stand in where OpenSSL cannot be called', async () => {
  const serverSide = (secret: Uint8Array) => {
    const tls = new TlsContexts(secret);
    tls.use(tls.prepare(settings(towardsClients)));
    return tls;
  };
  /** Whether the session was taken up, and a new ticket for it. */
  const handshake = async (tls: TlsContexts, session?: Buffer) => {
    // A byte makes the client read the tickets, which come behind the handshake.
    const server = createServer((plain) =>
      tls.client
        ?.accept(plain)
        .on('error', () => {})
        .end('.'),
    );
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    const given = { ca: first.certPem, checkServerIdentity: () => undefined, ALPNProtocols: ['postgresql'] };
    const client = connect({
      host: '127.0.0.1',
      port,
      ...given,
      ...(session === undefined ? {} : { session }),
    });
    let ticket: Buffer | undefined;
    client.on('session', (last: Buffer) => {
      ticket = last;
    });
    client.resume();
    await once(client, 'secureConnect');
    const isReused = client.isSessionReused();
    if (!client.readableEnded) await once(client, 'end');
    server.close();
    client.destroy();
    return { isReused, ticket };
  };
  const secret = Buffer.alloc(TICKET_SECRET_BYTES, 1);
  const { isReused, ticket } = await handshake(serverSide(secret));
  expect([isReused, ticket !== undefined]).toEqual([false, true]);
  expect(await handshake(serverSide(secret), ticket)).toMatchObject({ isReused: true });
  const other = serverSide(Buffer.alloc(TICKET_SECRET_BYTES, 2));
  expect(await handshake(other, ticket)).toMatchObject({ isReused: false });
});

it.each([
  [{ server_tls_sslmode: 'require' }, true],
  [{ server_tls_sslmode: 'allow' }, false],
  [{ server_tls_protocols: 'tlsv1.3' }, true],
  [{ server_tls_protocols: 'tlsv1.2:tlsv1.3' }, false],
  [{ server_tls_ciphers: 'HIGH' }, true],
  [{ server_tls_sslmode: 'disable' }, true],
  [towardsClients, false],
])('from prefer, %j changes what servers get: %s', (given, isChanged) => {
  const tls = new TlsContexts();
  tls.use(tls.prepare(settings({ server_tls_sslmode: 'prefer' })));
  expect(tls.prepare(settings({ server_tls_sslmode: 'prefer', ...given })).isServerChanged).toBe(isChanged);
});

describe('an error names the setting, and what is in force stays', () => {
  const encrypted = generateKeyPairSync('ec', {
    namedCurve: 'prime256v1',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'secret' },
  }).privateKey;

  it.each<[string, Readonly<Record<string, string>>, string, string]>([
    ['no certificate', { client_tls_cert_file: '' }, 'client_tls_cert_file', 'a file with a certificate'],
    ['no key', { client_tls_key_file: '' }, 'client_tls_key_file', 'a file with a private key'],
    [
      'a file that is not there',
      { client_tls_cert_file: '/nowhere.pem' },
      'client_tls_cert_file',
      '/nowhere.pem (ENOENT)',
    ],
    ['a key in place of a certificate', { client_tls_cert_file: key }, 'client_tls_cert_file', 'has none'],
    [
      'a certificate in place of a key',
      { client_tls_key_file: cert },
      'client_tls_key_file',
      'a private key in PEM form',
    ],
    [
      'no authorities with verify-full',
      { client_tls_sslmode: 'verify-full' },
      'client_tls_ca_file',
      'a file with',
    ],
    ['authorities that are none', { client_tls_ca_file: key }, 'client_tls_ca_file', 'has none'],
    ['unknown versions', { client_tls_protocols: 'ssl2' }, 'client_tls_protocols', 'secure, all'],
    ['unknown ciphers', { client_tls_ciphers: 'ROT13' }, 'client_tls_ciphers', 'no cipher match'],
    ['unknown suites', { client_tls13_ciphers: 'TLS_ROT13' }, 'client_tls13_ciphers', 'TLS 1.3'],
    ['an unknown curve', { client_tls_ecdhcurve: 'circle' }, 'client_tls_ecdhcurve', 'names of curves'],
    ['unknown DHE parameters', { client_tls_dheparams: 'legacy' }, 'client_tls_dheparams', 'auto or none'],
    [
      'half of our own certificate',
      { server_tls_sslmode: 'require', server_tls_key_file: key },
      'server_tls_cert_file',
      'a file with',
    ],
    [
      'ciphers towards servers',
      { server_tls_sslmode: 'prefer', server_tls_ciphers: 'ROT13' },
      'server_tls_ciphers',
      'OpenSSL',
    ],
  ])('%s', (_name, given, setting, text) => {
    const error = errorOf({ ...towardsClients, ...given });
    expect(error.setting).toBe(setting);
    expect(error.expected).toContain(text);
    expect(error.message).not.toContain('\n');
  });

  it('a key of another certificate', () => {
    writeFileSync(key, second.keyPem);
    expect(errorOf(towardsClients).setting).toBe('client_tls_key_file');
  });

  it('a key with a passphrase, which nobody can type', () => {
    writeFileSync(key, encrypted);
    const { setting, expected } = errorOf(towardsClients);
    expect([setting, expected]).toEqual([
      'client_tls_key_file',
      `a private key without a passphrase: nobody is there to type that of ${key}`,
    ]);
  });

  it('a broken certificate', () => {
    writeFileSync(cert, first.certPem.replace(/[A-Za-z0-9+/]{8}/, 'AAAAAAAA'));
    expect(errorOf(towardsClients).setting).toBe('client_tls_cert_file');
  });

  it('and nothing is half in force', () => {
    const tls = new TlsContexts();
    tls.use(tls.prepare(settings({ ...towardsClients, server_tls_sslmode: 'prefer' })));
    const { client, server } = tls;
    const next = {
      ...towardsClients,
      client_tls_protocols: 'tlsv1.3',
      server_tls_sslmode: 'verify-ca',
      server_tls_ca_file: '/nowhere',
    };
    expect(() => tls.prepare(settings(next))).toThrow('server_tls_ca_file');
    expect([tls.client, tls.server]).toEqual([client, server]);
  });
});

it('a key that others can read is warned about', () => {
  const prepared = () => new TlsContexts().prepare(settings(towardsClients)).warnings;
  expect(prepared()).toEqual([]);
  chmodSync(key, 0o640);
  expect(prepared()).toEqual([]);
  chmodSync(key, 0o644);
  expect(prepared()).toEqual([`client_tls_key_file ${key} can be read or written by others (mode 0644)`]);
});

it('without a file, servers are verified by the authorities of the system, or not trusted where it has none', () => {
  const tls = new TlsContexts();
  const prepare = () => tls.prepare(settings({ server_tls_sslmode: 'verify-full' }));
  if (getCACertificates('system').length === 0) expect(prepare).toThrow('the system has none');
  else expect(prepare().server.tls).not.toBe(null);
});

describe('a file that both sides name is in force in one version, where a key cannot be read again', () => {
  const clientKey = join(folder, 'client.key');
  const clientCert = join(folder, 'client.pem');
  const shown = { server_tls_sslmode: 'require', server_tls_cert_file: cert, server_tls_key_file: key };

  /** By `settings`, both sides are in force; then the certificate is another one, and its key out of reach. */
  function renewed(given: TlsSettings): TlsContexts {
    chmodSync(folder, 0o755);
    const tls = new TlsContexts();
    tls.readAhead(given);
    writeFileSync(cert, second.certPem);
    writeFileSync(key, second.keyPem);
    chmodSync(key, 0);
    return tls;
  }

  it('authorities of one that are the certificate of the other stay with it', () => {
    writeFileSync(clientKey, second.keyPem);
    writeFileSync(clientCert, second.certPem);
    const given = settings({
      ...{ client_tls_sslmode: 'verify-ca', client_tls_ca_file: cert },
      ...{ client_tls_key_file: clientKey, client_tls_cert_file: clientCert },
      ...shown,
    });
    const tls = renewed(given);
    const { client, server } = tls;
    const prepared = asNobody(() => tls.prepare(given));
    expect(prepared.texts.get(cert)).toBe(first.certPem);
    tls.use(prepared);
    expect([tls.client === client, tls.server === server]).toEqual([true, true]);
  });

  it('a certificate of both is not renewed for one', () => {
    writeFileSync(clientKey, first.keyPem);
    const given = settings({ ...towardsClients, client_tls_key_file: clientKey, ...shown });
    const tls = renewed(given);
    writeFileSync(clientKey, second.keyPem);
    expect(() => asNobody(() => tls.prepare(given))).toThrow('client_tls_key_file');
  });
});

/** Does it as a user who may read only what everybody may. */
function asNobody<T>(act: () => T): T {
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.(65534);
  try {
    return act();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

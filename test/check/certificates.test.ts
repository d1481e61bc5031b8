import { chmodSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { type CertificateOptions, makeCertificate } from '../support/certificates.ts';
import { TlsFolder } from '../support/tls.ts';
import { SetUp } from './kit.ts';

const files = new TlsFolder();
afterAll(() => files[Symbol.dispose]());

let count = 0;

/** What is found with these lines of TLS: level, code and setting, with the text where that is looked at. */
async function found(
  lines: readonly string[],
  listen = '127.0.0.1',
): Promise<{ all: string[]; text: string }> {
  using setUp = new SetUp(
    `[databases]
app = host=10.0.0.1
[pgbouncer]
listen_addr = ${listen}
auth_type = scram-sha-256
auth_file = {dir}/users.txt
pool_mode = transaction
${lines.join('\n')}
`,
    { 'users.txt': '"app" "secret"' },
  );
  const { findings } = await setUp.check();
  const told = findings.filter(({ code }) => code !== 'capacity');
  return {
    all: told
      .filter(({ level }) => level !== 'note')
      .map((each) => `${each.level} ${each.code} ${each.subject}`),
    text: told.map(({ message }) => message).join('\n'),
  };
}

const SAN = { commonName: 'pooler', altNames: ['pooler.example.org'] };

/** Lines for a certificate of a side, made by these options; signed by the folder's authority unless they say otherwise. */
function own(side: 'client' | 'server', mode: string, options: CertificateOptions = {}): string[] {
  const { certFile, keyFile } = files.identity(`own${count++}`, { ...SAN, ...options });
  return [
    `${side}_tls_sslmode = ${mode}`,
    `${side}_tls_cert_file = ${certFile}`,
    `${side}_tls_key_file = ${keyFile}`,
  ];
}

describe('a certificate of ours', () => {
  test('that is sound is sound', async () => {
    expect((await found(own('client', 'require'))).all).toEqual([]);
    expect((await found(own('server', 'require'))).all).toEqual([]);
  });

  test.each([
    [
      'has expired',
      { validFromDays: -9, validToDays: -1 },
      'error certificate',
      /has expired on \d{4}-\d\d-\d\d$/m,
    ],
    ['is not valid yet', { validFromDays: 2 }, 'error certificate', /is not valid before \d{4}-\d\d-\d\d$/m],
    [
      'expires soon',
      { validToDays: 10.5 },
      'warning certificate',
      /expires on \d{4}-\d\d-\d\d, in 10 days$/m,
    ],
    ['has a weak key', { rsaBits: 1024 }, 'warning weak', /the key of its certificate has 1024 bits/],
  ] as const)('that %s is told, on either side', async (_what, options, finding, text) => {
    for (const side of ['client', 'server'] as const) {
      const told = await found(own(side, 'require', options));
      expect(told.all).toContain(`${finding} ${side}_tls_cert_file`);
      expect(told.text).toMatch(text);
    }
  });

  test('that is valid for longer than a month is not told', async () => {
    expect((await found(own('client', 'require', { validToDays: 30.5 }))).all).toEqual([]);
  });

  test('that is signed with SHA-1 is a warning, but not where nobody looks at the signature', async () => {
    const [ca, sha1] = ['rsa-sha256', 'rsa-sha1'] as const;
    const issuer = makeCertificate({ commonName: 'RSA', isCa: true, signature: ca });
    const told = await found(own('client', 'require', { issuer, signature: sha1 }));
    expect(told.all).toContain('warning weak client_tls_cert_file');
    expect(told.text).toMatch(/its certificate is signed with SHA-1/);
    const root = makeCertificate({ commonName: 'Old root', isCa: true, signature: sha1 });
    const caFile = files.write('old-root.pem', root.certPem);
    const lines = [...own('client', 'require'), `client_tls_ca_file = ${caFile}`];
    expect((await found(lines)).all).toEqual([]);
  });

  test('that names no host, or another one than is listened on, is a warning towards clients', async () => {
    const nameless = { altNames: ['email:ops@example.org'] };
    expect((await found(own('client', 'require', nameless))).all).toEqual([
      'warning certificate-name client_tls_cert_file',
    ]);
    expect((await found(own('server', 'require', nameless))).all).toEqual([]);
    expect((await found(own('client', 'require'), 'pooler.example.org, 127.0.0.1')).all).toEqual([]);
    expect((await found(own('client', 'require'), 'other.example.org')).all).toEqual([
      'warning certificate-name client_tls_cert_file',
    ]);
  });

  test('whose chain is broken is a warning, one without a chain a note', async () => {
    const lines = own('client', 'require');
    expect((await found(lines)).text).toContain('has no certificate but its own');
    const between = makeCertificate({ commonName: 'Between', isCa: true, issuer: files.authority });
    const leaf = makeCertificate({ ...SAN, issuer: between });
    const chained = (name: string, chain: string) => {
      const keyFile = files.write(`${name}.key`, leaf.keyPem);
      const certFile = files.write(`${name}.pem`, leaf.certPem + chain);
      return [
        'client_tls_sslmode = require',
        `client_tls_cert_file = ${certFile}`,
        `client_tls_key_file = ${keyFile}`,
      ];
    };
    const whole = await found(chained('whole', between.certPem));
    expect(whole).toEqual({ all: [], text: '' });
    const broken = await found(chained('broken', files.authority.certPem));
    expect(broken.all).toEqual(['warning certificate client_tls_cert_file']);
    expect(broken.text).toContain('its certificate is not signed by the next one');
  });

  test('that is signed by itself is a note', async () => {
    const { certPem, keyPem } = makeCertificate(SAN);
    const lines = [
      'client_tls_sslmode = require',
      `client_tls_cert_file = ${files.write('self.pem', certPem)}`,
      `client_tls_key_file = ${files.write('self.key', keyPem)}`,
    ];
    const told = await found(lines);
    expect(told.all).toEqual([]);
    expect(told.text).toContain('is signed by itself');
  });

  test('whose key is another one is an error of the key', async () => {
    const [mode = '', cert = ''] = own('client', 'require');
    const [, , key = ''] = own('client', 'require');
    expect((await found([mode, cert, key])).all).toEqual(['error tls client_tls_key_file']);
  });

  test('whose key everybody can read is a warning', async () => {
    const lines = own('client', 'require');
    const keyFile = lines[2]?.replace('client_tls_key_file = ', '') ?? '';
    chmodSync(keyFile, 0o644);
    expect((await found(lines)).all).toEqual(['warning secrets client_tls_key_file']);
  });

  test('with a verified one of the client’s asked for, trust is no more than a warning', async () => {
    const lines = [
      ...own('client', 'verify-full'),
      `client_tls_ca_file = ${files.caFile}`,
      'auth_type = trust',
    ];
    const told = (await found(lines, '0.0.0.0')).all.filter((each) => each.includes(' trust '));
    expect(told).toEqual(['warning trust auth_type']);
  });

  test('is not looked at without TLS', async () => {
    const lines = own('client', 'require', { validFromDays: -9, validToDays: -1 });
    expect((await found(['client_tls_sslmode = disable', ...lines.slice(1)])).all).toEqual([]);
  });
});

describe('certificates that others are verified by', () => {
  const verifying = (name: string, pem: string) => [
    'server_tls_sslmode = verify-full',
    `server_tls_ca_file = ${files.write(name, pem)}`,
  ];

  test('are sound with a root, which may be the server’s own certificate', async () => {
    expect((await found(verifying('root.pem', files.authority.certPem))).all).toEqual([]);
    expect((await found(verifying('self-ca.pem', makeCertificate(SAN).certPem))).all).toEqual([]);
  });

  test('verify nothing without one', async () => {
    const between = makeCertificate({ commonName: 'Between', isCa: true, issuer: files.authority });
    const told = await found(verifying('between.pem', between.certPem));
    expect(told.all).toEqual(['error certificate server_tls_ca_file']);
    expect(told.text).toContain('without the root nothing can be verified');
    expect((await found(verifying('both.pem', between.certPem + files.authority.certPem))).all).toEqual([]);
  });

  test('may have expired: all of them is an error, one a warning', async () => {
    const old = makeCertificate({ commonName: 'Old', isCa: true, validFromDays: -9, validToDays: -1 });
    expect((await found(verifying('old.pem', old.certPem))).all).toEqual([
      'error certificate server_tls_ca_file',
    ]);
    expect((await found(verifying('mixed.pem', old.certPem + files.authority.certPem))).all).toEqual([
      'warning certificate server_tls_ca_file',
    ]);
  });

  test('have to be named: the system’s are anybody’s', async () => {
    const told = await found(own('client', 'verify-ca'));
    // A machine without any has an error of its own.
    if (!told.all.includes('error tls client_tls_ca_file')) {
      expect(told.all).toContain('warning certificate client_tls_sslmode');
    }
    expect((await found(own('client', 'verify-full'))).all).toContain('error tls client_tls_ca_file');
    expect((await found(['server_tls_sslmode = verify-ca'])).all.join()).toMatch(
      /warning certificate server_tls_sslmode/,
    );
  });
});

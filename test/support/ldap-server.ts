import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram } from '../bench/programs.ts';
import { waitFor } from './wait-for.ts';

const SLAPD = findProgram('slapd') ?? (existsSync('/usr/sbin/slapd') ? '/usr/sbin/slapd' : null);
const SCHEMAS = '/etc/ldap/schema';

/** Why there can be no LDAP server here; null: there can. Printed by whoever skips. */
export function noLdapReason(): string | null {
  if (SLAPD === null || !existsSync(`${SCHEMAS}/core.schema`))
    return 'slapd is not installed (Debian: slapd)';
  return findProgram('openssl') === null ? 'openssl is not installed' : null;
}

/** Everything in the directory; passwords are `secret of ` and the uid. */
const ENTRIES = `
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: example

${['people', 'others'].map((ou) => `dn: ou=${ou},dc=example,dc=org\nobjectClass: organizationalUnit\nou: ${ou}\n`).join('\n')}
${[
  ['people', 'la_user'],
  ['people', 'la_mail'],
  ['people', 'la_twice'],
  ['others', 'la_twice'],
  ['others', 'la_reader'],
]
  .map(
    ([ou, uid]) =>
      `dn: uid=${uid},ou=${ou},dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: ${uid}\ncn: ${uid}\nsn: x\n` +
      `mail: ${uid}@example.org\nuserPassword: secret of ${uid}\n`,
  )
  .join('\n')}
`;

/** A real LDAP server with a few people in it. Whoever starts it disposes of it. */
export class LdapServer implements AsyncDisposable {
  readonly port: number;
  readonly tlsPort: number;
  /** The authority of its certificate, which is for `localhost` and 127.0.0.1. */
  readonly caPath: string;
  readonly #folder: string;
  readonly #child: ChildProcess;

  private constructor(folder: string, port: number, tlsPort: number, child: ChildProcess) {
    this.#folder = folder;
    this.port = port;
    this.tlsPort = tlsPort;
    this.caPath = join(folder, 'cert.pem');
    this.#child = child;
  }

  static async start(): Promise<LdapServer> {
    if (SLAPD === null) throw new Error('slapd is not installed');
    const folder = mkdtempSync(join(tmpdir(), 'pgweir-ldap-'));
    const file = (name: string) => join(folder, name);
    mkdirSync(file('db'));
    execFileSync(
      'openssl',
      [
        ...[
          'req',
          '-x509',
          '-newkey',
          'ec',
          '-pkeyopt',
          'ec_paramgen_curve:prime256v1',
          '-nodes',
          '-days',
          '2',
        ],
        ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
        ...['-keyout', file('key.pem'), '-out', file('cert.pem')],
      ],
      { stdio: 'ignore' },
    );
    const schemas = ['core', 'cosine', 'inetorgperson'].map((name) => `include ${SCHEMAS}/${name}.schema`);
    writeFileSync(
      file('slapd.conf'),
      [
        ...schemas,
        `pidfile ${file('pid')}`,
        'modulepath /usr/lib/ldap',
        'moduleload back_mdb',
        `TLSCertificateFile ${file('cert.pem')}`,
        `TLSCertificateKeyFile ${file('key.pem')}`,
        'database mdb',
        'suffix "dc=example,dc=org"',
        `directory ${file('db')}`,
        // Anonymous ones may find people, but not those of ou=others; binds without a password are let in by servers
        // that are set so, and this one is.
        'access to attrs=userPassword by anonymous auth by * none',
        'access to dn.subtree="ou=others,dc=example,dc=org" by users read by * none',
        'access to * by * read',
        '',
      ]
        .join('\n')
        .replace('database mdb', 'allow bind_anon_cred bind_anon_dn\ndatabase mdb'),
    );
    writeFileSync(file('entries.ldif'), ENTRIES.trimStart().replace(/\n{3,}/g, '\n\n'));
    execFileSync(SLAPD, ['-T', 'add', '-f', file('slapd.conf'), '-l', file('entries.ldif')], {
      stdio: 'pipe',
    });
    const [port, tlsPort] = [await freePort(), await freePort()];
    const urls = `ldap://127.0.0.1:${port} ldaps://127.0.0.1:${tlsPort}`;
    const child = spawn(SLAPD, ['-d', '0', '-h', urls, '-f', file('slapd.conf')], { stdio: 'ignore' });
    const server = new LdapServer(folder, port, tlsPort, child);
    try {
      await waitFor(() => answers(port), { what: 'the LDAP server' });
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = new Promise((end) => this.#child.once('close', end));
      this.#child.kill('SIGKILL');
      await ended;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((listening) => server.once('listening', listening));
  const { port } = server.address() as { port: number };
  await new Promise((closed) => server.close(closed));
  return port;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

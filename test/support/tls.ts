import { X509Certificate } from 'node:crypto';
import { chownSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  connect,
  type ConnectionOptions,
  createSecureContext,
  type SecureContext,
  TLSSocket,
} from 'node:tls';
import type { Postgres } from '../../src/cli/start/postgres.ts';
import { type Certificate, type CertificateOptions, makeCertificate } from './certificates.ts';
import { frontend } from './peer-messages.ts';
import { startPostgres, withClient } from './postgres.ts';
import { connectPeer, ScriptedPeer, type ScriptedServer } from './scripted-peer.ts';
import { waitFor, within } from './wait-for.ts';

/** A certificate with its key, and the files that hold them. */
export interface IdentityFiles extends Certificate {
  readonly certFile: string;
  readonly keyFile: string;
}

/** A temporary folder of certificates, with an authority that signs them. */
export class TlsFolder implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'pgweir-tls-'));
  readonly authority = makeCertificate({ commonName: 'Test authority', isCa: true });
  readonly caFile = this.write('ca.pem', this.authority.certPem);

  /** Writes a file that we alone can read, and gives its path. Who reads meanwhile gets all of the old or the new one. */
  write(name: string, text: string): string {
    const path = join(this.folder, name);
    writeFileSync(`${path}.new`, text, { mode: 0o600 });
    renameSync(`${path}.new`, path);
    return path;
  }

  /** Makes a certificate, signed by the authority unless `options` say otherwise, in `name.pem` and `name.key`. */
  identity(name: string, options: CertificateOptions = {}): IdentityFiles {
    return this.keep(name, makeCertificate({ issuer: this.authority, ...options }));
  }

  /** Writes it into `name.pem` and `name.key`, over what is there. */
  keep(name: string, certificate: Certificate): IdentityFiles {
    return {
      ...certificate,
      certFile: this.write(`${name}.pem`, certificate.certPem),
      keyFile: this.write(`${name}.key`, certificate.keyPem),
    };
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A peer of which what it sends and gets is encrypted. */
export interface EncryptedPeer {
  readonly peer: ScriptedPeer;
  readonly socket: TLSSocket;
}

/** Goes over to TLS on a connection whose other side expects the handshake. Rejects when that fails. */
export async function secure(peer: ScriptedPeer, options: ConnectionOptions = {}): Promise<EncryptedPeer> {
  const socket = connect({ socket: peer.socket, rejectUnauthorized: false, ...options });
  await within(
    new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', reject);
      socket.once('close', () => reject(new Error('closed in the handshake')));
    }),
    'the end of the handshake',
  );
  return { peer: new ScriptedPeer(socket), socket };
}

/** Connects, asks for TLS and goes over to it. */
export async function connectEncrypted(
  port: number,
  options: ConnectionOptions = {},
): Promise<EncryptedPeer> {
  const peer = await connectPeer(port);
  await peer.send(frontend.sslRequest());
  const answer = (await peer.bytes(1)).toString();
  if (answer !== 'S') throw new Error(`SSLRequest was answered by ${answer}`);
  return secure(peer, options);
}

/** Whether a second login takes up the first one's session, made while the first one is still there, or behind it. */
export async function isTakenUp(
  { port, user }: { readonly port: number; readonly user: string },
  options: ConnectionOptions,
  second: 'beside' | 'behind' = 'behind',
): Promise<boolean> {
  const login = async ({ peer }: EncryptedPeer): Promise<void> => {
    await peer.send(frontend.startup({ user, database: 'postgres' }));
    await peer.messagesTo('Z');
  };
  const first = await connectEncrypted(port, options);
  let session: Buffer | undefined;
  first.socket.on('session', (given: Buffer) => {
    session = given;
  });
  await login(first);
  session ??= first.socket.getSession();
  if (second === 'behind') await first.peer.close();
  if (session === undefined) return false;
  const next = await connectEncrypted(port, { ...options, session });
  await login(next);
  const isReused = next.socket.isSessionReused();
  await next.peer.close();
  if (second === 'beside') await first.peer.close();
  return isReused;
}

/** A PostgreSQL of a test's own that has TLS, with this certificate; it also takes clients' certificates of `caPem`. */
export async function startTlsPostgres(
  identity: Certificate,
  caPem: string,
  hba: readonly string[] = [],
): Promise<Postgres> {
  const postgres = await startPostgres({ hba });
  await showCertificate(postgres, identity, caPem);
  return postgres;
}

/** Has PostgreSQL show another certificate to those who connect from now on. */
export async function showCertificate(
  postgres: Postgres,
  identity: Certificate,
  caPem: string,
): Promise<void> {
  const owner = statSync(postgres.dataDir);
  for (const [name, text] of [
    ['server.crt', identity.certPem],
    ['server.key', identity.keyPem],
    ['ca.crt', caPem],
  ] as const) {
    const path = join(postgres.dataDir, name);
    writeFileSync(path, text, { mode: 0o600 });
    chownSync(path, owner.uid, owner.gid);
  }
  await withClient(postgres.address, async (client) => {
    await client.query("ALTER SYSTEM SET ssl_ca_file = 'ca.crt'");
    await client.query('ALTER SYSTEM SET ssl = on');
    await client.query('SELECT pg_reload_conf()');
  });
  const { raw } = new X509Certificate(identity.certPem);
  await waitFor(
    async () => {
      const peer = await connectPeer(postgres.port);
      try {
        await peer.send(frontend.sslRequest());
        if ((await peer.bytes(1)).toString() !== 'S') return false;
        const { socket } = await secure(peer);
        return socket.getPeerX509Certificate()?.raw.equals(raw) === true;
      } finally {
        await peer.close();
      }
    },
    { what: 'TLS of PostgreSQL with the certificate' },
  );
}

/** A server for a test to script that grants TLS and has gone over to it. */
export async function acceptEncrypted(server: ScriptedServer, identity: Certificate): Promise<EncryptedPeer> {
  const peer = await server.accept();
  await expectSslRequest(peer);
  await peer.send(Buffer.from('S'));
  const socket = new TLSSocket(peer.socket, {
    isServer: true,
    secureContext: createSecureContext({ cert: identity.certPem, key: identity.keyPem }),
  });
  return { peer: new ScriptedPeer(socket), socket };
}

/** Reads an SSLRequest, which has to be what comes first. */
export async function expectSslRequest(peer: ScriptedPeer): Promise<void> {
  const request = await peer.bytes(8);
  if (!request.equals(frontend.sslRequest())) throw new Error(`no SSLRequest: ${request.toString('hex')}`);
}

/**
 * Somebody on the way to `port` who can read everything: grants TLS by a certificate of their own, and has TLS to the
 * other side. Whoever starts it disposes of it.
 */
export class ManInTheMiddle implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(port: number, identity: Certificate): Promise<ManInTheMiddle> {
    const secureContext = createSecureContext({ cert: identity.certPem, key: identity.keyPem });
    const server = createServer((near) => void middle.#relay(near, port, secureContext));
    const middle = new ManInTheMiddle(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return middle;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async #relay(near: Socket, port: number, secureContext: SecureContext): Promise<void> {
    this.#keep(near);
    await new Promise((resolve) => near.once('data', resolve));
    near.write('S');
    const nearTls = new TLSSocket(near, { isServer: true, secureContext, ALPNProtocols: ['postgresql'] });
    this.#keep(nearTls);
    const far = await connectEncrypted(port, { ALPNProtocols: ['postgresql'] });
    this.#keep(far.socket);
    nearTls.pipe(far.socket).pipe(nearTls);
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

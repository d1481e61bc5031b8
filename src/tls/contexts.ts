/**
 * TLS as the settings have it: read at start, at RELOAD and at SET, all or nothing. One context serves all
 * connections of a side, so that what a RELOAD costs doesn't grow with databases, users or connections; and where
 * neither settings nor files have changed, none is made. This folder knows certificates and handshakes; no SQL.
 */
import { constants, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import type { TlsContextParts } from '../net/native-tls-context.ts';
import type { Settings } from '../config/settings.ts';
import { cipherList, curveChoice, dheChoice, versionRange } from './choices.ts';
import { ALPN_NAME, ClientTls } from './client-side.ts';
import { endPointHash } from './end-point.ts';
import {
  type Identity,
  type IdentityFiles,
  openKeyWarning,
  readAuthorities,
  readIdentity,
  TlsFiles,
  type TlsTexts,
} from './material.ts';
import { ServerTls } from './server-side.ts';
import { TlsSettingError, tlsErrorText } from './setting-error.ts';

/** The settings that TLS follows from. */
export type TlsSettings = Pick<
  Settings,
  | 'client_tls_sslmode'
  | 'client_tls_key_file'
  | 'client_tls_cert_file'
  | 'client_tls_ca_file'
  | 'client_tls_protocols'
  | 'client_tls_ciphers'
  | 'client_tls13_ciphers'
  | 'client_tls_dheparams'
  | 'client_tls_ecdhcurve'
  | 'server_tls_sslmode'
  | 'server_tls_ca_file'
  | 'server_tls_key_file'
  | 'server_tls_cert_file'
  | 'server_tls_protocols'
  | 'server_tls_ciphers'
  | 'server_tls13_ciphers'
>;

/** One side, and what it was made from: a digest, since there are keys in it. */
interface Side<T> {
  readonly tls: T | null;
  readonly source: string;
}

/** TLS that may be put in force. */
export interface PreparedTls {
  readonly client: Side<ClientTls>;
  readonly server: Side<ServerTls>;
  /** Server connections that were made before are by other rules. */
  readonly isServerChanged: boolean;
  readonly warnings: readonly string[];
  /** What it was made from, for other threads. */
  readonly texts: TlsTexts;
}

/** What ticket keys are made from. */
export const TICKET_SECRET_BYTES = 32;
/** A name, a key that signs, and one that encrypts. */
export const TICKET_KEY_BYTES = 80;
/** Node encrypts tickets by shorter ones. */
const NODE_TICKET_KEY_BYTES = 48;

const OFF: Side<never> = { tls: null, source: 'disable' };

/** TLS in force on both sides, for connections that begin now. */
export class TlsContexts {
  readonly #files = new TlsFiles();
  readonly #ticketSecret: Uint8Array;
  #client: Side<ClientTls> = OFF;
  #server: Side<ServerTls> = OFF;
  /** How many contexts have been made so far. */
  builds = 0;

  /**
   * `ticketSecret`: a number of random bytes. Contexts that are made from the same, and from the same settings and files, take
   * up each other's sessions: those of all threads.
   */
  constructor(ticketSecret: Uint8Array = randomBytes(TICKET_SECRET_BYTES)) {
    this.#ticketSecret = ticketSecret;
  }

  /** null: clients get no TLS. */
  get client(): ClientTls | null {
    return this.#client.tls;
  }

  /** null: servers are not asked for TLS. */
  get server(): ServerTls | null {
    return this.#server.tls;
  }

  /**
   * Reads what the settings name as long as that is allowed: {@link prepare} goes on by it where the process has become a
   * user who may not. What cannot be used is told there.
   */
  readAhead(settings: TlsSettings): void {
    this.#files.isAhead = true;
    try {
      this.use(this.prepare(settings));
    } catch (error) {
      if (!(error instanceof TlsSettingError)) throw error;
    } finally {
      this.#files.isAhead = false;
    }
  }

  /** As {@link prepare}, by what another thread has read. */
  prepareFrom(texts: TlsTexts, settings: TlsSettings): PreparedTls {
    this.#files.given = texts;
    return this.prepare(settings);
  }

  /** Reads what the settings name and makes what has changed; nothing is in force yet. Errors: TlsSettingError. */
  prepare(settings: TlsSettings): PreparedTls {
    this.#files.begin();
    // A certificate or a key that stays as it was does so for all that name its file: known ahead of what is made of any.
    for (const files of [clientIdentity(settings), serverIdentity(settings)])
      if (files !== null) readIdentity(files, this.#files);
    const client = this.#prepareClient(settings);
    const server = this.#prepareServer(settings);
    const warnings: (string | null)[] = this.#files.takeWarnings();
    if (client.tls !== null) {
      warnings.push(openKeyWarning('client_tls_key_file', settings.client_tls_key_file));
    }
    if (server.tls !== null) {
      warnings.push(openKeyWarning('server_tls_key_file', settings.server_tls_key_file));
    }
    return {
      client,
      server,
      isServerChanged: server.source !== this.#server.source,
      warnings: warnings.filter((warning) => warning !== null),
      texts: this.#files.takeTexts(),
    };
  }

  /** Puts it in force, for connections that begin from now on. */
  use({ client, server }: PreparedTls): void {
    this.#files.keep();
    this.#client = client;
    this.#server = server;
  }

  #prepareClient(settings: TlsSettings): Side<ClientTls> {
    const mode = settings.client_tls_sslmode;
    const files = clientIdentity(settings);
    if (files === null) return OFF;
    const isVerifying = mode === 'verify-ca' || mode === 'verify-full';
    const identity = readIdentity(files, this.#files);
    const caFile = settings.client_tls_ca_file;
    if (caFile === '' && mode === 'verify-full') {
      throw new TlsSettingError(
        'client_tls_ca_file',
        'a file with the certificates that sign those of clients',
      );
    }
    const certificates = isVerifying ? 'required' : caFile === '' ? 'none' : 'optional';
    const ca = certificates === 'none' ? [] : readAuthorities('client_tls_ca_file', caFile, this.#files);
    const versions = versionRange('client_tls_protocols', settings.client_tls_protocols);
    const ciphers = cipherList('client', settings.client_tls_ciphers, settings.client_tls13_ciphers);
    const curves = curveChoice(settings.client_tls_ecdhcurve);
    const dhe = dheChoice(settings.client_tls_dheparams);
    // A session that is taken up again would bring its certificate along, unseen and unverified.
    const secureOptions =
      constants.SSL_OP_NO_RENEGOTIATION | (certificates === 'none' ? 0 : constants.SSL_OP_NO_TICKET);
    const options: SecureContextOptions = {
      ...versions,
      ciphers,
      ...curves,
      ...dhe,
      honorCipherOrder: true,
      secureOptions,
    };
    const isRequired = mode !== 'allow' && mode !== 'prefer';
    const source = digest([isRequired, certificates, identity.certificates, identity.key, ca, options]);
    if (source === this.#client.source) return this.#client;
    const nodeKeys = this.#ticketKeys(`of Node ${source}`, NODE_TICKET_KEY_BYTES);
    const context = this.#build('client', { ...options, ticketKeys: nodeKeys }, identity, ca);
    const hash = endPointHash(identity.own.raw);
    const parts: TlsContextParts = {
      certificates: identity.certificates,
      key: identity.key,
      ...versions,
      ciphers,
      groups: curves.ecdhCurve ?? null,
      hasDh: dhe.dhparam !== undefined,
      options: secureOptions | constants.SSL_OP_CIPHER_SERVER_PREFERENCE,
      ticketKeys: this.#ticketKeys(source, TICKET_KEY_BYTES),
      protocol: ALPN_NAME,
    };
    const client = new ClientTls({ context, isRequired, certificates, endPointHash: hash, source: parts });
    return { tls: client, source };
  }

  #prepareServer(settings: TlsSettings): Side<ServerTls> {
    const mode = settings.server_tls_sslmode;
    if (mode === 'disable') return OFF;
    const files = serverIdentity(settings);
    const identity = files === null ? null : readIdentity(files, this.#files);
    const verifies = mode === 'verify-full' ? 'host' : mode === 'verify-ca' ? 'signature' : 'nothing';
    const caFile = settings.server_tls_ca_file;
    const ca =
      verifies === 'nothing' && caFile === ''
        ? []
        : readAuthorities('server_tls_ca_file', caFile, this.#files);
    const options: SecureContextOptions = {
      ...versionRange('server_tls_protocols', settings.server_tls_protocols),
      ciphers: cipherList('server', settings.server_tls_ciphers, settings.server_tls13_ciphers),
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    };
    const isRequired = mode !== 'allow' && mode !== 'prefer';
    const source = digest([isRequired, verifies, identity?.certificates, identity?.key, ca, options]);
    if (source === this.#server.source) return this.#server;
    const context = this.#build('server', options, identity, ca);
    return { tls: new ServerTls({ context, isRequired, verifies }), source };
  }

  /** Others for each context: its sessions are taken up where the same files and settings are in force, and nowhere else. */
  #ticketKeys(source: string, bytes: number): Buffer {
    return Buffer.from(hkdfSync('sha512', this.#ticketSecret, '', `session tickets ${source}`, bytes));
  }

  #build(
    side: 'client' | 'server',
    options: SecureContextOptions,
    identity: Identity | null,
    ca: string[],
  ): SecureContext {
    this.builds++;
    try {
      // Without `ca` Node would trust the authorities that it brings along.
      const own = identity === null ? {} : { key: identity.key, cert: identity.certificates };
      return createSecureContext({ ...options, ...own, ca });
    } catch (error) {
      throw namedError(side, options, error as Error);
    }
  }
}

/** Null: clients get no TLS. */
function clientIdentity(settings: TlsSettings): IdentityFiles | null {
  if (settings.client_tls_sslmode === 'disable') return null;
  return {
    keySetting: 'client_tls_key_file',
    keyFile: settings.client_tls_key_file,
    certSetting: 'client_tls_cert_file',
    certFile: settings.client_tls_cert_file,
  };
}

/** Null: servers are shown no certificate. */
function serverIdentity(settings: TlsSettings): IdentityFiles | null {
  const { server_tls_key_file: keyFile, server_tls_cert_file: certFile } = settings;
  if (settings.server_tls_sslmode === 'disable' || (keyFile === '' && certFile === '')) return null;
  return { keySetting: 'server_tls_key_file', keyFile, certSetting: 'server_tls_cert_file', certFile };
}

/** The setting that is to blame, found by trying each by itself. */
function namedError(side: 'client' | 'server', options: SecureContextOptions, error: Error): TlsSettingError {
  const why = tlsErrorText(error);
  const fails = (part: SecureContextOptions): boolean => {
    try {
      createSecureContext(part);
      return false;
    } catch {
      return true;
    }
  };
  const { ciphers, ecdhCurve } = options;
  const words = ciphers?.split(':') ?? [];
  const suites = words.filter((word) => word.startsWith('TLS_'));
  const older = words.filter((word) => !word.startsWith('TLS_'));
  if (ecdhCurve !== undefined && fails({ ecdhCurve })) {
    return new TlsSettingError(`${side}_tls_ecdhcurve`, `auto, none or names of curves (${why})`, {
      cause: error,
    });
  }
  if (suites.length > 0 && fails({ ciphers: suites.join(':') })) {
    return new TlsSettingError(`${side}_tls13_ciphers`, `cipher suites of TLS 1.3 (${why})`, {
      cause: error,
    });
  }
  if (fails({ ciphers: older.join(':') })) {
    return new TlsSettingError(`${side}_tls_ciphers`, `OpenSSL's names of ciphers (${why})`, {
      cause: error,
    });
  }
  return new TlsSettingError(
    `${side}_tls_cert_file`,
    `a certificate, chain and key that OpenSSL takes (${why})`,
    {
      cause: error,
    },
  );
}

function digest(parts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64');
}

import { join } from 'node:path';
import pg from 'pg';
import type { Psql } from '../support/psql.ts';
import { within } from '../support/wait-for.ts';

/** What a client asks of its connection, in libpq's words. */
export interface Ask {
  readonly sslmode: 'disable' | 'allow' | 'prefer' | 'require' | 'verify-ca' | 'verify-full';
  /** `sslnegotiation=direct`. */
  readonly isDirect: boolean;
  /** `unix`: the unix socket. `other`: an address that the pooler's certificate is not for. */
  readonly host: 'localhost' | 'other' | 'unix';
  /** Whose certificates it trusts: the authority that signed the pooler's, or another one. */
  readonly trusts: 'authority' | 'other';
  /**
   * The certificate that it shows: none; one of the authority with the user's name, or with another one; one with the
   * user's name that signed itself.
   */
  readonly certificate: 'none' | 'own' | 'another' | 'stranger';
  readonly channelBinding: 'disable' | 'prefer' | 'require';
}

/** Which client is tried: node-postgres, psql with the libpq of PostgreSQL 18, and psql as it is installed. */
export type ClientName = 'pg' | 'psql 18' | 'psql';

/** A certificate and its key as files, for psql, and as text, for node-postgres. */
export interface ShownCertificate {
  readonly certPem: string;
  readonly keyPem: string;
  readonly certFile: string;
  readonly keyFile: string;
}

/** One try. */
export interface Attempt {
  readonly port: number;
  readonly socketDir: string;
  readonly database: string;
  readonly user: string;
  /** Empty: none. */
  readonly password: string;
  readonly ask: Ask;
  readonly certificate: ShownCertificate | null;
  /** The authority that it trusts. */
  readonly ca: { readonly file: string; readonly pem: string };
  /** libpq's `require_auth`, for psql 18: by what it is to be asked, or null for anything. */
  readonly requiredAuth: string | null;
}

/** An ErrorResponse. psql does not tell the SQLSTATE of those that end a login. */
export interface Refused {
  readonly message: string;
  readonly code: string | null;
}

/**
 * How a login ended. `who`: on the server, and whether over TLS there; `isEncrypted`: here. `refused`: by ErrorResponses, one per connection that the client has tried, the same one only once.
 * `gone`: without one; the text is what the client says.
 */
export type Outcome =
  | { readonly kind: 'in'; readonly who: string; readonly isEncrypted: boolean }
  | { readonly kind: 'refused'; readonly errors: readonly Refused[] }
  | { readonly kind: 'gone'; readonly text: string };

/** What is not tried with each, and why. */
export const NOT_TRIED: readonly string[] = [
  'node-postgres: sslmode allow and prefer, channel_binding=require, which it does not have',
  'psql as it is installed: sslnegotiation=direct, of libpq 17, and by which method it is asked, of libpq 16',
  'psql: an empty password, for which it asks its terminal',
];

const DEADLINE_MS = 60_000;
/** Who we are on the server, and whether over TLS. */
const QUERY =
  "SELECT current_user || CASE WHEN ssl THEN ' over TLS' ELSE '' END AS who FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/** What node-postgres cannot be asked: fallbacks, and to insist on channel binding. */
export function isForPg({ sslmode, channelBinding, host }: Ask): boolean {
  return sslmode !== 'allow' && sslmode !== 'prefer' && channelBinding !== 'require' && host !== 'other';
}

/** A login with node-postgres. */
export async function byPg(attempt: Attempt): Promise<Outcome> {
  const { ask, port, socketDir, database, user, password, certificate } = attempt;
  const config = {
    host: ask.host === 'unix' ? socketDir : '127.0.0.1',
    port,
    database,
    user,
    // Undefined would have it look for a file.
    password: () => password,
    enableChannelBinding: ask.channelBinding === 'prefer',
    ...(ask.sslmode === 'disable' || ask.host === 'unix' ? { ssl: false } : { ssl: tlsOf(attempt) }),
    ...(ask.isDirect ? { sslnegotiation: 'direct' } : {}),
  };
  const client = new pg.Client(config as pg.ClientConfig);
  client.on('error', () => {});
  try {
    await within(client.connect(), 'the end of a login', DEADLINE_MS);
    const { rows } = await client.query<{ who: string }>(QUERY);
    const { stream } = (client as unknown as { connection: { stream: { encrypted?: boolean } } }).connection;
    return { kind: 'in', who: rows[0]?.who ?? '', isEncrypted: stream.encrypted === true };
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) return { kind: 'gone', text: String(error) };
    if (error.severity !== 'FATAL') throw error;
    return { kind: 'refused', errors: [{ message: error.message, code: error.code ?? null }] };
  } finally {
    client.end().catch(() => {});
    if (certificate !== null || ask.sslmode !== 'disable') destroy(client);
  }
}

/** A handshake that has failed leaves node-postgres with a socket that nobody ends. */
function destroy(client: pg.Client): void {
  const { stream } = (client as unknown as { connection: { stream: { destroy(): void; writable: boolean } } })
    .connection;
  if (!stream.writable) stream.destroy();
}

function tlsOf({ ask, ca, certificate }: Attempt): object {
  return {
    ...(ask.sslmode === 'require' ? { rejectUnauthorized: false } : { ca: ca.pem }),
    ...(ask.sslmode === 'verify-full'
      ? { servername: 'localhost' }
      : { checkServerIdentity: () => undefined }),
    ...(certificate === null ? {} : { cert: certificate.certPem, key: certificate.keyPem }),
  };
}

/** A login with psql; `isNewest`: with the libpq of PostgreSQL 18. */
export async function byPsql(psql: Psql, isNewest: boolean, attempt: Attempt): Promise<Outcome> {
  const { ask, port, socketDir, database, user, password, certificate, ca, requiredAuth } = attempt;
  const isVerifying = ask.sslmode === 'verify-ca' || ask.sslmode === 'verify-full';
  const where: Record<string, string | number> = {
    host: ask.host === 'unix' ? socketDir : 'localhost',
    ...(ask.host === 'unix' ? {} : { hostaddr: '127.0.0.1' }),
    port,
    dbname: database,
    user,
    password,
    sslmode: ask.sslmode,
    channel_binding: ask.channelBinding,
    // Another libpq would look into the home of whoever runs this.
    sslrootcert: isVerifying ? ca.file : join(socketDir, 'none'),
    sslcert: certificate?.certFile ?? join(socketDir, 'none'),
    ...(certificate === null ? {} : { sslkey: certificate.keyFile }),
    ...(ask.isDirect ? { sslnegotiation: 'direct' } : {}),
    ...(isNewest && requiredAuth !== null ? { require_auth: requiredAuth } : {}),
  };
  if (ask.host === 'other') Object.assign(where, { host: 'other.example.org' });
  const { code, stdout, stderr } = await psql.run(where, QUERY, '\\conninfo');
  if (code === 0) {
    const [who = ''] = stdout.split('\n');
    return { kind: 'in', who, isEncrypted: /SSL connection \(|TLS \w+/i.test(stdout) };
  }
  const said = [...stderr.matchAll(/FATAL: {2}(.*)/g)].map(([, message = '']) => message);
  const errors = said
    .filter((message, i) => message !== said[i - 1])
    .map((message) => ({ message, code: null }));
  return errors.length > 0 ? { kind: 'refused', errors } : { kind: 'gone', text: stderr };
}

import type { Expected, TlsMode } from './client-table.ts';

/**
 * What the contract says of our login on a server, written down apart from the code: what can be answered with which
 * stored secret, whose secret that is, and server_tls_sslmode, as PgBouncer's manual has them (`auth_file`, `user`,
 * `password`, `server_tls_sslmode`), and what docs/differences.md takes back of it. What PostgreSQL says itself is its own.
 */

/**
 * What PostgreSQL asks of a role. `md5 of scram`: its rule says md5, what it has stored is a SCRAM secret. `hostssl` and
 * `hostnossl`: by SCRAM, but only so.
 */
export type Asked =
  | 'trust'
  | 'password'
  | 'md5'
  | 'md5 of scram'
  | 'scram-sha-256'
  | 'cert'
  | 'reject'
  | 'hostssl'
  | 'hostnossl';

/**
 * Where our secret comes from. `entry`: `user=` and `password=` of the database. `forced`: `user=` of the database, and
 * that one's line of auth_file. The others: the client's own, as which we log in.
 */
export type Origin = 'entry' | 'forced' | 'auth_file' | 'auth_query';

/** `none`: there is no such user, who is trusted nevertheless (`any` with `user=`). */
export type Kept = 'plain' | 'md5' | 'scram' | 'empty' | 'none';

/** How the client has proved who it is. */
export type ProvenBy = 'trust' | 'password' | 'md5' | 'scram-sha-256';

/** Where the server is: by the name that its certificate has, by another one, at its unix socket. */
export type ServerHost = 'localhost' | 'other' | 'unix';

export interface ServerTlsSetting {
  readonly mode: TlsMode;
  /** Whom `server_tls_ca_file` trusts. */
  readonly trusts: 'authority' | 'other';
  /** Whether there is a certificate to show. */
  readonly hasCertificate: boolean;
}

/** One cell of the matrix, as the contract sees it. */
export interface ServerCase {
  readonly tls: ServerTlsSetting;
  readonly isTlsServer: boolean;
  readonly host: ServerHost;
  readonly asked: Asked;
  readonly origin: Origin;
  readonly kept: Kept;
  /** Whether it is what PostgreSQL has. */
  readonly isRight: boolean;
  readonly provenBy: ProvenBy;
}

/** How it ends: as of clients (`isEncrypted`: on the server's side), or there is no connection to the server, for this reason in the log. */
export type ServerExpected = Expected | { readonly kind: 'unreachable'; readonly reason: string };

/** What becomes of the connection, before anybody is asked for anything. */
type Way = 'clear' | 'encrypted' | 'server refused SSL' | 'TLS handshake failed';

/** By server_tls_sslmode: with a server that has TLS, and with one that has none. */
const WAYS: Readonly<Record<TlsMode, readonly [Way, Way]>> = {
  disable: ['clear', 'clear'],
  allow: ['encrypted', 'clear'],
  prefer: ['encrypted', 'clear'],
  require: ['encrypted', 'server refused SSL'],
  'verify-ca': ['encrypted', 'server refused SSL'],
  'verify-full': ['encrypted', 'server refused SSL'],
};

function wayOf({ tls, isTlsServer, host }: ServerCase): Way {
  // These are never encrypted.
  if (host === 'unix') return 'clear';
  const way = WAYS[tls.mode][isTlsServer ? 0 : 1];
  if (way !== 'encrypted') return way;
  const isVerifying = tls.mode === 'verify-ca' || tls.mode === 'verify-full';
  if (isVerifying && tls.trusts === 'other') return 'TLS handshake failed';
  return tls.mode === 'verify-full' && host === 'other' ? 'TLS handshake failed' : way;
}

/** Which message PostgreSQL asks by; null: none. */
type Question = 'cleartext' | 'md5' | 'sasl' | null;

/**
 * What can be answered. `answer`: what is right for that secret, so it depends on the secret. `impossible`: we give up; a
 * hash is sent to nobody who asks for a password.
 */
const ANSWERS: Readonly<
  Record<
    'plain' | 'md5' | 'scram' | 'keys',
    Readonly<Record<'cleartext' | 'md5' | 'sasl', 'answer' | 'impossible'>>
  >
> = {
  plain: { cleartext: 'answer', md5: 'answer', sasl: 'answer' },
  md5: { cleartext: 'impossible', md5: 'answer', sasl: 'impossible' },
  scram: { cleartext: 'impossible', md5: 'impossible', sasl: 'impossible' },
  // A SCRAM secret whose keys the client's own proof has shown.
  keys: { cleartext: 'impossible', md5: 'impossible', sasl: 'answer' },
};

/** The client's proof gives the keys where it was by SCRAM, of a SCRAM secret, and we log in as the client. */
function hasKeys({ origin, kept, provenBy }: ServerCase): boolean {
  const isByScram = provenBy === 'scram-sha-256' || provenBy === 'md5';
  return kept === 'scram' && isByScram && (origin === 'auth_file' || origin === 'auth_query');
}

/** Whether the client gets as far as the server at all, which is the other matrix's business. */
export function isLetIn({
  origin,
  kept,
  provenBy,
}: Pick<ServerCase, 'origin' | 'kept' | 'provenBy'>): boolean {
  if (origin === 'entry' || origin === 'forced') return provenBy === 'trust';
  if (kept === 'none') return false;
  if (kept === 'empty') return provenBy === 'trust';
  return provenBy !== 'scram-sha-256' || kept !== 'md5';
}

/** How the client's login, and its first query, have to end. `user` is who we are on the server. */
export function serverExpectedOf(login: ServerCase, user: string, isClientPg: boolean): ServerExpected {
  const way = wayOf(login);
  if (way !== 'clear' && way !== 'encrypted') return { kind: 'unreachable', reason: way };
  const refused = (message: string, code: string): Expected => ({
    kind: 'refused',
    errors: [{ message, code: isClientPg ? code : null }],
  });
  const isEncrypted = way === 'encrypted';
  const where = login.host === 'unix' ? '"[local]"' : '"127.0.0.1"';
  const encryption = isEncrypted ? 'SSL encryption' : 'no encryption';
  const rejected = refused(
    `pg_hba.conf rejects connection for host ${where}, user "${user}", database "postgres", ${encryption}`,
    '28000',
  );
  let question: Question;
  switch (login.asked) {
    case 'trust':
      return { kind: 'in', isEncrypted };
    case 'reject':
      return rejected;
    case 'cert':
      if (!isEncrypted) return rejected;
      return login.tls.hasCertificate
        ? { kind: 'in', isEncrypted }
        : refused('connection requires a valid client certificate', '28000');
    case 'hostssl':
    case 'hostnossl':
      if (login.host === 'unix' || isEncrypted !== (login.asked === 'hostssl')) return rejected;
      question = 'sasl';
      break;
    case 'password':
      question = 'cleartext';
      break;
    case 'md5':
      question = 'md5';
      break;
    default:
      question = 'sasl';
  }
  const isEmpty = login.kept === 'empty' || login.kept === 'none';
  // No password at all is an empty one, which PostgreSQL refuses in its own words.
  if (isEmpty && question === 'cleartext') return refused('empty password returned by client', '28P01');
  const answer = isEmpty
    ? 'futile'
    : ANSWERS[hasKeys(login) ? 'keys' : (login.kept as 'plain' | 'md5' | 'scram')][question];
  if (answer === 'impossible') return refused('server login failed: wrong password type', '08P01');
  if (answer === 'answer' && login.isRight) return { kind: 'in', isEncrypted };
  return refused(`password authentication failed for user "${user}"`, '28P01');
}

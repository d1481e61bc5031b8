import type { Ask, ClientName, Refused } from './clients.ts';

/**
 * What the contract says of a client's login, written down apart from the code: PgBouncer's auth_type and
 * client_tls_sslmode as its manual has them (`auth_type`, `auth_file`, `HBA file format`, `client_tls_sslmode`), its
 * error texts, and what docs/differences.md takes back of it.
 */

export type TlsMode = 'disable' | 'allow' | 'prefer' | 'require' | 'verify-ca' | 'verify-full';
export const TLS_MODES: readonly TlsMode[] = [
  'disable',
  'allow',
  'prefer',
  'require',
  'verify-ca',
  'verify-full',
];

/** The pooler's side of TLS. */
export interface TlsSetting {
  readonly mode: TlsMode;
  /** Whether there is a `client_tls_ca_file`. */
  readonly hasCa: boolean;
}

/** What is stored of a user. `empty`: `""`, or NULL from auth_query. `none`: nothing, nobody knows the name. */
export type Stored = 'plain' | 'md5' | 'scram' | 'empty' | 'none';
export const STORED: readonly Stored[] = ['plain', 'md5', 'scram', 'empty', 'none'];
export type Source = 'auth_file' | 'auth_query';

/** A way to log in, as an HBA line says it; `none`: no line is for it. */
export type Method =
  | 'any'
  | 'trust'
  | 'password'
  | 'md5'
  | 'scram-sha-256'
  | 'cert'
  | 'cert map'
  | 'peer'
  | 'peer map'
  | 'ldap'
  | 'reject'
  | 'hostssl'
  | 'hostnossl'
  | 'none';

/** One cell of the matrix, as the contract sees it. */
export interface ClientCase {
  readonly tls: TlsSetting;
  readonly method: Method;
  readonly source: Source;
  readonly stored: Stored;
  readonly credential: 'right' | 'wrong' | 'empty';
  /** Whether it is by a line of an HBA file, rather than `auth_type` itself. */
  readonly isHba: boolean;
  /** `unforced`: one whose entry has no `user=`, in place of one that has it. */
  readonly where: 'there' | 'nowhere' | 'unforced';
  /** Whether the user's name is the one that the system has for whoever runs this. */
  readonly isOsUser: boolean;
  /** The commonest kind of secret, which unknown users are taken for. */
  readonly fashion: 'plain' | 'md5' | 'scram';
  readonly ask: Ask;
  readonly client: ClientName;
}

/** How it has to end. */
export type Expected =
  | { readonly kind: 'in'; readonly isEncrypted: boolean }
  | { readonly kind: 'refused'; readonly errors: readonly Refused[] }
  /** The client itself gives up, and says this. */
  | { readonly kind: 'gone'; readonly text: RegExp };

/** How a password is asked for. */
type Exchange = 'password' | 'md5' | 'scram-sha-256';

/** What is asked for and whether the right password is enough: by method, and by what is stored. */
const ASKED: Readonly<
  Record<'password' | 'md5' | 'scram-sha-256', Readonly<Record<Stored, readonly [Exchange, 'in' | 'out']>>>
> = {
  password: {
    plain: ['password', 'in'],
    md5: ['password', 'in'],
    scram: ['password', 'in'],
    empty: ['password', 'out'],
    none: ['password', 'out'],
  },
  // It turns into SCRAM by itself where a SCRAM secret is stored.
  md5: {
    plain: ['md5', 'in'],
    md5: ['md5', 'in'],
    scram: ['scram-sha-256', 'in'],
    empty: ['md5', 'out'],
    none: ['md5', 'out'],
  },
  // It takes a SCRAM secret or a plain password.
  'scram-sha-256': {
    plain: ['scram-sha-256', 'in'],
    md5: ['scram-sha-256', 'out'],
    scram: ['scram-sha-256', 'in'],
    empty: ['scram-sha-256', 'out'],
    none: ['scram-sha-256', 'out'],
  },
};

const WRONG: Readonly<Record<Exchange, string>> = {
  password: 'password authentication failed',
  md5: 'password authentication failed',
  'scram-sha-256': 'SASL authentication failed',
};

/** What clients say that are asked for a password and have none. */
const NO_PASSWORD = /no password supplied|client password must be a (?:non-empty )?string/;

/** What libpq says that is to bind the channel and cannot. */
const NO_BINDING = /channel binding/;

type Verdict =
  | { readonly kind: 'in' }
  | { readonly kind: 'refused'; readonly message: string }
  | { readonly kind: 'gone'; readonly text: RegExp };

const IN: Verdict = { kind: 'in' };
const no = (message: string): Verdict => ({ kind: 'refused', message });
const gone = (text: RegExp): Verdict => ({ kind: 'gone', text });

/** By what a password is asked for in this case; null: for none. What nobody knows is asked for as most are. */
export function exchangeOf({ method, stored, fashion }: ClientCase): Exchange | null {
  const asking = method === 'hostssl' || method === 'hostnossl' ? 'scram-sha-256' : method;
  if (asking === 'ldap') return 'password';
  if (asking !== 'password' && asking !== 'md5' && asking !== 'scram-sha-256') return null;
  const isKnown = stored !== 'none' && stored !== 'empty';
  return ASKED[asking][isKnown ? stored : fashion][0];
}

/** What comes of the name and its proof, on a connection that is encrypted or not. */
function identityVerdict(login: ClientCase, isEncrypted: boolean): Verdict {
  const { method, stored, source, ask, credential, isOsUser } = login;
  // "no such user" is of auth_query without a row, the other of auth_file; where something is asked it is neither.
  const known = (text: string): Verdict => {
    if (stored !== 'none') return IN;
    return no(source === 'auth_query' ? 'no such user' : text);
  };
  switch (method) {
    case 'any':
      // Who is nobody in particular has to be somebody on the server.
      return login.where === 'unforced' ? no('bouncer config error') : IN;
    case 'trust':
      return known('"trust" authentication failed');
    case 'reject':
      return no('login rejected');
    case 'none':
      return no('no authentication method is found');
    case 'peer':
    case 'peer map': {
      if (ask.host !== 'unix') return no('no authentication method is found');
      // The map lets whoever runs this be anybody.
      const isProven = method === 'peer map' || isOsUser;
      return isProven ? known('unix socket login rejected') : no('unix socket login rejected');
    }
    case 'cert':
    case 'cert map': {
      if (login.isHba && !isEncrypted) return no('no authentication method is found');
      // The map lets `another` be anybody, and nobody else.
      const isAsked = isEncrypted && login.tls.hasCa;
      const isProven = isAsked && ask.certificate === (method === 'cert' ? 'own' : 'another');
      const text = 'certificate authentication failed';
      return isProven ? known(text) : no(text);
    }
    case 'hostssl':
    case 'hostnossl':
      if (ask.host === 'unix' || isEncrypted !== (method === 'hostssl'))
        return no('no authentication method is found');
      return passwordVerdict(login, isEncrypted, ASKED['scram-sha-256'][stored][1]);
    case 'ldap':
      // The directory knows this user alone.
      return passwordVerdict(login, isEncrypted, stored === 'plain' ? 'in' : 'out');
    default:
      return passwordVerdict(login, isEncrypted, ASKED[method][stored][1]);
  }

  function passwordVerdict(of: ClientCase, isTls: boolean, whenRight: 'in' | 'out'): Verdict {
    const exchange = exchangeOf(of) ?? 'password';
    if (ask.channelBinding === 'require' && (exchange !== 'scram-sha-256' || !isTls)) return gone(NO_BINDING);
    if (credential === 'empty') {
      if (of.client !== 'pg' || exchange === 'scram-sha-256') return gone(NO_PASSWORD);
      // What is hashed is no empty message.
      return no(exchange === 'md5' ? WRONG.md5 : 'empty password returned by client');
    }
    if (credential === 'right' && whenRight === 'in') return IN;
    return no(method === 'ldap' ? 'LDAP authentication failed' : WRONG[exchange]);
  }
}

/** Whether there is such a database is told only to those who would be let in. */
function loginVerdict(login: ClientCase, isEncrypted: boolean, database: string): Verdict {
  const verdict = identityVerdict(login, isEncrypted);
  if (verdict.kind !== 'in') return verdict;
  if (login.where === 'nowhere') return no(`no such database: ${database}`);
  // libpq that is to bind the channel is not content with being let in for nothing.
  const isBound = login.ask.channelBinding !== 'require' || exchangeOf(login) !== null;
  return isBound ? IN : gone(NO_BINDING);
}

/** A connection in the clear over TCP. */
function inTheClear(login: ClientCase, database: string): Verdict {
  const { mode } = login.tls;
  // verify-ca and verify-full, which are one, are require and more.
  if (mode === 'require' || mode === 'verify-ca' || mode === 'verify-full') return no('SSL required');
  return loginVerdict(login, false, database);
}

/** A connection over TCP that is encrypted; `mode` is not disable. */
function encrypted(login: ClientCase, database: string): Verdict {
  const { ask, tls } = login;
  const isVerifying = ask.sslmode === 'verify-ca' || ask.sslmode === 'verify-full';
  if (isVerifying && ask.trusts === 'other')
    return gone(/certificate verify failed|self-signed certificate|unable to (?:verify|get)/);
  if (ask.sslmode === 'verify-full' && ask.host === 'other') return gone(/does not match host name/);
  const isMandatory = tls.mode === 'verify-ca' || tls.mode === 'verify-full';
  if (ask.certificate === 'none' && isMandatory) return no('certificate verify failed: no certificate');
  // It is looked at where it is asked for, which is where there is an authority; then it has to be good.
  if (ask.certificate === 'stranger' && tls.hasCa)
    return no('certificate verify failed: self-signed certificate');
  return loginVerdict(login, true, database);
}

/** How the login has to end: what the client tries, one connection after the other, and what becomes of each. */
export function expectedOf(login: ClientCase, database: string): Expected {
  const { ask, tls } = login;
  if (ask.host === 'unix') return ended([[loginVerdict(login, false, database), false]], login);
  const clear = (): [Verdict, boolean] => [inTheClear(login, database), false];
  const secured = (): [Verdict, boolean] => [encrypted(login, database), true];
  if (tls.mode === 'disable') {
    // `N` to SSLRequest.
    if (ask.isDirect) return { kind: 'gone', text: /SSL|wrong version number|closed/ };
    if (ask.sslmode === 'disable' || ask.sslmode === 'allow' || ask.sslmode === 'prefer')
      return ended([clear()], login);
    return { kind: 'gone', text: /server does not support SSL/ };
  }
  switch (ask.sslmode) {
    case 'disable':
      return ended([clear()], login);
    // libpq tries the other way when the first is refused.
    case 'allow':
      return ended([clear(), secured()], login);
    case 'prefer':
      return ended([secured(), clear()], login);
    default:
      return ended([secured()], login);
  }
}

function ended(tries: readonly (readonly [Verdict, boolean])[], { client }: ClientCase): Expected {
  const errors: Refused[] = [];
  for (const [verdict, isEncrypted] of tries) {
    if (verdict.kind === 'in') return { kind: 'in', isEncrypted };
    // Who gives up by itself has no second try.
    if (verdict.kind === 'gone')
      return errors.length > 0 ? { kind: 'refused', errors } : { kind: 'gone', text: verdict.text };
    // What is said twice counts once: which libpq tries again after the same answer depends on its version.
    if (errors.at(-1)?.message === verdict.message) continue;
    errors.push({ message: verdict.message, code: client === 'pg' ? '08P01' : null });
  }
  return { kind: 'refused', errors };
}

import { namesPassword, splitAuthLine } from './auth-lines.ts';
import { ConfigError, type SourcePosition } from './config-error.ts';

/**
 * How passwords are checked by an LDAP server; plain data. With `baseDn` the name is searched for and then bound as;
 * otherwise bound as `prefix` name `suffix`. Holds a password: never log it. Source: PgBouncer `auth_ldap_options`;
 * manual, `auth-ldap`.
 */
export interface LdapOptions {
  /** Tried in this order; empty: found by DNS from the base DN. */
  readonly servers: readonly string[];
  /** Null: the scheme's own. */
  readonly port: number | null;
  readonly scheme: 'ldap' | 'ldaps';
  readonly startTls: boolean;
  readonly prefix: string;
  readonly suffix: string;
  readonly baseDn: string | null;
  readonly bindDn: string;
  readonly bindPassword: string;
  readonly searchAttribute: string;
  /** With `$username` where the name goes; null: `searchAttribute` equals the name. */
  readonly searchFilter: string | null;
  readonly scope: 'base' | 'one' | 'sub';
}

const names = [
  'ldapserver',
  'ldapport',
  'ldapscheme',
  'ldaptls',
  'ldapprefix',
  'ldapsuffix',
  'ldapbasedn',
  'ldapbinddn',
  'ldapbindpasswd',
  'ldapsearchattribute',
  'ldapsearchfilter',
  'ldapurl',
] as const;
type Name = (typeof names)[number];

/** Whether `name` is one of LDAP's options. */
export function isLdapOption(name: string): name is Name {
  return (names as readonly string[]).includes(name);
}

/** A text of options without the password in it, for people to read; nothing of one that makes no sense. */
export function hideLdapPassword(text: string): string {
  if (!namesPassword(text)) return text;
  try {
    const words = splitAuthLine(text, { file: '', line: 0 }, '').flat();
    // Of a password without quotes one word may be the rest.
    if (!words.every(({ text: word }) => isLdapOption(word.replace(/=.*$/s, '').toLowerCase())))
      return HIDDEN;
    return words.map(({ text: word }) => (/^ldapbindpasswd=/i.test(word) ? HIDDEN : quoted(word))).join(' ');
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return HIDDEN;
  }
}

const HIDDEN = 'ldapbindpasswd=********';

function quoted(word: string): string {
  return /^[^\s",#]+$/.test(word) ? word : `"${word.replaceAll('"', '""')}"`;
}

/** Makes sense of options by their names. Throws {@link ConfigError}; no value is in its text. */
export function parseLdapOptions(given: ReadonlyMap<string, string>, at: SourcePosition): LdapOptions {
  const refuse = (key: string, expected: string): never => {
    throw new ConfigError(at, key, expected);
  };
  const url = given.has('ldapurl') ? parseUrl(given.get('ldapurl') ?? '', at) : null;
  const text = (name: Name): string | null => given.get(name) ?? url?.[name] ?? null;
  const scheme = text('ldapscheme') ?? 'ldap';
  if (scheme !== 'ldap' && scheme !== 'ldaps') return refuse('ldapscheme', 'ldap or ldaps');
  const port = text('ldapport');
  if (port !== null && !(/^\d{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65535)) {
    return refuse('ldapport', 'a port from 1 to 65535');
  }
  const tls = text('ldaptls') ?? '0';
  if (tls !== '0' && tls !== '1') return refuse('ldaptls', '0 or 1');
  if (tls === '1' && scheme === 'ldaps') return refuse('ldaptls', '0 with ldapscheme=ldaps');
  const baseDn = text('ldapbasedn');
  const isPrefixed = given.has('ldapprefix') || given.has('ldapsuffix');
  const isSearched =
    url !== null ||
    ['ldapbasedn', 'ldapbinddn', 'ldapbindpasswd', 'ldapsearchattribute', 'ldapsearchfilter'].some((name) =>
      given.has(name),
    );
  if (isPrefixed && isSearched) {
    return refuse('ldapprefix', 'either ldapprefix and ldapsuffix or the options of a search');
  }
  if (!isPrefixed && (baseDn === null || baseDn === '')) {
    return refuse('ldapbasedn', 'ldapprefix, ldapsuffix or ldapbasedn, of which one has to be there');
  }
  const filter = text('ldapsearchfilter');
  if (filter !== null && given.has('ldapsearchattribute')) {
    return refuse('ldapsearchfilter', 'either ldapsearchattribute or ldapsearchfilter');
  }
  if (filter !== null && !/^\(.+\)$/s.test(filter))
    return refuse('ldapsearchfilter', 'a filter in parentheses');
  const attribute = text('ldapsearchattribute') ?? 'uid';
  if (!/^[A-Za-z][A-Za-z0-9.;-]*$/.test(attribute)) {
    return refuse('ldapsearchattribute', 'the name of an attribute');
  }
  const servers = (text('ldapserver') ?? '').split(/\s+/).filter((server) => server !== '');
  if (servers.length === 0 && isPrefixed) return refuse('ldapserver', 'a server');
  return {
    servers,
    port: port === null ? null : Number(port),
    scheme,
    startTls: tls === '1',
    prefix: text('ldapprefix') ?? '',
    suffix: text('ldapsuffix') ?? '',
    baseDn: isPrefixed ? null : baseDn,
    bindDn: text('ldapbinddn') ?? '',
    bindPassword: text('ldapbindpasswd') ?? '',
    searchAttribute: attribute,
    searchFilter: filter,
    scope: url?.scope ?? 'sub',
  };
}

/**
 * `ldap[s]://host[:port]/basedn[?attribute[?scope[?filter]]]`. Source: RFC 4516; manual, `auth-ldap`, ldapurl. Scope is
 * base where the URL says nothing, as there.
 */
function parseUrl(
  text: string,
  at: SourcePosition,
): Partial<Record<Name, string>> & { scope: LdapOptions['scope'] } {
  const match = /^(ldaps?):\/\/(\[[0-9A-Fa-f:.]+\]|[^/:?\s]*)(?::(\d{1,5}))?(?:\/([^?]*)(?:\?(.*))?)?$/i.exec(
    text,
  );
  if (match === null)
    throw new ConfigError(at, 'ldapurl', 'ldap[s]://host[:port]/basedn[?attribute[?scope[?filter]]]');
  const [, scheme = '', host = '', port, dn = '', rest = ''] = match;
  const [attributes = '', scope = '', filter = '', extensions = ''] = rest.split('?');
  if (extensions !== '') throw new ConfigError(at, 'ldapurl', 'a URL without extensions');
  if (attributes.includes(',')) throw new ConfigError(at, 'ldapurl', 'at most one attribute');
  if (!['', 'base', 'one', 'sub'].includes(scope))
    throw new ConfigError(at, 'ldapurl', 'base, one or sub for the scope');
  const decoded = (part: string): string => {
    try {
      return decodeURIComponent(part);
    } catch {
      throw new ConfigError(at, 'ldapurl', 'right escapes with %');
    }
  };
  return {
    ldapscheme: scheme.toLowerCase(),
    ...(host === '' ? {} : { ldapserver: host.replace(/^\[|\]$/g, '') }),
    ...(port === undefined ? {} : { ldapport: port }),
    ldapbasedn: decoded(dn),
    ...(attributes === '' ? {} : { ldapsearchattribute: decoded(attributes) }),
    ...(filter === '' ? {} : { ldapsearchfilter: decoded(filter) }),
    scope: (scope === '' ? 'base' : scope) as LdapOptions['scope'],
  };
}

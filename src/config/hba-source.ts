import { type AuthFiles, readAuthFile, splitAuthLine } from './auth-lines.ts';
import type { Config } from './config.ts';
import { ConfigError, type SourcePosition } from './config-error.ts';
import { type HbaRule, parseHbaLines } from './hba.ts';
import { type IdentMaps, parseIdentLines } from './ident.ts';
import { isLdapOption, type LdapOptions, parseLdapOptions } from './ldap-options.ts';

/** The end of the warning about a file without rules. */
export const NO_RULES = 'has no rules: nobody can log in';

/** What logins go by beside `auth_type`; plain data. */
export interface LoginRules {
  /** With `auth_type` hba alone. */
  readonly hba: readonly HbaRule[] | null;
  /** Of `auth_ldap_options`, with `auth_type` ldap alone. */
  readonly ldap: LdapOptions | null;
}

/** With what to tell the operator. */
export interface LoadedLoginRules extends LoginRules {
  readonly warnings: readonly string[];
}

/**
 * Reads the files that `auth_type` needs, and checks what it asks of other settings. `at` says where a setting stands.
 * Throws {@link ConfigError}: the pooler would let in others than the operator means.
 */
export function loadLoginRules(
  config: Pick<Config, 'settings' | 'databases' | 'autoDatabase'>,
  at: (setting: string) => SourcePosition,
  files?: AuthFiles,
): LoadedLoginRules {
  const { settings } = config;
  const warnings: string[] = [];
  const tlsMode = settings.client_tls_sslmode;
  if (settings.auth_type === 'cert' && tlsMode !== 'verify-full' && tlsMode !== 'verify-ca') {
    throw new ConfigError(
      at('auth_type'),
      'auth_type',
      'client_tls_sslmode = verify-full with auth_type cert',
    );
  }
  // The system's authorities vouch for names in the DNS, not for users.
  if (settings.auth_type === 'cert' && settings.client_tls_ca_file === '') {
    throw new ConfigError(at('auth_type'), 'auth_type', 'client_tls_ca_file with auth_type cert');
  }
  if (settings.auth_type === 'ldap') {
    return { hba: null, ldap: ldapOptions(settings.auth_ldap_options, at('auth_ldap_options')), warnings };
  }
  if (settings.auth_type !== 'hba') return { hba: null, ldap: null, warnings };
  const path = settings.auth_hba_file;
  if (path === '') throw new ConfigError(at('auth_type'), 'auth_hba_file', 'a file, for auth_type hba');
  const maps = identMaps(settings.auth_ident_file, files);
  const hasAuthUser =
    (settings.auth_user ?? '') !== '' ||
    [...config.databases.values()].some(({ authUser }) => authUser !== null) ||
    (config.autoDatabase?.includes('auth_user') ?? false);
  const hba = parseHbaLines(readAuthFile(path, 'auth_hba_file', files), {
    maps,
    hasAuthUser,
    warn: (warning) => void warnings.push(warning),
  });
  const isAnybodys = tlsMode === 'verify-ca' && settings.client_tls_ca_file === '';
  if (isAnybodys && hba.some(({ method }) => method === 'cert')) {
    throw new ConfigError(at('auth_type'), 'client_tls_ca_file', 'a file, for rules with the method cert');
  }
  if (hba.length === 0) warnings.push(`${path} ${NO_RULES}`);
  return { hba, ldap: null, warnings };
}

function identMaps(path: string | null, files?: AuthFiles): IdentMaps {
  if (path === null || path === '') return new Map();
  return parseIdentLines(readAuthFile(path, 'auth_ident_file', files));
}

/** Longest text of options, in bytes. Source: PgBouncer's fixed limits. */
const MAX_LDAP_BYTES = 1023;

function ldapOptions(text: string | null, at: SourcePosition): LdapOptions {
  const key = 'auth_ldap_options';
  if (text === null || text === '') throw new ConfigError(at, key, 'options, for auth_type ldap');
  if (Buffer.byteLength(text) > MAX_LDAP_BYTES)
    throw new ConfigError(at, key, `at most ${MAX_LDAP_BYTES} bytes`);
  const given = new Map<string, string>();
  for (const { text: option } of splitAuthLine(text, at, key).flat()) {
    const equals = option.indexOf('=');
    const name = option.slice(0, Math.max(0, equals));
    if (!isLdapOption(name)) throw new ConfigError(at, key, 'options of LDAP as name=value');
    if (given.has(name)) throw new ConfigError(at, name, 'each option once');
    given.set(name, option.slice(equals + 1));
  }
  return parseLdapOptions(given, at);
}

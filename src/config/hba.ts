import { type AuthField, type AuthLine, type AuthToken, namesPassword } from './auth-lines.ts';
import { ConfigError, type SourcePosition } from './config-error.ts';
import type { IdentMaps, IdentRule } from './ident.ts';
import { type IpBytes, maskOf, parseIp, sameNetwork } from './ip-address.ts';
import { isLdapOption, type LdapOptions, parseLdapOptions } from './ldap-options.ts';
import { shownWord } from './connect-string.ts';
import { compileNameRegex } from './name-regex.ts';
import { listOf } from './setting-values.ts';

const types = ['local', 'host', 'hostssl', 'hostnossl'] as const;
const methods = ['trust', 'reject', 'md5', 'password', 'peer', 'cert', 'scram-sha-256', 'ldap'] as const;

/** Databases or users that a rule is for. `role`: the members of one; `sameRole`: of the one named like the database. */
export type HbaName =
  | { readonly kind: 'all' | 'sameUser' | 'sameRole' | 'replication' }
  | { readonly kind: 'name' | 'role'; readonly name: string }
  | { readonly kind: 'regex'; readonly regex: RegExp };

/** Addresses that a rule is for. `host`: a name, or with a leading dot all names that end so. */
export type HbaAddress =
  | { readonly kind: 'all' | 'sameHost' | 'sameNet' }
  | { readonly kind: 'network'; readonly base: IpBytes; readonly mask: IpBytes }
  | { readonly kind: 'host'; readonly name: string };

/** One rule; plain data. `address` is null for `local`, `map` where no `map=` is given. */
export interface HbaRule {
  readonly type: (typeof types)[number];
  readonly databases: readonly HbaName[];
  readonly users: readonly HbaName[];
  readonly address: HbaAddress | null;
  readonly method: Exclude<(typeof methods)[number], 'password'> | 'plain';
  readonly map: readonly IdentRule[] | null;
  readonly ldap: LdapOptions | null;
  readonly at: SourcePosition;
}

/** What the rules are read with. */
export interface HbaSurroundings {
  readonly maps: IdentMaps;
  /** Whether roles' members can be asked for. */
  readonly hasAuthUser: boolean;
  readonly warn: (warning: string) => void;
}

/**
 * Reads `auth_hba_file`. Throws {@link ConfigError} for the first line that makes no sense, so that none is left out:
 * without a `reject` the rules behind it would let in whom it is there for. Source: PgBouncer `auth_hba_file`, manual
 * `auth-pg-hba-conf`.
 */
export function parseHbaLines(lines: readonly AuthLine[], around: HbaSurroundings): HbaRule[] {
  return lines.map((line) => new RuleReader(line, around).read());
}

class RuleReader {
  readonly #fields: readonly AuthField[];
  readonly #at: SourcePosition;
  readonly #around: HbaSurroundings;
  #next = 0;

  constructor({ fields, at }: AuthLine, around: HbaSurroundings) {
    this.#fields = fields;
    this.#at = at;
    this.#around = around;
  }

  read(): HbaRule {
    const expected = `a line that begins with ${listOf(types)}`;
    const first = this.#word(expected).text;
    const type = types.find((known) => known === first);
    if (type === undefined) return this.#refuse('', expected);
    const databases = this.#names('database', (token) => this.#database(token));
    const users = this.#names('user', (token) => this.#user(token));
    const address = type === 'local' ? null : this.#address();
    const name = this.#word('a method').text;
    const method = methods.find((known) => known === name);
    if (method === undefined) return this.#refuse('method', listOf(methods));
    const { map, ldap } = this.#options(method);
    return {
      type,
      databases,
      users,
      address,
      method: method === 'password' ? 'plain' : method,
      map,
      ldap,
      at: this.#at,
    };
  }

  #names(what: string, read: (token: AuthToken) => HbaName): HbaName[] {
    const field = this.#fields[this.#next++];
    if (field === undefined) return this.#refuse(what, `a ${what}`);
    return field.map(read);
  }

  #database(token: AuthToken): HbaName {
    if (!token.isQuoted) {
      if (token.text === 'sameuser') return { kind: 'sameUser' };
      if (token.text === 'replication') return { kind: 'replication' };
      if (token.text === 'samerole' || token.text === 'samegroup') {
        this.#needAuthUser(token.text);
        return { kind: 'sameRole' };
      }
    }
    return this.#name('database', token);
  }

  #user(token: AuthToken): HbaName {
    if (!token.isQuoted && token.text.startsWith('+')) {
      if (token.text.length === 1) return this.#refuse('user', 'a role behind +');
      this.#needAuthUser(token.text);
      return { kind: 'role', name: token.text.slice(1) };
    }
    return this.#name('user', token);
  }

  #name(what: string, { text, isQuoted }: AuthToken): HbaName {
    if (text === 'all' && !isQuoted) return { kind: 'all' };
    // As in PostgreSQL, also in quotes: a comma in an expression needs them.
    if (text.startsWith('/')) {
      const compiled = compileNameRegex(text.slice(1));
      if ('expected' in compiled) return this.#refuse(what, compiled.expected);
      return { kind: 'regex', regex: compiled.regex };
    }
    return { kind: 'name', name: text };
  }

  #needAuthUser(word: string): void {
    if (this.#around.hasAuthUser) return;
    this.#refuse(word, 'auth_user, which is asked for the members of roles');
  }

  #address(): HbaAddress {
    const { text, isQuoted } = this.#word('an address');
    if (!isQuoted) {
      if (text === 'all') return { kind: 'all' };
      if (text === 'samehost') return { kind: 'sameHost' };
      if (text === 'samenet') return { kind: 'sameNet' };
    }
    const slash = text.indexOf('/');
    const base = parseIp(slash < 0 ? text : text.slice(0, slash));
    if (base === null) return this.#host(text);
    let mask: IpBytes;
    if (slash >= 0) {
      const bits = text.slice(slash + 1);
      // Written as IPv6, an IPv4 address has 96 bits in front.
      const ahead = base.length === 4 && text.includes(':') ? 96 : 0;
      const isRight =
        /^\d{1,3}$/.test(bits) && Number(bits) - ahead <= base.length * 8 && Number(bits) >= ahead;
      if (!isRight) return this.#refuse('address', 'a right number of bits behind the slash');
      mask = maskOf(Number(bits) - ahead, base.length);
    } else {
      const read = parseIp(this.#word('a mask behind the address').text);
      if (read === null || read.length !== base.length) {
        return this.#refuse(
          'address',
          'a mask of the same kind behind the address, or its bits behind a slash',
        );
      }
      mask = read;
    }
    const masked = base.map((byte, i) => byte & (mask[i] ?? 0));
    if (!sameNetwork(base, masked, maskOf(128, base.length))) {
      this.#around.warn(`${this.#at.file}:${this.#at.line}: the address has bits that its mask leaves out`);
    }
    return { kind: 'network', base: masked, mask };
  }

  #host(text: string): HbaAddress {
    const name = text.toLowerCase().replace(/\.$/, '');
    const isName = /^\.?[a-z0-9_]([a-z0-9_-]*)(\.[a-z0-9_]([a-z0-9_-]*))*$/.test(name) && name.length <= 255;
    // What looks like an address that is none would match no host for ever.
    if (!isName || /(^|\.)\d+$/.test(name)) {
      return this.#refuse('address', 'all, samehost, samenet, an address with its mask, or a host name');
    }
    return { kind: 'host', name };
  }

  #options(method: (typeof methods)[number]): Pick<HbaRule, 'map' | 'ldap'> {
    const given = new Map<string, string>();
    for (const { text } of this.#fields.slice(this.#next).flat()) {
      const equals = text.indexOf('=');
      if (equals < 1) return this.#refuse('', 'options as name=value behind the method');
      const name = text.slice(0, equals);
      if (given.has(name)) return this.#refuse(shownOption(name, given), 'each option once');
      given.set(name, text.slice(equals + 1));
    }
    let map: readonly IdentRule[] | null = null;
    for (const [name, value] of given) {
      if (name === 'map' && (method === 'cert' || method === 'peer')) {
        map = this.#around.maps.get(value) ?? null;
        if (map === null) return this.#refuse('map', 'the name of a map of auth_ident_file');
      } else if (method !== 'ldap' || !isLdapOption(name)) {
        return this.#refuse(shownOption(name, given), `an option of ${method}`);
      }
    }
    return { map, ldap: method === 'ldap' ? parseLdapOptions(given, this.#at) : null };
  }

  /** The one word of the next field. */
  #word(expected: string): AuthToken {
    const field = this.#fields[this.#next++];
    const [token] = field ?? [];
    if (token === undefined || field?.length !== 1) return this.#refuse('', expected);
    return token;
  }

  #refuse(key: string, expected: string): never {
    throw new ConfigError(this.#at, key, expected);
  }
}

/** An option's name for an error text: behind a password without quotes, what is not known may be the rest of it. */
function shownOption(name: string, given: ReadonlyMap<string, string>): string {
  if (isLdapOption(name) || name === 'map') return name;
  return [...given.keys()].some(namesPassword) ? '' : shownWord(name);
}

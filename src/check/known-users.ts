import { classifySecret } from '../auth/secret.ts';
import type { Config } from '../config/config.ts';

/** Who can log in, as far as the files tell. */
export class KnownUsers {
  readonly #config: Config;
  /** There may be users whom no file names: the server or a directory is asked, or nobody. */
  readonly #areOpen: boolean;
  /** With an MD5 secret, which `scram-sha-256` cannot go by. */
  readonly withMd5: readonly string[];
  /** There may be secrets that a client of `md5` proves by MD5: of others than SCRAM secrets. */
  readonly hasMd5Exchanges: boolean;

  constructor(config: Config) {
    const { settings, databases, autoDatabase, userlist } = config;
    this.#config = config;
    this.#areOpen =
      settings.auth_type === 'any' ||
      asksDirectory(config) ||
      (settings.auth_user ?? '') !== '' ||
      [...databases.values()].some(({ authUser }) => authUser !== null) ||
      (autoDatabase?.includes('auth_user') ?? false);
    const kinds = [...userlist].map(([user, text]) => [user, text === '' ? null : classifySecret(text).kind]);
    this.withMd5 = kinds.flatMap(([user, kind]) => (kind === 'md5' ? [user as string] : []));
    this.hasMd5Exchanges = this.#areOpen || kinds.some(([, kind]) => kind !== null && kind !== 'scram');
  }

  has(user: string): boolean {
    return this.#areOpen || namedUsers(this.#config).includes(user);
  }
}

/** Passwords prove who somebody is, and those in `auth_file` alone. */
const BY_PASSWORD: readonly string[] = ['plain', 'md5', 'scram-sha-256'];

/** Whom the files name who can log in. A name in [users] alone has nothing that proves it. */
export function namedUsers({ settings, userlist, users }: Config): string[] {
  const others = BY_PASSWORD.includes(settings.auth_type) ? [] : users.keys();
  return [...new Set([...userlist.keys(), ...others])];
}

/** Whether anybody may be let in whom an LDAP server knows. */
export function asksDirectory({ settings, login }: Config): boolean {
  return settings.auth_type === 'ldap' || (login.hba?.some(({ method }) => method === 'ldap') ?? false);
}

/** Names for a message: not more than fit into a line. */
export function someOf(names: readonly string[]): string {
  const most = 5;
  const shown = names.slice(0, most).join(', ');
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}

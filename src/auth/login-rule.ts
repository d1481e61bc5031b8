import type { IdentRule } from '../config/ident.ts';
import type { LdapOptions } from '../config/ldap-options.ts';
import type { ClientAuthMethod } from './client-auth.ts';

/** By what a login is decided; plain data. */
export interface LoginRule {
  readonly method: ClientAuthMethod | 'cert' | 'peer' | 'ldap' | 'reject';
  /** For cert and peer: which proven names may log in as whom; null: the same. */
  readonly map: readonly IdentRule[] | null;
  /** For ldap. */
  readonly ldap: LdapOptions | null;
  /** The same for the same rule: a name that turns into another must not fall under another rule. */
  readonly key: string;
}

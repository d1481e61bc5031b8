import type { LdapOptions } from '../config/ldap-options.ts';

/** What would be more than a name in a search. Source: contract, §2.8. */
const FORBIDDEN = /[*()\\/]/;

/** Whether a name may be searched for. */
export function isSearchable(user: string): boolean {
  return !FORBIDDEN.test(user);
}

/** The filter that finds the entry of a name that {@link isSearchable}. */
export function searchFilterOf({ searchFilter, searchAttribute }: LdapOptions, user: string): string {
  const name = escapeFilter(user);
  return searchFilter === null
    ? `(${searchAttribute}=${name})`
    : searchFilter.replaceAll('$username', () => name);
}

/**
 * The name that is bound as without a search. Where the prefix begins a DN, the name is one value in it and nothing
 * more: else somebody called `x,ou=admins` would be another.
 */
export function bindNameOf({ prefix, suffix }: LdapOptions, user: string): string {
  return `${prefix}${prefix.includes('=') ? escapeDn(user) : user}${suffix}`;
}

/** The domain that a base DN's `dc` parts make; null: there are none. */
export function domainOf(baseDn: string): string | null {
  const parts = [...baseDn.matchAll(/(?:^|[,+;])\s*dc\s*=\s*([A-Za-z0-9_-]+)\s*(?=$|[,+;])/gi)];
  return parts.length === 0 ? null : parts.map(([, label]) => label).join('.');
}

/** RFC 4515, section 3. */
function escapeFilter(text: string): string {
  return text.replace(/[*()\\\0]/g, (char) => `\\${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/** RFC 4514, section 2.4. */
function escapeDn(text: string): string {
  return text.replace(/^[ #]|[\\,+"<>;=\0]| $/g, (char) => (char === '\0' ? '\\00' : `\\${char}`));
}

import type { SourcePosition } from '../config/config-error.ts';
import type { LdapOptions } from '../config/ldap-options.ts';
import type { Findings } from './finding.ts';
import { isPublic } from './networks.ts';

/** Whether passwords go to the LDAP server in the clear. */
export function checkLdap(
  findings: Findings,
  { scheme, startTls, servers }: LdapOptions,
  subject: string,
  at?: SourcePosition,
): void {
  if (scheme === 'ldaps' || startTls) return;
  // Without one they are found by DNS.
  if (servers.length > 0 && !servers.some(isPublic)) return;
  const text = 'passwords go to the LDAP server in clear text: use ldaptls=1 or ldapscheme=ldaps';
  findings.add('warning', 'cleartext', subject, text, at);
}

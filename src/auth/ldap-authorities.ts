import { readFileSync, statSync } from 'node:fs';
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls';

let known: { readonly version: string; readonly context: SecureContext } | null = null;

/**
 * What the certificates of LDAP servers are verified by: the system's authorities, and those of `LDAPTLS_CACERT`, as
 * OpenLDAP's programs do. To read some hundred certificates takes long, in which nothing else is done: once, until the
 * file is another one. Errors: those of `node:fs`, and OpenSSL's.
 */
export function ldapAuthorities(): SecureContext {
  const own = process.env['LDAPTLS_CACERT'] ?? '';
  let version = '';
  if (own !== '') {
    const { dev, ino, size, ctimeMs } = statSync(own);
    // The time of the last change can be set by nobody; that of the contents can.
    version = [own, dev, ino, size, ctimeMs].join();
  }
  if (known?.version === version) return known.context;
  const ca = own === '' ? [] : [readFileSync(own, 'utf8')];
  const context = createSecureContext({ ca: [...getCACertificates('system'), ...ca] });
  known = { version, context };
  return context;
}

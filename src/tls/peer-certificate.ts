import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';

/** Who a client is by its certificate, which has been verified against `client_tls_ca_file`. */
export interface PeerCertificate {
  /** The subject's common name; null without one, or with several. */
  readonly commonName: string | null;
  /** The subject's alternative names that are DNS names or IP addresses, in order. */
  readonly altNames: readonly string[];
}

/** The names in a certificate. They are text of whoever had it signed: no control characters are ruled out. */
export function peerCertificate(certificate: X509Certificate): PeerCertificate {
  const commonName: unknown = certificate.toLegacyObject().subject?.CN;
  return {
    commonName: typeof commonName === 'string' ? commonName : null,
    altNames: splitAltNames(certificate.subjectAltName ?? ''),
  };
}

/**
 * Takes apart what Node prints: `DNS:a, IP Address:1.2.3.4`, where a value that holds a comma, a quote or a control
 * character is a JSON string, so that nothing in it passes for another name.
 */
function splitAltNames(text: string): string[] {
  const names: string[] = [];
  const shape = /(DNS|IP Address|[^:,"]*):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/gy;
  for (let match = shape.exec(text); match !== null && match[0] !== ''; match = shape.exec(text)) {
    const [, kind, value = ''] = match;
    if (kind !== 'DNS' && kind !== 'IP Address') continue;
    names.push(value.startsWith('"') ? (JSON.parse(value) as string) : value);
  }
  return names;
}

/**
 * Whether a server's certificate is for `host`, a name or an IP address: by its alternative names, and by its common
 * name if it has no alternative name of the kind. A wildcard is the whole left-most label of three or more.
 * Source: RFC 6125; manual, `libpq-ssl`, Client Verification of Server Certificates.
 */
export function isForHost(certificate: X509Certificate, host: string): boolean {
  try {
    return isNamed(certificate, host);
  } catch {
    // OpenSSL cannot read a name in it.
    return false;
  }
}

function isNamed(certificate: X509Certificate, host: string): boolean {
  // OpenSSL takes a dot in front for any name below.
  if (host.startsWith('.')) return false;
  const strict = { wildcards: true, partialWildcards: false, multiLabelWildcards: false };
  if (isIP(host) === 0) return certificate.checkHost(host, strict) !== undefined;
  if (certificate.checkIP(host) !== undefined) return true;
  // As a plain text, and only where no other address is named.
  if (/(^|, )IP Address:/.test(certificate.subjectAltName ?? '')) return false;
  return certificate.checkHost(host, { ...strict, wildcards: false }) !== undefined;
}

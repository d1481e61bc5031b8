import type { TlsContextParts } from '../../src/net/native-tls-context.ts';
import { TICKET_KEY_BYTES } from '../../src/tls/contexts.ts';
import type { Certificate } from './certificates.ts';

/** What a context of our own sessions is made of, by default as `client_tls_protocols = secure` has it. */
export function contextParts(
  certificate: Pick<Certificate, 'certPem' | 'keyPem'>,
  parts: Partial<TlsContextParts> = {},
): TlsContextParts {
  return {
    certificates: certificate.certPem,
    key: certificate.keyPem,
    minVersion: 'TLSv1.2',
    maxVersion: 'TLSv1.3',
    ciphers: 'DEFAULT',
    groups: null,
    hasDh: true,
    options: 0,
    ticketKeys: Buffer.alloc(TICKET_KEY_BYTES, 7),
    protocol: 'postgresql',
    ...parts,
  };
}

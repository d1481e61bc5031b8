/**
 * The hash of a certificate that channel binding `tls-server-end-point` binds to. Source: RFC 5929, section 4.1;
 * RFC 5280, section 4.1; RFC 4055 for RSASSA-PSS.
 */
import { createHash } from 'node:crypto';
import { type Element, elementAt } from '../base/der.ts';

const SEQUENCE = 0x30;
const OBJECT_IDENTIFIER = 0x06;
/** `[0] EXPLICIT` */
const CONTEXT_0 = 0xa0;

/** Node's names of the hashes, by object identifier. */
const HASHES: Readonly<Record<string, string>> = {
  '1.2.840.113549.2.5': 'md5',
  '1.3.14.3.2.26': 'sha1',
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
  '2.16.840.1.101.3.4.2.4': 'sha224',
  '2.16.840.1.101.3.4.2.5': 'sha512-224',
  '2.16.840.1.101.3.4.2.6': 'sha512-256',
  '2.16.840.1.101.3.4.2.7': 'sha3-224',
  '2.16.840.1.101.3.4.2.8': 'sha3-256',
  '2.16.840.1.101.3.4.2.9': 'sha3-384',
  '2.16.840.1.101.3.4.2.10': 'sha3-512',
};

/** The hashes that signature algorithms go with. */
const SIGNATURES: Readonly<Record<string, string>> = {
  '1.2.840.113549.1.1.4': 'md5',
  '1.2.840.113549.1.1.5': 'sha1',
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.2.840.113549.1.1.14': 'sha224',
  '1.2.840.113549.1.1.15': 'sha512-224',
  '1.2.840.113549.1.1.16': 'sha512-256',
  '1.2.840.10040.4.3': 'sha1',
  '1.2.840.10045.4.1': 'sha1',
  '1.2.840.10045.4.3.1': 'sha224',
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
  '2.16.840.1.101.3.4.3.1': 'sha224',
  '2.16.840.1.101.3.4.3.2': 'sha256',
  '2.16.840.1.101.3.4.3.3': 'sha384',
  '2.16.840.1.101.3.4.3.4': 'sha512',
  '2.16.840.1.101.3.4.3.9': 'sha3-224',
  '2.16.840.1.101.3.4.3.10': 'sha3-256',
  '2.16.840.1.101.3.4.3.11': 'sha3-384',
  '2.16.840.1.101.3.4.3.12': 'sha3-512',
  '2.16.840.1.101.3.4.3.13': 'sha3-224',
  '2.16.840.1.101.3.4.3.14': 'sha3-256',
  '2.16.840.1.101.3.4.3.15': 'sha3-384',
  '2.16.840.1.101.3.4.3.16': 'sha3-512',
};

const RSASSA_PSS = '1.2.840.113549.1.1.10';

/**
 * The hash that a certificate (DER) stands for in channel binding; null where its signature has none, as Ed25519's,
 * or cannot be read. Never throws.
 */
export function endPointHash(der: Buffer): Buffer | null {
  const name = signatureHash(der);
  if (name === null) return null;
  return createHash(name === 'md5' || name === 'sha1' ? 'sha256' : name)
    .update(der)
    .digest();
}

/**
 * Node's name of the hash in the signature of a certificate (DER); null as for {@link endPointHash}. Shape: SEQUENCE { what
 * is signed, AlgorithmIdentifier, signature }.
 */
export function signatureHash(der: Buffer): string | null {
  const certificate = elementAt(der, 0, der.length);
  if (certificate?.tag !== SEQUENCE) return null;
  const signed = elementAt(der, certificate.start, certificate.end);
  if (signed === null) return null;
  const algorithm = elementAt(der, signed.end, certificate.end);
  if (algorithm === null) return null;
  const { oid, parameters } = algorithmOf(der, algorithm) ?? { oid: '', parameters: null };
  if (oid !== RSASSA_PSS) return own(SIGNATURES, oid);
  if (parameters?.tag !== SEQUENCE) return null;
  const first = elementAt(der, parameters.start, parameters.end);
  // SHA-1 is what is left out.
  if (first?.tag !== CONTEXT_0) return 'sha1';
  const hash = elementAt(der, first.start, first.end);
  return hash === null ? null : own(HASHES, algorithmOf(der, hash)?.oid ?? '');
}

/** AlgorithmIdentifier: SEQUENCE { OBJECT IDENTIFIER, parameters OPTIONAL }. */
function algorithmOf(
  der: Buffer,
  { tag, start, end }: Element,
): { oid: string; parameters: Element | null } | null {
  if (tag !== SEQUENCE) return null;
  const oid = elementAt(der, start, end);
  if (oid?.tag !== OBJECT_IDENTIFIER) return null;
  return { oid: dotted(der.subarray(oid.start, oid.end)), parameters: elementAt(der, oid.end, end) };
}

/** An object identifier as it is written: `1.2.840…`. */
function dotted(content: Buffer): string {
  const arcs: number[] = [];
  let arc = 0;
  for (const byte of content) {
    arc = arc * 128 + (byte & 0x7f);
    if (byte >= 0x80) continue;
    if (arcs.length === 0)
      arcs.push(Math.min(2, Math.floor(arc / 40)), arc - 40 * Math.min(2, Math.floor(arc / 40)));
    else arcs.push(arc);
    arc = 0;
  }
  return arcs.join('.');
}

function own(table: Readonly<Record<string, string>>, oid: string): string | null {
  return Object.hasOwn(table, oid) ? (table[oid] ?? null) : null;
}

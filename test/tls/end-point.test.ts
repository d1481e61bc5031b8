import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { endPointHash } from '../../src/tls/end-point.ts';
import { certificateHash, makeCertificate, type SignatureKind } from '../support/certificates.ts';

describe('the hash that a certificate stands for in channel binding', () => {
  it.each<[SignatureKind, string]>([
    ['rsa-md5', 'sha256'],
    ['rsa-sha1', 'sha256'],
    ['ecdsa-sha1', 'sha256'],
    ['rsa-sha256', 'sha256'],
    ['ecdsa-sha256', 'sha256'],
    ['rsa-sha384', 'sha384'],
    ['ecdsa-sha384', 'sha384'],
    ['rsa-sha512', 'sha512'],
    ['ecdsa-sha512', 'sha512'],
    ['rsa-pss-sha256', 'sha256'],
    ['rsa-pss-sha384', 'sha384'],
  ])('signed with %s is %s', (signature, hash) => {
    const certificate = makeCertificate({ commonName: 'x', signature });
    expect(endPointHash(certificate.der)?.toString('hex')).toBe(
      certificateHash(certificate, hash).toString('hex'),
    );
  });

  it('is none with Ed25519, whose signature has no hash', () => {
    expect(endPointHash(makeCertificate({ signature: 'ed25519' }).der)).toBe(null);
  });

  it('is SHA-256 for an RSASSA-PSS that names no hash, which is SHA-1', () => {
    const pss = Buffer.from('06092a864886f70d01010a3000', 'hex');
    const der = sequence(sequence(), sequence(pss), Buffer.of(3, 1, 0));
    expect(endPointHash(der)?.equals(createHash('sha256').update(der).digest())).toBe(true);
  });
});

it('bytes that are no certificate, or cut or broken ones, have no hash and do not throw', () => {
  const { der } = makeCertificate({ commonName: 'x', altNames: ['a.b'] });
  for (let length = 0; length < der.length; length++) {
    expect(endPointHash(der.subarray(0, length))).toBe(null);
  }
  for (let round = 0; round < 2000; round++) {
    const bytes = round % 2 === 0 ? randomBytes(round % 64) : Buffer.from(der);
    if (round % 2 === 1) bytes[round % bytes.length] = (round * 31) & 0xff;
    const hash = endPointHash(bytes);
    expect(hash === null || hash.length >= 28).toBe(true);
  }
});

function sequence(...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.of(0x30, content.length), content]);
}

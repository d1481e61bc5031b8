import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { isIP } from 'node:net';
import { describe, expect, it } from 'vitest';
import { isForHost, peerCertificate } from '../../src/tls/peer-certificate.ts';
import { type CertificateOptions, makeCertificate } from '../support/certificates.ts';

function certificate(options: CertificateOptions): X509Certificate {
  return new X509Certificate(makeCertificate(options).certPem);
}

describe('a server’s certificate', () => {
  it.each<[CertificateOptions, string, boolean]>([
    [{ altNames: ['db.example.com'] }, 'db.example.com', true],
    [{ altNames: ['db.example.com'] }, 'DB.Example.COM', true],
    [{ altNames: ['a.b', 'db.example.com'] }, 'db.example.com', true],
    [{ altNames: ['db.example.com'] }, 'db.example.org', false],
    [{ altNames: ['*.example.com'] }, 'db.example.com', true],
    [{ altNames: ['*.example.com'] }, 'a.db.example.com', false],
    [{ altNames: ['*.example.com'] }, 'example.com', false],
    [{ altNames: ['*.com'] }, 'example.com', false],
    [{ altNames: ['*'] }, 'localhost', false],
    [{ altNames: ['d*.example.com'] }, 'db.example.com', false],
    [{ altNames: ['db.*.com'] }, 'db.example.com', false],
    [{ altNames: ['*.example.com'] }, '.example.com', false],
    [{ altNames: ['db.example.com'] }, '.example.com', false],
    [{ altNames: ['db.example.com\0.evil.org'] }, 'db.example.com', false],
    // The common name counts where no alternative name is a DNS name.
    [{ commonName: 'db.example.com' }, 'db.example.com', true],
    [{ commonName: '*.example.com' }, 'db.example.com', true],
    [{ commonName: 'db.example.com', altNames: ['other.example.com'] }, 'db.example.com', false],
    [{ commonName: 'db.example.com', altNames: ['email:a@example.com'] }, 'db.example.com', true],
    [{ commonName: 'db.example.com\0.evil.org' }, 'db.example.com', false],
    // Addresses.
    [{ altNames: ['127.0.0.1'] }, '127.0.0.1', true],
    [{ altNames: ['127.0.0.2'] }, '127.0.0.1', false],
    [{ altNames: ['::1'] }, '::1', true],
    [{ altNames: ['::1'] }, '0:0:0:0:0:0:0:1', true],
    [{ commonName: '127.0.0.1' }, '127.0.0.1', true],
    [{ commonName: '127.0.0.1', altNames: ['127.0.0.2'] }, '127.0.0.1', false],
    [{ commonName: '*.0.0.1' }, '127.0.0.1', false],
    [{}, 'localhost', false],
    [{ commonName: 'localhost' }, '', false],
  ])('of %j for host %s: %s', (options, host, isItsOwn) => {
    expect(isForHost(certificate(options), host)).toBe(isItsOwn);
  });
});

describe('a client’s certificate names', () => {
  it('its common name and its alternative names of hosts and addresses', () => {
    const altNames = ['alice', '127.0.0.1', 'email:alice@example.com', 'URI:http://x', 'b.example.com'];
    expect(peerCertificate(certificate({ commonName: 'alice', altNames }))).toEqual({
      commonName: 'alice',
      altNames: ['alice', '127.0.0.1', 'b.example.com'],
    });
  });

  it('no common name where there is none, or more than one to choose from', () => {
    expect(peerCertificate(certificate({})).commonName).toBe(null);
    expect(peerCertificate(certificate({ commonName: ['alice', 'root'] })).commonName).toBe(null);
  });

  it('one name where a name is written so as to look like several', () => {
    const tricks = ['x, DNS:root', 'x", "DNS:root', 'x\nDNS:root', 'x\\", DNS:root', 'x\0root', 'DNS:root'];
    const altNames = [...tricks, 'email:a, DNS:root', 'URI:b, DNS:root', 'email:"c", DNS:root'];
    expect(peerCertificate(certificate({ commonName: 'a\nCN=root', altNames }))).toEqual({
      commonName: 'a\nCN=root',
      altNames: tricks,
    });
  });
});

it('whatever ASCII an authority has signed as names comes back as those names, and no others', () => {
  const name = fc.string({
    unit: fc.integer({ min: 0, max: 127 }).map((code) => String.fromCharCode(code)),
    maxLength: 20,
  });
  const kind = fc.constantFrom('', 'email:', 'URI:');
  const shape = fc.array(fc.tuple(kind, name), { minLength: 1, maxLength: 4 });
  const issuer = makeCertificate({ commonName: 'authority', isCa: true });
  fc.assert(
    fc.property(shape, (names) => {
      // What begins like another kind's name would be made into one.
      fc.pre(names.every(([, text]) => text !== '' && !/^(email|URI):/.test(text) && isIP(text) === 0));
      const altNames = names.map(([prefix, text]) => `${prefix}${text}`);
      const expected = names.filter(([prefix]) => prefix === '').map(([, text]) => text);
      expect(peerCertificate(certificate({ issuer, altNames })).altNames).toEqual(expected);
    }),
    { numRuns: 300 },
  );
});

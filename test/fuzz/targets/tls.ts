import { X509Certificate } from 'node:crypto';
import { cipherList, versionRange } from '../../../src/tls/choices.ts';
import { endPointHash } from '../../../src/tls/end-point.ts';
import { isForHost, peerCertificate } from '../../../src/tls/peer-certificate.ts';
import { TlsSettingError } from '../../../src/tls/setting-error.ts';
import { allowing, must, type Target } from '../target.ts';

/** A certificate as DER: what its signature's hash is, and whose it says that it is. */
const certificates: Target = {
  name: 'certificates',
  seeds: [
    // Whole certificates are kept in corpus/.
    Buffer.from('3012300030' + '0d06092a864886f70d01010a3000030100', 'hex'),
  ],
  words: ['\x30\x82', '\x06\x09', '\xa0\x0d', '\x82', '\0', 'DNS:', ', ', '"'],
  maxBytes: 1500,
  run: (bytes) => {
    const hash = endPointHash(bytes);
    must(hash === null || (hash.length >= 28 && hash.length <= 64), 'a hash, or none');
    const certificate = readable(bytes);
    if (certificate === null) return;
    const { commonName, altNames } = peerCertificate(certificate);
    must(commonName === null || typeof commonName === 'string', 'one name or none');
    must(
      altNames.every((name) => typeof name === 'string'),
      'names',
    );
    for (const host of ['a.example.com', '127.0.0.1', '']) isForHost(certificate, host);
    must(!isForHost(certificate, ''), 'no certificate is for no host');
  },
};

/** What OpenSSL takes for a certificate; null for the rest. */
function readable(bytes: Buffer): X509Certificate | null {
  try {
    return new X509Certificate(bytes);
  } catch {
    return null;
  }
}

const choices: Target = {
  name: 'tls-choices',
  seeds: ['secure', 'tlsv1.0,!tlsv1.1:all', 'TLS_AES_256_GCM_SHA384:HIGH', '!all'],
  words: ['tlsv1.2', 'tlsv1.3', '!', ',', ':', 'TLS_', 'default', ' '],
  maxBytes: 200,
  run: (bytes) => {
    const text = bytes.toString('latin1');
    const range = allowing([TlsSettingError], () => versionRange('client_tls_protocols', text));
    must(range === null || range.minVersion <= range.maxVersion, 'a range is one');
    const list = allowing([TlsSettingError], () => cipherList('client', text, null));
    must(list === null || !/(^|:)TLS_/.test(list), 'suites of TLS 1.3 are chosen by their own setting');
  },
};

export const tlsTargets: readonly Target[] = [certificates, choices];

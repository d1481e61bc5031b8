import {
  createHash,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  type SigningOptions,
  constants,
} from 'node:crypto';
import { isIP } from 'node:net';

/** How a certificate is signed. The issuer's key has to go with it. */
export type SignatureKind =
  | 'ecdsa-sha1'
  | 'ecdsa-sha256'
  | 'ecdsa-sha384'
  | 'ecdsa-sha512'
  | 'rsa-md5'
  | 'rsa-sha1'
  | 'rsa-sha256'
  | 'rsa-sha384'
  | 'rsa-sha512'
  | 'rsa-pss-sha256'
  | 'rsa-pss-sha384'
  | 'ed25519';

/** What a certificate says. */
export interface CertificateOptions {
  /** Common names of the subject, in order; none for an empty subject. */
  readonly commonName?: string | readonly string[];
  /** Subject alternative names: addresses become iPAddress, the rest dNSName; `email:` and `URI:` in front are known. */
  readonly altNames?: readonly string[];
  /** Default: itself. */
  readonly issuer?: Certificate;
  readonly signature?: SignatureKind;
  /** An RSA key of so many bits, whatever the signature; not for one that signs itself by another kind. */
  readonly rsaBits?: number;
  /** It may sign others. */
  readonly isCa?: boolean;
  /** Days from now; default a year from now, since yesterday. */
  readonly validFromDays?: number;
  readonly validToDays?: number;
}

/** A certificate and its key, made for a test. */
export interface Certificate {
  readonly der: Buffer;
  readonly certPem: string;
  readonly keyPem: string;
  readonly key: KeyObject;
  readonly publicKey: KeyObject;
  /** The subject as DER. */
  readonly name: Buffer;
}

/**
 * Makes a certificate and a new key; self-signed unless an issuer is given. Written by hand, because no program
 * that makes certificates can be counted on everywhere. Source: RFC 5280, section 4.1.
 */
export function makeCertificate(options: CertificateOptions = {}): Certificate {
  const kind = options.signature ?? defaultSignature(options.issuer);
  // The key of one that signs itself has to fit its signature; others may have any.
  const keyKind = options.issuer === undefined ? kind.split('-')[0] : 'ecdsa';
  const { privateKey, publicKey } = generateKey(
    options.rsaBits === undefined ? (keyKind as string) : 'rsa',
    options.rsaBits,
  );
  const name = distinguishedName(options.commonName ?? []);
  const algorithm = algorithmIdentifier(kind);
  const extensions: Buffer[] = [];
  if (options.isCa === true) extensions.push(extension('2.5.29.19', sequence(tlv(0x01, Buffer.of(0xff)))));
  if (options.altNames !== undefined) {
    extensions.push(extension('2.5.29.17', sequence(...options.altNames.map(generalName))));
  }
  const tbs = sequence(
    tlv(0xa0, integer(Buffer.of(2))),
    integer(Buffer.concat([Buffer.of(0x01), randomBytes(8)])),
    algorithm,
    options.issuer?.name ?? name,
    sequence(time(options.validFromDays ?? -1), time(options.validToDays ?? 365)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    ...(extensions.length === 0 ? [] : [tlv(0xa3, sequence(...extensions))]),
  );
  const der = sequence(
    tbs,
    algorithm,
    tlv(0x03, Buffer.concat([Buffer.of(0), signWith(kind, tbs, options.issuer?.key ?? privateKey)])),
  );
  return {
    der,
    certPem: `-----BEGIN CERTIFICATE-----\n${der.toString('base64').replace(/.{1,64}/g, '$&\n')}-----END CERTIFICATE-----\n`,
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    key: privateKey,
    publicKey,
    name,
  };
}

/** Its hash, as tls-server-end-point has it where the hash is `algorithm`. */
export function certificateHash({ der }: Certificate, algorithm: string): Buffer {
  return createHash(algorithm).update(der).digest();
}

function defaultSignature(issuer: Certificate | undefined): SignatureKind {
  if (issuer === undefined) return 'ecdsa-sha256';
  const type = issuer.key.asymmetricKeyType;
  return type === 'rsa' ? 'rsa-sha256' : type === 'ed25519' ? 'ed25519' : 'ecdsa-sha256';
}

function generateKey(kind: string, rsaBits = 2048): { privateKey: KeyObject; publicKey: KeyObject } {
  if (kind === 'rsa') return generateKeyPairSync('rsa', { modulusLength: rsaBits });
  if (kind === 'ed25519') return generateKeyPairSync('ed25519');
  return generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
}

function signWith(kind: SignatureKind, bytes: Buffer, key: KeyObject): Buffer {
  if (kind === 'ed25519') return sign(null, bytes, key);
  const digest = kind.slice(kind.lastIndexOf('-') + 1);
  const options: SigningOptions = kind.startsWith('rsa-pss')
    ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: PSS_SALT_BYTES }
    : {};
  return sign(digest, bytes, { key, ...options });
}

const PSS_SALT_BYTES = 32;

const SIGNATURE_OIDS: Readonly<Record<SignatureKind, string>> = {
  'ecdsa-sha1': '1.2.840.10045.4.1',
  'ecdsa-sha256': '1.2.840.10045.4.3.2',
  'ecdsa-sha384': '1.2.840.10045.4.3.3',
  'ecdsa-sha512': '1.2.840.10045.4.3.4',
  'rsa-md5': '1.2.840.113549.1.1.4',
  'rsa-sha1': '1.2.840.113549.1.1.5',
  'rsa-sha256': '1.2.840.113549.1.1.11',
  'rsa-sha384': '1.2.840.113549.1.1.12',
  'rsa-sha512': '1.2.840.113549.1.1.13',
  'rsa-pss-sha256': '1.2.840.113549.1.1.10',
  'rsa-pss-sha384': '1.2.840.113549.1.1.10',
  ed25519: '1.3.101.112',
};

function algorithmIdentifier(kind: SignatureKind): Buffer {
  const oid = objectIdentifier(SIGNATURE_OIDS[kind]);
  if (kind.startsWith('rsa-pss')) {
    const hash = kind === 'rsa-pss-sha384' ? '2.16.840.1.101.3.4.2.2' : '2.16.840.1.101.3.4.2.1';
    const hashAlgorithm = sequence(objectIdentifier(hash), tlv(0x05, Buffer.alloc(0)));
    const mask = sequence(objectIdentifier('1.2.840.113549.1.1.8'), hashAlgorithm);
    const salt = integer(Buffer.of(PSS_SALT_BYTES));
    return sequence(oid, sequence(tlv(0xa0, hashAlgorithm), tlv(0xa1, mask), tlv(0xa2, salt)));
  }
  return kind.startsWith('rsa') ? sequence(oid, tlv(0x05, Buffer.alloc(0))) : sequence(oid);
}

/** Tag, length, content. Source: X.690, DER. */
function tlv(tag: number, content: Buffer): Buffer {
  if (content.length < 0x80) return Buffer.concat([Buffer.of(tag, content.length), content]);
  const length: number[] = [];
  for (let rest = content.length; rest > 0; rest >>>= 8) length.unshift(rest & 0xff);
  return Buffer.concat([Buffer.of(tag, 0x80 | length.length, ...length), content]);
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tlv(0x30, Buffer.concat(parts));
}

function integer(content: Buffer): Buffer {
  return tlv(0x02, content);
}

function objectIdentifier(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes: number[] = [];
  for (const arc of [first * 40 + second, ...rest]) {
    const septets = [arc & 0x7f];
    for (let high = Math.floor(arc / 128); high > 0; high = Math.floor(high / 128)) {
      septets.unshift((high & 0x7f) | 0x80);
    }
    bytes.push(...septets);
  }
  return tlv(0x06, Buffer.from(bytes));
}

function distinguishedName(commonName: string | readonly string[]): Buffer {
  const names = typeof commonName === 'string' ? [commonName] : commonName;
  return sequence(
    ...names.map((name) => tlv(0x31, sequence(objectIdentifier('2.5.4.3'), tlv(0x0c, Buffer.from(name))))),
  );
}

function extension(oid: string, value: Buffer): Buffer {
  return sequence(objectIdentifier(oid), tlv(0x04, value));
}

function generalName(name: string): Buffer {
  if (name.startsWith('email:')) return tlv(0x81, Buffer.from(name.slice(6)));
  if (name.startsWith('URI:')) return tlv(0x86, Buffer.from(name.slice(4)));
  if (isIP(name) === 4) return tlv(0x87, Buffer.from(name.split('.').map(Number)));
  if (name === '::1') return tlv(0x87, Buffer.concat([Buffer.alloc(15), Buffer.of(1)]));
  return tlv(0x82, Buffer.from(name));
}

/** GeneralizedTime, which stands for any year. */
function time(daysFromNow: number): Buffer {
  const date = new Date(Date.now() + daysFromNow * 86_400_000);
  return tlv(0x18, Buffer.from(`${date.toISOString().replace(/[-:T]|\.\d+/g, '')}`));
}

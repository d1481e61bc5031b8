/**
 * The arithmetic of SCRAM-SHA-256 (RFC 5802, RFC 7677), shared by both sides of a login. AuthMessages are latin1
 * strings: one character per byte that went over the wire.
 */
import { createHmac, hash } from 'node:crypto';

/** The SASL mechanism without channel binding. */
export const SCRAM_MECHANISM = 'SCRAM-SHA-256';

/** The same with it: each side proves that its end of the TLS connection is the other's, too. */
export const SCRAM_PLUS_MECHANISM = 'SCRAM-SHA-256-PLUS';

/** The one kind of channel binding that PostgreSQL has. Source: RFC 5929, section 4. */
export const BINDING_TYPE = 'tls-server-end-point';

/** What channel binding has to know of a TLS connection. */
export interface TlsChannel {
  /** The hash of the certificate that the server side showed in its handshake; null where there is none to bind to. */
  readonly endPointHash: Buffer | null;
}

/** Random bytes in a nonce of ours, ahead of base64; as many as PostgreSQL and PgBouncer use. */
export const NONCE_BYTES = 18;

/** Keys that follow from a SaltedPassword. Shape: 32 bytes each. `clientKey` lets its holder log in. */
export interface ScramKeys {
  readonly clientKey: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text, 'latin1').digest();
}

function xor(a: Buffer, b: Buffer): Buffer {
  return Buffer.from(a.map((byte, i) => byte ^ (b[i] ?? 0)));
}

/** StoredKey: what a server keeps to recognise the client. */
export function storedKeyOf(clientKey: Buffer): Buffer {
  return hash('sha256', clientKey, 'buffer');
}

/** All keys of one SaltedPassword (the output of PBKDF2). */
export function scramKeysOf(saltedPassword: Buffer): ScramKeys {
  const clientKey = hmac(saltedPassword, 'Client Key');
  return { clientKey, storedKey: storedKeyOf(clientKey), serverKey: hmac(saltedPassword, 'Server Key') };
}

/** `client-first-bare,server-first,client-final-without-proof`: what both signatures cover. */
export function authMessageOf(clientFirstBare: string, serverFirst: string, withoutProof: string): string {
  return `${clientFirstBare},${serverFirst},${withoutProof}`;
}

/** ClientProof: shows that the client holds ClientKey without giving it to someone who lacks StoredKey. */
export function clientProof(clientKey: Buffer, authMessage: string): Buffer {
  return xor(clientKey, hmac(storedKeyOf(clientKey), authMessage));
}

/**
 * ClientKey out of a proof, for whoever holds StoredKey. Right only if {@link storedKeyOf} of it is that
 * StoredKey: the caller compares.
 */
export function recoverClientKey(proof: Buffer, storedKey: Buffer, authMessage: string): Buffer {
  return xor(proof, hmac(storedKey, authMessage));
}

/** ServerSignature: shows that the server holds ServerKey. */
export function serverSignature(serverKey: Buffer, authMessage: string): Buffer {
  return hmac(serverKey, authMessage);
}

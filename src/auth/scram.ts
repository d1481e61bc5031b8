/**
 * The arithmetic of SCRAM-SHA-256 (RFC 5802, RFC 7677), shared by both sides of a login. AuthMessages are latin1
 * strings: one character per byte that went over the wire.
 */
import { hash } from 'node:crypto';

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

const BLOCK_BYTES = 64;
const DIGEST_BYTES = 32;

/** Room for the texts of three messages; a longer one gets memory of its own. */
const inner = Buffer.alloc(16 * 1024);
const outer = Buffer.alloc(BLOCK_BYTES + DIGEST_BYTES);

/**
 * HMAC-SHA-256 by two digests (RFC 2104); `key` of a block at most. Node's own makes an object for each, which costs
 * several times what the digests do, to make and to collect.
 */
function hmac(key: Buffer, text: string): Buffer {
  const bytes = BLOCK_BYTES + text.length;
  const message = bytes <= inner.length ? inner : Buffer.alloc(bytes);
  for (let i = 0; i < BLOCK_BYTES; i++) {
    const byte = i < key.length ? (key[i] as number) : 0;
    message[i] = byte ^ 0x36;
    outer[i] = byte ^ 0x5c;
  }
  message.write(text, BLOCK_BYTES, 'latin1');
  hash('sha256', message.subarray(0, bytes), 'buffer').copy(outer, BLOCK_BYTES);
  const result = hash('sha256', outer, 'buffer');
  // Nothing of the key stays behind.
  message.fill(0, 0, BLOCK_BYTES);
  outer.fill(0);
  return result;
}

function xor(a: Buffer, b: Buffer): Buffer {
  const result = Buffer.from(a);
  for (let i = 0; i < result.length; i++) result[i] = (result[i] as number) ^ (b[i] ?? 0);
  return result;
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

/** What kind of secret a stored text is. Source: PgBouncer `auth_file`, manual `catalog-pg-authid`. */
import { decodeBase64 } from './base64.ts';

/** Bytes of a SHA-256 digest, hence of every SCRAM key. */
export const SCRAM_KEY_BYTES = 32;

/** Longest salt that we take from a secret or a server; PostgreSQL makes 16 bytes, some managed services others. */
export const MAX_SALT_BYTES = 1024;

/** What a SCRAM login is checked against. Shape: both keys are 32 bytes; the salt is 1 to 1024. */
export interface ScramVerifier {
  readonly iterations: number;
  readonly salt: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

/** A stored secret, taken apart. An md5 `hash` is the 32 hex digits alone. */
export type Secret =
  | { readonly kind: 'plain'; readonly password: string }
  | { readonly kind: 'md5'; readonly hash: string }
  | ({ readonly kind: 'scram' } & ScramVerifier);

const md5Shape = /^md5[0-9a-f]{32}$/;
const scramShape = /^SCRAM-SHA-256\$([0-9]{1,10}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)$/;

const MAX_INT32 = 0x7fff_ffff;

/**
 * An iteration count as SCRAM writes it: a positive decimal number that fits PostgreSQL's int. Null otherwise,
 * also for leading zeros.
 */
export function parseIterations(text: string): number | null {
  if (!/^[1-9][0-9]{0,9}$/.test(text)) return null;
  const iterations = Number(text);
  return iterations <= MAX_INT32 ? iterations : null;
}

function parseScram(text: string): ScramVerifier | null {
  const match = scramShape.exec(text);
  if (match === null) return null;
  const [, count = '', saltText = '', storedText = '', serverText = ''] = match;
  const iterations = parseIterations(count);
  const salt = decodeBase64(saltText, MAX_SALT_BYTES);
  const storedKey = decodeBase64(storedText, SCRAM_KEY_BYTES);
  const serverKey = decodeBase64(serverText, SCRAM_KEY_BYTES);
  if (iterations === null || salt === null || salt.length === 0) return null;
  if (storedKey?.length !== SCRAM_KEY_BYTES || serverKey?.length !== SCRAM_KEY_BYTES) return null;
  return { iterations, salt, storedKey, serverKey };
}

/**
 * Tells a secret's kind from its text: `md5` and 32 lowercase hex digits; `SCRAM-SHA-256$…` that parses in
 * full; anything else is the password itself, also a broken SCRAM secret. Never throws.
 */
export function classifySecret(text: string): Secret {
  if (md5Shape.test(text)) return { kind: 'md5', hash: text.slice(3) };
  const scram = parseScram(text);
  if (scram !== null) return { kind: 'scram', ...scram };
  return { kind: 'plain', password: text };
}

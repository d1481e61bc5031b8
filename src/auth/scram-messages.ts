/**
 * The four texts of a SCRAM exchange: parsed with bounds on every field, because both clients and servers are
 * strangers here. Parsers return null for whatever is not well-formed and never throw. Texts are latin1: one
 * character per byte. Source: RFC 5802, section 7.
 */
import { decodeBase64 } from './base64.ts';
import { MAX_SALT_BYTES, parseIterations, SCRAM_KEY_BYTES } from './secret.ts';

/** Longest SCRAM message taken from a peer; PostgreSQL takes 1024 from its clients. */
export const MAX_SCRAM_MESSAGE_BYTES = 4096;

/** Printable ASCII without the comma; a combined nonce holds two of them. */
const nonceShape = /^[\x21-\x2b\x2d-\x7e]{1,1024}$/;
/** An extension that we have no use for; `m=` would be mandatory, hence it is not among them. */
const extensionShape = /^[A-Za-ln-z]=[^\0,]+$/;

/** The value of `attribute` (`k=value`) if its key is `key`, else null. */
function valueOf(attribute: string | undefined, key: string): string | null {
  return attribute?.startsWith(`${key}=`) === true ? attribute.slice(2) : null;
}

function isNonce(text: string | null): text is string {
  return text !== null && nonceShape.test(text);
}

function areExtensions(attributes: readonly string[]): boolean {
  return attributes.every((attribute) => extensionShape.test(attribute));
}

function fits(text: string): boolean {
  return text.length <= MAX_SCRAM_MESSAGE_BYTES && !text.includes('\0');
}

/**
 * `gs2Header` is what the client must repeat in `c=`; `bare` is the part that signatures cover. `flag`: `n` the client
 * has no channel binding, `y` it has and believes that we do not, `p` it binds by `bindingType` (null otherwise).
 */
export interface ClientFirst {
  readonly gs2Header: string;
  readonly flag: 'n' | 'y' | 'p';
  readonly bindingType: string | null;
  readonly bare: string;
  readonly nonce: string;
}

const gs2Shape = /^(?:([ny])|p=([A-Za-z0-9.-]{1,64})),,/;

/**
 * client-first-message. The name in `n=` is ignored, as PostgreSQL does: the StartupMessage named the user.
 * Refused: an authorization identity, mandatory extensions.
 */
export function parseClientFirst(text: string): ClientFirst | null {
  if (!fits(text)) return null;
  const [gs2Header, plainFlag, bindingType] = gs2Shape.exec(text) ?? [];
  if (gs2Header === undefined) return null;
  const bare = text.slice(gs2Header.length);
  const [name, nonceAttribute, ...extensions] = bare.split(',');
  const nonce = valueOf(nonceAttribute, 'r');
  if (valueOf(name, 'n') === null || !isNonce(nonce) || !areExtensions(extensions)) return null;
  const flag = plainFlag === 'n' || plainFlag === 'y' ? plainFlag : 'p';
  return { gs2Header, flag, bindingType: bindingType ?? null, bare, nonce };
}

/** Most that `c=` may hold: a header with a name in it, and the longest hash. Bytes. */
const MAX_CHANNEL_BINDING_BYTES = 4 + 64 + 64;

/** What `c=` holds: the client's header again and, with channel binding, the hash of the certificate that it saw. */
export function channelBindingBytes(gs2Header: string, hash: Buffer | null): Buffer {
  const header = Buffer.from(gs2Header, 'latin1');
  return hash === null ? header : Buffer.concat([header, hash]);
}

/** `channelBinding` is what `c=` holds, decoded; `proof` 32 bytes. */
export interface ClientFinal {
  readonly channelBinding: Buffer;
  readonly nonce: string;
  readonly proof: Buffer;
  readonly withoutProof: string;
}

/** client-final-message. The proof must come last. */
export function parseClientFinal(text: string): ClientFinal | null {
  if (!fits(text)) return null;
  const attributes = text.split(',');
  const last = attributes.pop();
  const [bindingAttribute, nonceAttribute, ...extensions] = attributes;
  const binding = decodeBase64(valueOf(bindingAttribute, 'c') ?? '', MAX_CHANNEL_BINDING_BYTES);
  const nonce = valueOf(nonceAttribute, 'r');
  const proof = decodeBase64(valueOf(last, 'p') ?? '', SCRAM_KEY_BYTES);
  if (binding === null || !areExtensions(extensions) || nonce === null || nonce === '') return null;
  if (proof?.length !== SCRAM_KEY_BYTES) return null;
  return {
    channelBinding: binding,
    nonce,
    proof,
    withoutProof: attributes.join(','),
  };
}

/** `salt` is 1 to 1024 bytes, `iterations` at least 1. */
export interface ServerFirst {
  readonly nonce: string;
  readonly salt: Buffer;
  readonly iterations: number;
}

/** server-first-message. Only ASCII is taken: a server that sends more could not be answered byte for byte. */
export function parseServerFirst(text: string): ServerFirst | null {
  if (!fits(text) || !/^[\x20-\x7e]*$/.test(text)) return null;
  const [nonceAttribute, saltAttribute, countAttribute, ...extensions] = text.split(',');
  const nonce = valueOf(nonceAttribute, 'r');
  const salt = decodeBase64(valueOf(saltAttribute, 's') ?? '', MAX_SALT_BYTES);
  const iterations = parseIterations(valueOf(countAttribute, 'i') ?? '');
  // Twice a nonce's bound: the server's extends ours.
  if (nonce === null || !/^[\x21-\x2b\x2d-\x7e]{1,2048}$/.test(nonce)) return null;
  if (salt === null || salt.length === 0 || iterations === null || !areExtensions(extensions)) return null;
  return { nonce, salt, iterations };
}

/** The ServerSignature of a server-final-message, or null when it is none (`e=…`, garbage, wrong size). */
export function parseServerFinal(text: string): Buffer | null {
  if (!fits(text)) return null;
  const [signatureAttribute, ...extensions] = text.split(',');
  const signature = decodeBase64(valueOf(signatureAttribute, 'v') ?? '', SCRAM_KEY_BYTES);
  return signature?.length === SCRAM_KEY_BYTES && areExtensions(extensions) ? signature : null;
}

/** The server's challenge: the combined nonce, and how the password is to be hashed. */
export function serverFirst(fields: ServerFirst): string {
  return `r=${fields.nonce},s=${fields.salt.toString('base64')},i=${fields.iterations}`;
}

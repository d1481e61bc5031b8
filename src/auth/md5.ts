/** PostgreSQL's MD5 password scheme. Source: manual, `protocol-flow`, AuthenticationMD5Password. */
import { hash } from 'node:crypto';
import { sameBytes } from './constant-time.ts';

function md5Hex(...parts: readonly (string | Buffer)[]): string {
  return hash(
    'md5',
    Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part))),
  );
}

/** The 32 hex digits that PostgreSQL stores behind `md5`: of the password and then the user name. */
export function md5SecretHash(password: string | Buffer, user: string): string {
  return md5Hex(password, user);
}

/** The answer to an MD5 request: `md5` and 32 hex digits. `hash` is {@link md5SecretHash}'s, `salt` 4 bytes. */
export function md5Response(hash: string, salt: Buffer): string {
  return `md5${md5Hex(hash, salt)}`;
}

/** Whether a client's answer to an MD5 request is the right one; its time does not depend on where they differ. */
export function md5ResponseMatches(response: Buffer, hash: string, salt: Buffer): boolean {
  return sameBytes(response, Buffer.from(md5Response(hash, salt), 'latin1'));
}

import { isUtf8 } from 'node:buffer';
import { closeSync, fstatSync, openSync, readFileSync, statSync, type BigIntStats } from 'node:fs';
import { MAX_USER_NAME_BYTES } from './users.ts';

/** Longest secret, in bytes. Source: PgBouncer's fixed limits. */
export const MAX_SECRET_BYTES = 65530;

/**
 * What an `auth_file` says: the secret's text by user, unclassified; a user given twice has the later one.
 * `brokenLine` is the first line that makes no sense, 0 if none; nothing behind it was read.
 */
export interface Userlist {
  readonly secrets: ReadonlyMap<string, string>;
  readonly brokenLine: number;
}

/**
 * Reads the text of an `auth_file`: `"user" "secret"` at the start of each line, `""` for a quote, the rest of
 * the line ignored; `;` starts a comment line. Reading stops at a broken line and keeps the earlier ones.
 * Never throws. Source: PgBouncer `auth_file`.
 */
export function parseUserlist(bytes: Buffer): Userlist {
  const secrets = new Map<string, string>();
  for (const [index, line] of bytes.toString('latin1').split('\n').entries()) {
    const text = line.replace(/^[ \t\r\v\f]+/, '');
    if (text === '' || text.startsWith(';')) continue;
    const match = /^"((?:[^"]|"")*)"[ \t]+"((?:[^"]|"")*)"/.exec(text);
    const user = unquote(match?.[1]);
    const secret = unquote(match?.[2]);
    if (user === null || secret === null) return { secrets, brokenLine: index + 1 };
    if (Buffer.byteLength(user) > MAX_USER_NAME_BYTES || Buffer.byteLength(secret) > MAX_SECRET_BYTES) {
      return { secrets, brokenLine: index + 1 };
    }
    secrets.set(user, secret);
  }
  return { secrets, brokenLine: 0 };
}

function unquote(bytes: string | undefined): string | null {
  if (bytes === undefined) return null;
  const buffer = Buffer.from(bytes.replaceAll('""', '"'), 'latin1');
  // A name or secret in another encoding would be mangled and then match nothing; better to say so.
  return isUtf8(buffer) && !buffer.includes(0) ? buffer.toString('utf8') : null;
}

/**
 * A text that differs whenever a file may have changed: device, inode, mode, owner, group, time of change and
 * size. Null when the file cannot be asked. Source: PgBouncer re-reads `auth_file` when one of these differs.
 */
export function fileIdentity(path: string): string | null {
  try {
    return identityOf(statSync(path, { bigint: true }));
  } catch {
    return null;
  }
}

function identityOf(stat: BigIntStats): string {
  return [stat.dev, stat.ino, stat.mode, stat.uid, stat.gid, stat.mtimeNs, stat.size].join(':');
}

/** Reads an `auth_file` and its {@link fileIdentity} of that moment. Throws Node's error when it cannot. */
export function readUserlist(path: string): Userlist & { readonly identity: string } {
  const fd = openSync(path, 'r');
  try {
    // The identity comes before the bytes: a change in between then shows as a difference at the next RELOAD.
    const identity = identityOf(fstatSync(fd, { bigint: true }));
    return { ...parseUserlist(readFileSync(fd)), identity };
  } finally {
    closeSync(fd);
  }
}

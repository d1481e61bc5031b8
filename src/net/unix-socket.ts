import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, existsSync, linkSync, lstatSync, type Stats, unlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { groupIdFromFile } from './name-files.ts';
import type { Native } from './native.ts';

/** A reason not to start listening; its text is the whole log line. The daemon exits with 1. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
}

/** The longest path the kernel takes for a unix socket: `sun_path` less its closing NUL. */
const MAX_PATH_BYTES = 107;

/**
 * The address of the unix socket for a directory and port, as `listen` and `connect` take it. A directory that
 * begins with `@` names Linux's abstract namespace (a leading NUL). Source: PgBouncer's unix_socket_dir.
 */
export function unixSocketPath(dir: string, port: number): string {
  const path = `${dir}/.s.PGSQL.${port}`;
  return dir.startsWith('@') ? `\0${path.slice(1)}` : path;
}

/** The path as people write it: `@` for the leading NUL of an abstract name. */
export function displaySocketPath(path: string): string {
  return path.startsWith('\0') ? `@${path.slice(1)}` : path;
}

export function isAbstractPath(path: string): boolean {
  return path.startsWith('\0');
}

/**
 * Makes sure that no other process serves `path`: neither a PostgreSQL server (it leaves a `.lock` file) nor
 * another pooler (it answers a connection). Removes nothing. To be called before anything else is bound, and
 * before the pidfile is looked at. Gives what a dead process has left there, null if nothing.
 *
 * @throws ListenError when the path is taken or cannot be one.
 */
export async function checkUnixSocketFree(path: string): Promise<SocketFileIdentity | null> {
  const shown = displaySocketPath(path);
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new ListenError(`unix socket path is longer than ${MAX_PATH_BYTES} bytes: ${shown}`);
  }
  let found: SocketFileIdentity | null = null;
  if (!isAbstractPath(path)) {
    if (existsSync(`${path}.lock`)) throw new ListenError(`unix port is in use: ${shown}.lock exists`);
    const stat = lookAt(path);
    if (stat === undefined) return null;
    if (!stat.isSocket()) throw new ListenError(`not a unix socket, will not replace it: ${shown}`);
    found = identityOf(stat);
  }
  const code = await connectErrorCode(path);
  // Everything else (a full backlog, a foreign user's socket) means that somebody may well be there.
  if (code === 'ECONNREFUSED' || code === 'ENOENT') return found;
  throw new ListenError('unix socket is in use, cannot continue');
}

/** Undefined when there is nothing; throws ListenError when nobody can tell. */
function lookAt(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw new ListenError(`cannot listen on unix:${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Connects and leaves at once; null when that worked, else the system's error code. */
function connectErrorCode(path: string): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(null);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

/**
 * Removes the socket file that a dead process left, as {@link checkUnixSocketFree} has found it. One that another start
 * has put there since stays: the bind will fail.
 */
export function removeStaleSocket(path: string, stale: SocketFileIdentity): void {
  const now = socketFileIdentity(path);
  // A number that has become free is given to the next file: it is the same one only if nothing has been done to it.
  if (now !== null && isSameFile(now, stale) && now.changedMs === stale.changedMs) unlinkSync(path);
}

/** Takes the name of a socket, or of another file, away; never throws, for whoever ends has more to do. */
export function removeName(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Somebody has cleaned up, or it is out of reach: the next start will find out that it is nobody's.
  }
}

/**
 * Gives the freshly bound socket file its group and mode. Owner group first: a socket must not be open to the
 * wrong group even for an instant. Source: PgBouncer's unix_socket_mode, unix_socket_group.
 */
export function applySocketPermissions(path: string, mode: number, gid: number | null): void {
  if (isAbstractPath(path)) return;
  if (gid !== null) chownSync(path, -1, gid);
  chmodSync(path, mode & 0o7777);
}

/**
 * Keeps a socket's file although `close`, which must return with it done, removes what stands at the path. For an instant
 * there is none. False where a file cannot have a second name: then nothing has been done. Throws EEXIST when another
 * process has been quick enough to put its own there.
 */
export function keepSocketFile(path: string, close: () => void): boolean {
  const second = join(dirname(path), `.pgw.${randomBytes(4).toString('hex')}`);
  try {
    linkSync(path, second);
  } catch {
    return false;
  }
  try {
    close();
    linkSync(second, path);
  } finally {
    removeName(second);
  }
  return true;
}

/**
 * The group id that `unix_socket_group` means: a number, or a name in the group database (in `/etc/group` alone
 * when the native library is missing). Null for the empty setting.
 *
 * @throws ListenError for a name that nobody knows.
 */
export function resolveGroup(group: string, native: Native): number | null {
  if (group === '') return null;
  if (/^\d+$/.test(group)) return Number(group);
  const gid = native.groupId(group) ?? groupIdFromFile(group);
  if (gid === null) throw new ListenError(`unknown group in unix_socket_group: ${group}`);
  return gid;
}

/** What identifies a socket file, so that we never remove another process's one at the same path. */
export interface SocketFileIdentity {
  readonly dev: number;
  readonly ino: number;
  /** When it was made, or given a mode, an owner or another name. */
  readonly changedMs: number;
}

/** The identity of the file at `path` now; null when there is none, or the folder is out of reach. Never throws. */
export function socketFileIdentity(path: string): SocketFileIdentity | null {
  try {
    return identityOf(lstatSync(path));
  } catch {
    return null;
  }
}

function identityOf({ dev, ino, ctimeMs }: Stats): SocketFileIdentity {
  return { dev, ino, changedMs: ctimeMs };
}

export function isSameFile(one: SocketFileIdentity, other: SocketFileIdentity): boolean {
  return one.dev === other.dev && one.ino === other.ino;
}

/** Throws EADDRINUSE when something stands at the path that is not `before`: two may want the same place at once. */
export function checkPlace(path: string, before: SocketFileIdentity | null): void {
  const now = socketFileIdentity(path);
  if (now !== null && (before === null || !isSameFile(now, before))) throw inUse();
}

/** As bind(2) has it. */
export function inUse(): NodeJS.ErrnoException {
  return Object.assign(new Error('address already in use'), { code: 'EADDRINUSE' });
}

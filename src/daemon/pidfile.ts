import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { removeName } from '../net/unix-socket.ts';

/** The pidfile forbids a start; the text is the whole log line. The daemon exits with 1. */
export class PidfileError extends Error {
  override readonly name = 'PidfileError';
}

/** A pidfile that this process has written. */
export interface Pidfile {
  /** Removes the file, unless somebody has put another one in its place. Never throws; call it at exit. */
  remove(): void;
}

/**
 * Sees to it that no other process holds the pidfile, and removes what a dead one left. To be called before
 * listening; {@link writePidfile} follows after. Source: PgBouncer's pidfile.
 *
 * @throws PidfileError when it names a running process, is empty or garbage, or cannot be read or removed.
 */
export function checkPidfile(path: string): void {
  let text: string;
  try {
    text = beginningOf(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw new PidfileError(`could not read pidfile: ${(error as Error).message}`, { cause: error });
  }
  // An empty file may be one that another process is just about to fill.
  if (!PID.test(text) || isRunning(Number(text))) throw inUse(path);
  try {
    unlinkSync(path);
  } catch (error) {
    throw new PidfileError(`could not remove stale pidfile: ${(error as Error).message}`, { cause: error });
  }
}

const PID = /^[1-9]\d{0,9}\s*$/;

/** More than any pidfile has. */
const MAX_BYTES = 64;

/** Not all: a device may have no end. A FIFO has nothing to read, and is not waited for. */
function beginningOf(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const bytes = Buffer.alloc(MAX_BYTES);
    return bytes.toString('latin1', 0, readSync(fd, bytes));
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes `<pid>\n` into a new file of mode 0644.
 *
 * @throws PidfileError when the file exists by now or cannot be written; no half-written file stays.
 */
export function writePidfile(path: string): Pidfile {
  const inode = write(path);
  return { remove: () => removeOwn(path, inode) };
}

/** A pidfile that is to take the place of another process's. */
export interface PidfileSuccessor {
  /** Puts it in its place, in one step. */
  put(): Pidfile;
  /** Takes it away if it has not been put in its place. Never throws. */
  discard(): void;
}

/**
 * Writes a pidfile beside the one at `path`, so that what could go wrong has done so before anything is changed.
 *
 * @throws PidfileError when it cannot be written.
 */
export function preparePidfile(path: string): PidfileSuccessor {
  const beside = `${path}.${process.pid}`;
  const inode = write(beside);
  return {
    put() {
      try {
        renameSync(beside, path);
      } catch (error) {
        throw new PidfileError(`could not write pidfile: ${(error as Error).message}`, { cause: error });
      }
      return { remove: () => removeOwn(path, inode) };
    },
    discard: () => removeOwn(beside, inode),
  };
}

/** Gives the file's inode number. */
function write(path: string): number {
  let fd: number;
  try {
    fd = openSync(path, 'wx', 0o644);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw inUse(path);
    throw new PidfileError(`could not open pidfile: ${(error as Error).message}`, { cause: error });
  }
  try {
    return fill(fd);
  } catch (error) {
    removeName(path);
    throw new PidfileError(`could not write pidfile: ${(error as Error).message}`, { cause: error });
  }
}

/** Writes and closes it; some file systems say no earlier than at the close that they have no room. */
function fill(fd: number): number {
  try {
    writeSync(fd, `${process.pid}\n`);
    return fstatSync(fd).ino;
  } finally {
    closeSync(fd);
  }
}

function inUse(path: string): PidfileError {
  return new PidfileError(`pidfile '${path}' exists, another instance running?`);
}

function isRunning(pid: number): boolean {
  // In a container every start may get the same pid: a file with our own number is a predecessor's.
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return !hasEnded(pid);
  } catch (error) {
    // Only "no such process" is proof; EPERM means that it runs as somebody else.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** It is there for its parent to ask about, and runs no more. False where the system doesn't tell. */
function hasEnded(pid: number): boolean {
  try {
    // The state stands behind the name, which is in parentheses.
    return /\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

function isOwn(path: string, inode: number): boolean {
  try {
    // The inode number of a removed file is reused soon, so the content must be ours too.
    return lstatSync(path).ino === inode && readFileSync(path, 'latin1') === `${process.pid}\n`;
  } catch {
    return false;
  }
}

function removeOwn(path: string, inode: number): void {
  if (isOwn(path, inode)) removeName(path);
}

import { lstatSync, readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import {
  isSameFile,
  removeName,
  type SocketFileIdentity,
  socketFileIdentity,
  unixSocketPath,
} from '../net/unix-socket.ts';
import { cancelRequest } from '../wire/startup-message.ts';
import { askConsole } from './console.ts';

/** What a process is told whose place is taken. Harmless where it has been told before. */
export const LEAVE = 'SHUTDOWN WAIT_FOR_CLIENTS';

/** How long one may take to answer to that. */
const LEAVE_MS = 10_000;

/** How long one may take to deal with a cancel request. */
const CANCEL_MS = 10_000;

/** How often is looked whether they still run. */
const WATCH_MS = 1000;

/** More cancel requests than this are not on their way to them at once. */
const MAX_CANCELS = 100;

/** A full queue, or no room with us: that says nothing of the other end, which may well be there. */
const NOT_TOLD: readonly string[] = ['EAGAIN', 'EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM'];

/** Whether a process answers at `path`. True where that cannot be found out now. */
export function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(NOT_TOLD.includes(error.code ?? '')));
  });
}

/** What the second names of unix sockets begin with, in the folder of the first. */
export function secondNamePrefix(port: number): string {
  return `.pgweir.${port}.`;
}

/**
 * The processes whose place was taken by `-R` one after the other and that still have clients. Their unix sockets live on
 * under second names in the same folder, by which cancel requests reach them; whoever takes over next finds them there.
 * See docs/decisions/0011-hand-over.md.
 */
export class Predecessors {
  readonly #dir: string;
  readonly #port: number;
  readonly #onEnd: () => void;
  #paths: string[] = [];
  /** Of these, those that may not know yet that they are to leave. */
  readonly #untold = new Set<string>();
  /** Our own socket, whatever its names are; null without one. */
  #own: SocketFileIdentity | null = null;
  #watch: NodeJS.Timeout | null = null;
  #cancels = 0;

  /** `onEnd` is called for each that has ended. */
  constructor(dir: string, port: number, onEnd: () => void) {
    this.#dir = dir;
    this.#port = port;
    this.#onEnd = onEnd;
  }

  /**
   * Takes those in that have left a name, and looks after them until they end. Also where nobody's place is taken: one
   * that has ended may have had predecessors, and may not have been heard by them. So each is told to leave, but for
   * `takenOver`, whose turn comes last of all. `isBound`: our own unix socket stands where it belongs.
   */
  adopt(isBound: boolean, takenOver: SocketFileIdentity | null): void {
    if (isBound) this.#own = socketFileIdentity(unixSocketPath(this.#dir, this.#port));
    this.#paths = this.#names();
    // Else one of them may be in its place.
    for (const path of isBound ? this.#paths : []) {
      const its = socketFileIdentity(path);
      if (takenOver === null || its === null || !isSameFile(its, takenOver)) this.#untold.add(path);
    }
    if (this.#paths.length === 0) return;
    this.#watch = setInterval(() => void this.#look(), WATCH_MS);
    this.#watch.unref();
  }

  /** Hands each a cancel request; resolves with whether any could be reached, when they have dealt with it. */
  cancel(key: Buffer): Promise<boolean> {
    return this.#send(this.#paths, key);
  }

  /** Hands it to whoever has taken our own place; as {@link cancel}. */
  cancelAtSuccessor(key: Buffer): Promise<boolean> {
    return this.#send([unixSocketPath(this.#dir, this.#port)].filter(isOurs), key);
  }

  async #send(paths: readonly string[], key: Buffer): Promise<boolean> {
    if (paths.length === 0 || this.#cancels >= MAX_CANCELS) return false;
    this.#cancels++;
    const sent = await Promise.all(paths.map((path) => sendCancel(path, key)));
    this.#cancels--;
    return sent.includes(true);
  }

  /** Ends the watch, and takes our own second name away. Others' stay: whoever comes next is to find them. */
  leave(): void {
    if (this.#watch !== null) clearInterval(this.#watch);
    this.#watch = null;
    this.#paths = [];
    this.#untold.clear();
    const own = this.#own;
    this.#own = null;
    if (own === null) return;
    for (const path of this.#names()) {
      const now = socketFileIdentity(path);
      if (now !== null && isSameFile(now, own)) removeName(path);
    }
  }

  /** Second names of sockets of our user. */
  #names(): string[] {
    const prefix = secondNamePrefix(this.#port);
    return namesIn(this.#dir)
      .filter((name) => name.startsWith(prefix))
      .map((name) => join(this.#dir, name))
      .filter(isOurs);
  }

  async #look(): Promise<void> {
    for (const path of this.#paths) {
      if (await answers(path)) {
        if (this.#untold.delete(path)) void this.#tell(path);
        continue;
      }
      if (!this.#paths.includes(path)) continue;
      this.#paths = this.#paths.filter((other) => other !== path);
      removeName(path);
      this.#onEnd();
    }
  }

  async #tell(path: string): Promise<void> {
    try {
      await askConsole(path, LEAVE, { applicationName: 'pgweir', timeoutMs: LEAVE_MS });
    } catch {
      if (this.#paths.includes(path)) this.#untold.add(path);
    }
  }
}

/** None in a folder that may be entered but not read. */
function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

/** Nobody else may put a socket there to learn the keys of clients. */
function isOurs(path: string): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat?.isSocket() === true && stat.uid === process.geteuid?.();
}

function sendCancel(path: string, key: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    let isSent = false;
    socket.once('connect', () => {
      isSent = true;
      socket.write(cancelRequest(key));
    });
    socket.setTimeout(CANCEL_MS, () => socket.destroy());
    // Its answer is that it closes the connection.
    socket.resume();
    socket.on('error', () => {});
    socket.once('close', () => resolve(isSent));
  });
}

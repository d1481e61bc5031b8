import { randomBytes } from 'node:crypto';
import { linkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { showDatabases } from '../admin/show-pools.ts';
import type { Logger } from '../base/log.ts';
import { unlessAborted } from '../base/unless-aborted.ts';
import type { Settings } from '../config/settings.ts';
import {
  isSameFile,
  removeName,
  type SocketFileIdentity,
  socketFileIdentity,
  unixSocketPath,
} from '../net/unix-socket.ts';
import type { Rows } from '../server/question.ts';
import { askConsole } from './console.ts';
import { answers, LEAVE, secondNamePrefix } from './predecessors.ts';

/** `-R` cannot be done; the text is the log line. The process that runs goes on as if nothing had been. */
export class TakeoverError extends Error {
  override readonly name = 'TakeoverError';
}

/** How long the old process may take for an answer. */
const ANSWER_MS = 10_000;

/** How long until one that has not answered to SHUTDOWN is asked again. */
const RETRY_MS = 1000;

/** What a takeover needs of the process. */
export interface TakeoverHost {
  readonly log: Logger;
  /** The start has been ended: nothing is waited for any more. */
  readonly ended: AbortSignal;
}

const PAUSED_AT = showDatabases.columns.findIndex(({ name }) => name === 'paused');

/** The second column of tables whose first is a key. */
function byKey(rows: Rows): Map<string, string | null> {
  return new Map(rows.map(([key, value]) => [key ?? '', value ?? null]));
}

/**
 * A start with `-R`, seen from the new process: it finds the old one at its own unix socket, gives that a second name,
 * and has it drain once it has taken the first. See docs/decisions/0011-hand-over.md.
 */
export class Takeover {
  /** The second name of the old process's socket. */
  readonly #path: string;
  /** The first. */
  readonly #first: string;
  readonly #log: Logger;
  /** What the old process does. From `told` on nobody knows but itself, until it answers. */
  #old: 'serves' | 'told' | 'unanswered' | 'leaves' = 'serves';
  #isOver = false;
  #retry: NodeJS.Timeout | null = null;
  /** The old process's setting. */
  #pidfile = '';
  /** The old process's socket, and nobody else's, is to be replaced. */
  readonly socket: SocketFileIdentity;

  private constructor(first: string, path: string, socket: SocketFileIdentity, log: Logger) {
    this.#log = log;
    this.#first = first;
    this.#path = path;
    this.socket = socket;
  }

  /**
   * Looks for the old process, and whether it can be taken over from; null when there is none. Whoever gets one calls
   * {@link end} at last.
   *
   * @throws TakeoverError when it cannot, or the reason why the start has ended: nothing has been changed then.
   */
  static async begin(settings: Settings, { log, ended }: TakeoverHost): Promise<Takeover | null> {
    const { unix_socket_dir, listen_port, listen_addr, so_reuseport } = settings;
    if (unix_socket_dir === '' || unix_socket_dir.startsWith('@')) {
      throw new TakeoverError('-R needs a unix socket in a folder (unix_socket_dir)');
    }
    if (listen_addr.length > 0 && !so_reuseport) {
      throw new TakeoverError('-R needs so_reuseport = 1, here and in the running process');
    }
    const path = unixSocketPath(unix_socket_dir, listen_port);
    if (!(await answers(path))) return null;
    const second = join(unix_socket_dir, `${secondNamePrefix(listen_port)}${randomBytes(4).toString('hex')}`);
    let socket: SocketFileIdentity | null;
    try {
      linkSync(path, second);
      socket = socketFileIdentity(second);
    } catch (error) {
      throw new TakeoverError(`cannot take over ${path}: ${(error as Error).message}`, { cause: error });
    }
    if (socket === null) throw new TakeoverError(`cannot take over ${path}: ${second} is gone`);
    const takeover = new Takeover(path, second, socket, log);
    try {
      await unlessAborted(ended, takeover.#check(listen_addr.length > 0));
    } catch (error) {
      takeover.end();
      throw error;
    }
    return takeover;
  }

  /**
   * Has the old process close its listeners and wait for its clients to leave: from here on there is no way back. Resolves
   * when it has answered, or has had its time. One that does not answer may serve clients beside us: it is asked again,
   * until {@link end}, for as long as it is there. Never rejects.
   */
  async shutDownOld(): Promise<void> {
    if (this.#old === 'serves') this.#old = 'told';
    try {
      await this.#ask(LEAVE);
    } catch (error) {
      if (await answers(this.#path)) {
        this.#askAgain((error as Error).message);
        return;
      }
    }
    if (this.#old === 'unanswered')
      this.#log.log('LOG', 'the running process has answered at last, or has ended');
    this.#old = 'leaves';
  }

  #askAgain(why: string): void {
    if (this.#isOver) return;
    if (this.#old !== 'unanswered')
      this.#log.log(
        'ERROR',
        `${why}: it may serve clients, too, and is asked again until it answers or ends`,
      );
    this.#old = 'unanswered';
    this.#retry = setTimeout(() => void this.shutDownOld(), RETRY_MS);
    this.#retry.unref();
  }

  /** Whether the old process's pidfile is this one, which changes hands with all else. */
  changesPidfile(path: string): boolean {
    if (path === this.#pidfile) return true;
    try {
      const [ours, its] = [statSync(path), statSync(this.#pidfile)];
      return ours.dev === its.dev && ours.ino === its.ino;
    } catch {
      return false;
    }
  }

  /**
   * Where the old process has not been told to leave, no trace is left: if ours was there already and is gone, the old
   * socket is back in its place. One that has been told keeps its second name, by which whoever comes next finds it. Never
   * throws.
   */
  end(): void {
    this.#isOver = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
    if (this.#old === 'unanswered')
      this.#log.log(
        'WARNING',
        `the old process has not answered to ${LEAVE} so far: the next start asks it again`,
      );
    if (this.#old === 'serves') this.#undo();
  }

  #undo(): void {
    try {
      // Does nothing where somebody is there, whoever it is.
      linkSync(this.#path, this.#first);
    } catch {
      // It has never been away, or another one has taken its place.
    }
    const now = socketFileIdentity(this.#first);
    // Never its last name: nobody would find it any more.
    if (now !== null && isSameFile(now, this.socket)) removeName(this.#path);
  }

  async #check(needsTcp: boolean): Promise<void> {
    const [[version] = []] = await this.#ask('SHOW VERSION');
    // PgBouncer would remove our unix socket and pidfile when it ends.
    if (version?.includes('pgweir') !== true) throw new TakeoverError(`-R cannot take over from ${version}`);
    const config = byKey(await this.#ask('SHOW CONFIG'));
    if (needsTcp && config.get('so_reuseport') !== '1') {
      throw new TakeoverError('-R needs so_reuseport = 1 in the running process, too');
    }
    this.#pidfile = config.get('pidfile') ?? '';
    const state = byKey(await this.#ask('SHOW STATE'));
    // RESUME is refused during a shutdown: its clients would wait in vain.
    if (state.get('active') !== 'yes') {
      throw new TakeoverError('-R cannot take over from a paused process: RESUME it');
    }
    const databases = await this.#ask('SHOW DATABASES');
    const paused = databases.filter((row) => row[PAUSED_AT] === '1').map(([name]) => name);
    // With us clients would get to servers from which an operator keeps them.
    if (paused.length > 0) {
      throw new TakeoverError(
        `-R cannot take over from a process with paused databases: RESUME ${paused.join(', ')}`,
      );
    }
  }

  /** Runs a command on its console. */
  async #ask(command: string): Promise<Rows> {
    try {
      return await askConsole(this.#path, command, { applicationName: 'pgweir -R', timeoutMs: ANSWER_MS });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new TakeoverError(`the running process does not answer to ${command}: ${why}`, { cause: error });
    }
  }
}

import type { ControlReply } from '../admin/control.ts';
import type { Logger } from '../base/log.ts';

/** What it takes to end a SUSPEND in several threads. */
export interface SuspenderHooks {
  readonly log: Logger;
  /** As far as the threads have said. */
  isSuspended(): boolean;
  /** Resolves when they have said what became of earlier commands. */
  heard(): Promise<unknown>;
  /** RESUME of all. */
  resume(): Promise<unknown>;
  /** Has all threads suspend. */
  suspend(attempt: number): Promise<ControlReply>;
  /** Ends that SUSPEND wherever it is in force, or will be in threads that begin, and nothing else. */
  endSuspension(attempt: number): Promise<unknown>;
}

/**
 * Ends SUSPEND with the console that asked for it, complete or not, and where some threads can't. By commands to all, which
 * threads that have begun since hear of, too.
 */
export class Suspender {
  readonly #hooks: SuspenderHooks;
  #forget: () => void = () => {};
  /** How often {@link ended} was said. */
  #ends = 0;
  #attempts = 0;

  constructor(hooks: SuspenderHooks) {
    this.#hooks = hooks;
  }

  /** `signal` says that the console is gone. */
  async suspend(signal: AbortSignal): Promise<ControlReply> {
    let isRefused = false;
    const onGone = async (): Promise<void> => {
      const { log, heard, isSuspended, resume } = this.#hooks;
      try {
        await heard();
        // Somebody else's, or ended already.
        if (isRefused || !isSuspended()) return;
        log.log('LOG', 'admin disconnected when suspended, doing RESUME');
        await resume();
      } catch (error) {
        log.log('ERROR', `internal error: ${error instanceof Error ? error.stack : String(error)}`);
      }
    };
    const listener = (): void => void onGone();
    const forget = (): void => signal.removeEventListener('abort', listener);
    signal.addEventListener('abort', listener, { once: true });
    const ends = this.#ends;
    const attempt = ++this.#attempts;
    let reply: ControlReply | null = null;
    try {
      reply = await this.#hooks.suspend(attempt);
      return reply;
    } finally {
      isRefused = reply?.ok !== true;
      if (isRefused || this.#ends !== ends) forget();
      else this.#forget = forget;
      // Somebody may have it that died before it could say so, or has begun since.
      if (isRefused) await this.#hooks.endSuspension(attempt);
    }
  }

  /** It is over by other means. */
  ended(): void {
    this.#ends++;
    this.#forget();
    this.#forget = () => {};
  }
}

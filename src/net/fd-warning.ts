import { ACCEPT_RETRY_MS, type ListenContext } from './listening-socket.ts';

/** With fewer descriptors left than this, the log says so: server connections need some too. */
const FD_WARNING_MARGIN = 16;

/**
 * When descriptors run out, the event loop's library accepts and closes connections by itself and tells nobody.
 * A descriptor number near the limit is the only sign of it that we get to see there, and elsewhere the first.
 */
export class FdWarning {
  readonly #context: Pick<ListenContext, 'fdLimit' | 'log' | 'schedule'>;
  #isDue = true;

  constructor(context: Pick<ListenContext, 'fdLimit' | 'log' | 'schedule'>) {
    this.#context = context;
  }

  /** Of a connection that was accepted. */
  check(fd: number): void {
    const { fdLimit, log, schedule } = this.#context;
    if (!this.#isDue || fd < fdLimit - FD_WARNING_MARGIN) return;
    this.#isDue = false;
    log.log('WARNING', `file descriptors are running out (limit ${fdLimit}), new connections may be refused`);
    schedule(ACCEPT_RETRY_MS, () => {
      this.#isDue = true;
    });
  }
}

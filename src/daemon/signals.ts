import type { EventEmitter } from 'node:events';
import type { Logger } from '../base/log.ts';

/** What the process's signals act on. None of these may throw. */
export interface SignalHandlers {
  /** True from the first graceful shutdown on, whoever asked for it. */
  isShuttingDown(): boolean;
  /** True while a global PAUSE is being carried out or in force. */
  isPaused(): boolean;
  /** True while SUSPEND is being carried out or in force. */
  isSuspended(): boolean;
  /** Reads configuration, logfile and TLS files anew. */
  reload(): void;
  /** SHUTDOWN WAIT_FOR_CLIENTS. */
  shutdownWaitForClients(): void;
  /** SHUTDOWN WAIT_FOR_SERVERS. */
  shutdownWaitForServers(): void;
  /** Ends the process with this exit code, without a word to the clients. */
  exitNow(code: 0 | 1): void;
  /** PAUSE; called only when not paused. */
  pause(): void;
  /** RESUME; called only when paused. */
  resume(): void;
}

/**
 * Maps signals to what operators know from PgBouncer: SIGHUP reload; SIGTERM and SIGINT graceful shutdown, waiting
 * for clients or for servers, and immediate exit when one is under way; SIGQUIT immediate exit; SIGUSR1 PAUSE;
 * SIGUSR2 RESUME. They stay for as long as the process: one that comes while it ends must not kill it before it has
 * cleaned up. SIGPIPE is ignored, as Node sets it at start.
 *
 * The executable has a listener on SIGUSR1 from its first line on, because Node opens its debugger on that signal
 * while there is none.
 */
export function installSignals(handlers: SignalHandlers, log: Logger, source: EventEmitter = process): void {
  const shutdown = (signal: string, waitFor: string, begin: () => void) => {
    if (handlers.isShuttingDown()) {
      log.log('LOG', `got ${signal} while shutting down, fast exit`);
      handlers.exitNow(0);
    } else if (handlers.isSuspended()) {
      // Half-flushed connections can't be waited for: they don't move before RESUME.
      log.log('FATAL', `got ${signal} while suspended, exiting`);
      handlers.exitNow(1);
    } else {
      log.log('LOG', `got ${signal}, shutting down, waiting for all ${waitFor}`);
      begin();
    }
  };
  const listeners: Readonly<Record<string, () => void>> = {
    SIGHUP: () => {
      log.log('LOG', 'got SIGHUP, re-reading config');
      handlers.reload();
    },
    SIGTERM: () => shutdown('SIGTERM', 'clients disconnect', () => handlers.shutdownWaitForClients()),
    SIGINT: () =>
      shutdown('SIGINT', 'servers connections to be released', () => handlers.shutdownWaitForServers()),
    SIGQUIT: () => {
      log.log('LOG', 'got SIGQUIT, fast exit');
      handlers.exitNow(0);
    },
    SIGUSR1: () => {
      if (handlers.isPaused() || handlers.isSuspended()) {
        log.log('LOG', 'got SIGUSR1, but already paused/suspended');
        return;
      }
      log.log('LOG', 'got SIGUSR1, pausing all activity');
      handlers.pause();
    },
    SIGUSR2: () => {
      if (handlers.isShuttingDown()) {
        log.log('LOG', 'got SIGUSR2 while shutting down, ignoring');
        return;
      }
      if (!handlers.isPaused() && !handlers.isSuspended()) {
        log.log('LOG', 'got SIGUSR2, but not paused/suspended');
        return;
      }
      log.log('LOG', 'got SIGUSR2, continuing from PAUSE');
      handlers.resume();
    },
  };
  for (const [signal, listener] of Object.entries(listeners)) source.on(signal, listener);
}

/** A signal has ended the start; the text is the log line. */
export class StartEnded extends Error {
  override readonly name = 'StartEnded';
  readonly exitCode: 0 | 1;

  constructor(message: string, exitCode: 0 | 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

const ENDING: readonly string[] = ['SIGTERM', 'SIGINT', 'SIGQUIT'];

/**
 * The signals while the process starts: none kills it, for there may be something to undo. Those that end it end the
 * start, with a failure where it is a takeover (source: contract, §3), as long as it can be undone; all the others wait
 * until it is up.
 */
export class StartSignals {
  readonly #isTakeover: boolean;
  readonly #source: EventEmitter;
  readonly #listeners = new Map<string, () => void>();
  readonly #controller = new AbortController();
  readonly #waiting: string[] = [];

  constructor(isTakeover: boolean, source: EventEmitter = process) {
    this.#isTakeover = isTakeover;
    this.#source = source;
    for (const signal of [...ENDING, 'SIGHUP', 'SIGUSR1', 'SIGUSR2']) {
      const listener = (): void => {
        this.#waiting.push(signal);
        if (ENDING.includes(signal)) this.#controller.abort(startEnded(signal, isTakeover));
      };
      this.#listeners.set(signal, listener);
      source.on(signal, listener);
    }
  }

  /** Aborted, with a {@link StartEnded}, by the first signal that ends the start. */
  get ended(): AbortSignal {
    return this.#controller.signal;
  }

  /**
   * The process is up: signals are for these from here on, beginning with those that have come already. But whoever wanted
   * to end a takeover wanted the old process to go on: with that leaving, this one must not leave, too.
   */
  handOver(handlers: SignalHandlers, log: Logger): void {
    installSignals(handlers, log, this.#source);
    for (const [signal, listener] of this.#listeners) this.#source.off(signal, listener);
    for (const signal of this.#waiting) {
      if (this.#isTakeover && ENDING.includes(signal))
        log.log(
          'WARNING',
          `got ${signal} too late: the old process has been told to leave, so this one serves`,
        );
      else this.#source.emit(signal);
    }
  }
}

function startEnded(signal: string, isTakeover: boolean): StartEnded {
  if (signal === 'SIGQUIT') return new StartEnded('got SIGQUIT, fast exit', 0);
  return isTakeover
    ? new StartEnded(`got ${signal} while taking over, exiting`, 1)
    : new StartEnded(`got ${signal} while starting, exiting`, 0);
}

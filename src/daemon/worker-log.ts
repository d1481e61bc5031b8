import type { Logger, LogLevel } from '../base/log.ts';

const ALWAYS: readonly LogLevel[] = ['FATAL', 'ERROR', 'WARNING', 'LOG'];

/** The log of a thread that has none of its own: its lines go to the main thread, those of a turn of the event loop together. */
export class WorkerLog implements Logger {
  readonly #send: (lines: readonly (readonly [LogLevel, string])[]) => void;
  #levels: ReadonlySet<LogLevel>;
  #lines: (readonly [LogLevel, string])[] = [];

  /** `levels`: those below LOG that are written. */
  constructor(levels: readonly LogLevel[], send: (lines: readonly (readonly [LogLevel, string])[]) => void) {
    this.#send = send;
    this.#levels = new Set([...ALWAYS, ...levels]);
  }

  configure(levels: readonly LogLevel[]): void {
    this.#levels = new Set([...ALWAYS, ...levels]);
  }

  enabled(level: LogLevel): boolean {
    return this.#levels.has(level);
  }

  log(level: LogLevel, message: string): void {
    if (!this.#levels.has(level)) return;
    this.#lines.push([level, message]);
    if (this.#lines.length === 1) setImmediate(() => this.flush());
  }

  /** Sends what there is now. */
  flush(): void {
    const lines = this.#lines;
    this.#lines = [];
    if (lines.length > 0) this.#send(lines);
  }
}

/** The levels below LOG that a log writes. */
export function levelsOf(log: Logger): LogLevel[] {
  return (['DEBUG', 'NOISE'] as const).filter((level) => log.enabled(level));
}

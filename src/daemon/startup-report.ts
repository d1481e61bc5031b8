import { closeSync, writeSync } from 'node:fs';
import type { LogLevel } from '../base/log.ts';
import { LineSink } from './line-sink.ts';

/** What keeps a start from being a quiet one; the rest is for the log alone. */
const REPORTED: readonly LogLevel[] = ['FATAL', 'ERROR', 'WARNING'];

/**
 * The way from a process that `-d` has started to whoever waits for its start: warnings and errors as lines, then a
 * NUL when all went well. It ends with the process, or by {@link StartupReport.started}.
 */
export class StartupReport {
  readonly #sink: LineSink;
  #fd: number;

  /** `fd` is a pipe, and ours from here on. */
  constructor(fd: number) {
    this.#fd = fd;
    this.#sink = new LineSink(fd);
  }

  line(level: LogLevel, line: string): void {
    if (this.#fd >= 0 && REPORTED.includes(level)) this.#sink.write(line);
  }

  /** The start has succeeded. Never throws: nobody may be waiting any more. */
  started(): void {
    const fd = this.#fd;
    if (fd < 0) return;
    this.#fd = -1;
    try {
      writeSync(fd, '\0');
    } catch {
      // Whoever waited has left.
    }
    closeSync(fd);
  }
}

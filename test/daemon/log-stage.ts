import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import { DaemonLog, type LogEnvironment, type LogSettings } from '../../src/daemon/log.ts';
import { ManualClock } from '../support/manual-clock.ts';

/** A folder for each test of the file that makes one of these, with a log whose stderr is a file in it. */
export class LogStage {
  readonly #usual: LogSettings;
  #dir = '';
  #stderrFd = -1;
  #log: DaemonLog | null = null;

  constructor(usual: LogSettings) {
    this.#usual = usual;
    beforeEach(() => {
      this.#dir = mkdtempSync(join(tmpdir(), 'pgweir-log-'));
      this.#stderrFd = openSync(this.path('stderr'), 'a');
      this.#log = null;
    });
    afterEach(() => {
      this.#log?.close();
      closeSync(this.#stderrFd);
      rmSync(this.#dir, { recursive: true, force: true });
    });
  }

  get stderrFd(): number {
    return this.#stderrFd;
  }

  /** The one that was opened last. */
  get log(): DaemonLog {
    if (this.#log === null) throw new Error('no log is open');
    return this.#log;
  }

  /** Of a file in the folder. */
  path(name: string): string {
    return join(this.#dir, name);
  }

  /** The log is closed with the test. */
  open(settings: Partial<LogSettings> = {}, environment: LogEnvironment = {}): DaemonLog {
    this.#log = new DaemonLog(
      { ...this.#usual, ...settings },
      { clock: new ManualClock(), pid: 99, stderrFd: this.#stderrFd, ...environment },
    );
    return this.#log;
  }

  /** The lines of a file in the folder, less the time stamps in front. */
  lines(name: string): string[] {
    return readFileSync(this.path(name), 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((line) => line.replace(/^.*? \[/, '['));
  }
}

import { closeSync, constants, openSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { pino, symbols } from 'pino';
import { type Clock, SystemClock } from '../base/clock.ts';
import type { Logger, LogLevel } from '../base/log.ts';
import type { OpenDatagram } from '../net/native-datagram.ts';
import { LineSink } from './line-sink.ts';
import { LineFormatter } from './log-line.ts';
import type { StartupReport } from './startup-report.ts';
import { Journal, severityPrefix, Syslog, type SyslogSettings } from './system-log.ts';

/** `pgbouncer` is PgBouncer's line form, `json` one object per line with `level`, `time`, `pid` and `msg`. */
export type LogFormat = 'pgbouncer' | 'json';

/** Where lines go and which. Source: PgBouncer's logfile, syslog, verbose and option -q; our own log_format. */
export interface LogSettings {
  /** Appended to; empty for none. */
  readonly logfile: string;
  /** True keeps lines from stderr. */
  readonly quiet: boolean;
  /** 0 shows everything up to LOG, 1 adds DEBUG, 2 and above NOISE. */
  readonly verbose: number;
  readonly format: LogFormat;
  /** Lines go to syslog, too. */
  readonly syslog?: SyslogSettings | null;
  /** Our name in the journal. */
  readonly journalIdent?: string;
}

/** The logfile could not be opened. At start the daemon reports the text and exits with 1. */
export class LogfileError extends Error {
  override readonly name = 'LogfileError';
}

/** Stand-ins for what the process gives, for tests. */
export interface LogEnvironment {
  readonly clock?: Clock;
  readonly pid?: number;
  readonly stderrFd?: number;
  /** Where errors of the start go, too. */
  readonly startup?: StartupReport | null;
  /** The way to syslog and the journal; none when left out. */
  readonly datagram?: OpenDatagram;
  /** Address of the journal, when stderr leads there: it is written to directly, with levels. Null when it doesn't. */
  readonly journal?: string | null;
}

interface LogFile {
  readonly fd: number;
  readonly path: string;
  readonly sink: LineSink;
}

const LEVELS: Readonly<Record<LogLevel, number>> = {
  FATAL: 60,
  ERROR: 50,
  WARNING: 40,
  LOG: 30,
  DEBUG: 20,
  NOISE: 10,
};

function levelFor(verbose: number): LogLevel {
  if (verbose <= 0) return 'LOG';
  return verbose === 1 ? 'DEBUG' : 'NOISE';
}

/**
 * The daemon's log. Every line goes to the logfile and to stderr at once, unbuffered, so that nothing is lost
 * when the process ends. After the constructor nothing throws: a full disk or a stuck reader costs lines, and the
 * logfile tells how many when it can be written to again.
 */
export class DaemonLog implements Logger {
  readonly #clock: Clock;
  readonly #formatter: LineFormatter;
  readonly #stderr: LineSink;
  readonly #pino;
  readonly #startup: StartupReport | null;
  readonly #datagram: OpenDatagram;
  readonly #journal: Journal | null;
  readonly #pid: number;
  #syslog: Syslog | null = null;
  /** Ways that have failed, and the warning is out. */
  readonly #isDown = new Set<'syslog' | 'journal'>();
  #settings: LogSettings;
  #file: LogFile | null = null;
  /** Lines that are missing in the logfile, and it doesn't say so yet. */
  #lost = 0;
  #level: LogLevel = 'LOG';
  #wallMs = 0;

  /** @throws LogfileError when the logfile cannot be opened. */
  constructor(settings: LogSettings, environment: LogEnvironment = {}) {
    const pid = environment.pid ?? process.pid;
    this.#clock = environment.clock ?? new SystemClock();
    this.#formatter = new LineFormatter(pid);
    this.#stderr = new LineSink(environment.stderrFd ?? 2);
    this.#startup = environment.startup ?? null;
    this.#datagram = environment.datagram ?? (() => null);
    const { journal = null } = environment;
    this.#journal = journal === null ? null : new Journal(journal, this.#datagram);
    this.#pid = pid;
    this.#settings = settings;
    // pino hands a destination with this symbol the message beside the JSON text: no parsing it back.
    const destination = {
      [symbols.needsMetadataGsym]: true as const,
      lastLevel: 0,
      lastTime: '',
      lastMsg: '',
      lastObj: {},
      write: (json: string) => this.#write(json, destination.lastMsg),
    };
    this.#pino = pino(
      {
        level: 'LOG',
        customLevels: LEVELS,
        useOnlyCustomLevels: true,
        base: { pid },
        formatters: { level: (label) => ({ level: label }) },
        timestamp: () => `,"time":"${new Date(this.#wallMs).toISOString()}"`,
      },
      destination,
    );
    // Not as an option above: pino would take DEBUG for its own `debug` there, which does not exist.
    this.#pino.level = levelFor(settings.verbose);
    if (settings.logfile !== '') this.#openFile(settings.logfile);
    this.#openSyslog();
  }

  enabled(level: LogLevel): boolean {
    return this.#pino.isLevelEnabled(level);
  }

  log(level: LogLevel, message: string): void {
    if (!this.enabled(level)) return;
    this.#level = level;
    this.#wallMs = this.#clock.wallMs();
    if (this.#settings.format === 'json') this.#pino[level](message);
    else this.#write(this.#formatter.format(this.#wallMs, level, message), message);
  }

  /** Takes over new settings, and opens the logfile anew. */
  configure(settings: LogSettings): void {
    this.#settings = settings;
    this.#pino.level = levelFor(settings.verbose);
    this.#openSyslog();
    this.reopen();
  }

  /**
   * Opens the logfile anew, for RELOAD and SIGHUP after a log rotation has moved the old one away. One that cannot be
   * opened is a warning; lines go on to the old one.
   */
  reopen(): void {
    const path = this.#settings.logfile;
    if (path === '') {
      this.#closeFile();
      return;
    }
    try {
      this.#openFile(path);
    } catch (error) {
      const suffix = this.#file === null ? '' : `, still writing to the old one (${this.#file.path})`;
      this.log('WARNING', `${error instanceof Error ? error.message : String(error)}${suffix}`);
    }
  }

  /** Closes logfile and syslog; lines after that go to stderr alone. */
  close(): void {
    this.#closeFile();
    this.#syslog?.close();
    this.#syslog = null;
    this.#journal?.close();
  }

  #write(line: string, message: string): void {
    const level = this.#level;
    const { quiet } = this.#settings;
    const lost = this.#toFile(line);
    if (!quiet) this.#toStderr(level, line, message);
    this.#startup?.line(level, line);
    this.#toSyslog(level, line, message);
    if (lost > 0) this.log('WARNING', `${lost} lines are missing here, which could not be written`);
  }

  /** How many lines before this one, which is written, are missing: to be said once. */
  #toFile(line: string): number {
    if (this.#file === null) return 0;
    if (!this.#file.sink.write(line)) {
      this.#lost++;
      return 0;
    }
    const lost = this.#lost;
    this.#lost = 0;
    return lost;
  }

  #toStderr(level: LogLevel, line: string, message: string): void {
    if (this.#journal === null) {
      this.#stderr.write(line);
      return;
    }
    const trouble = this.#journal.write(level, message, this.#settings.journalIdent ?? 'pgbouncer');
    if (trouble !== null) this.#stderr.write(severityPrefix(level) + line);
    this.#note('journal', trouble);
  }

  #toSyslog(level: LogLevel, line: string, message: string): void {
    if (this.#syslog?.takes(level) !== true) return;
    const trouble = this.#syslog.write(this.#wallMs, level, message);
    // Of those that are not quiet it has got there already.
    if (trouble !== null && this.#settings.quiet) this.#stderr.write(line);
    this.#note('syslog', trouble);
  }

  /** Says once that lines cannot go their way, until they can again. */
  #note(way: 'syslog' | 'journal', trouble: string | null): void {
    if (trouble === null) {
      this.#isDown.delete(way);
      return;
    }
    if (this.#isDown.has(way)) return;
    this.#isDown.add(way);
    this.log('WARNING', `cannot write to the ${way} (${trouble}), its lines go to stderr`);
  }

  #openSyslog(): void {
    const wanted = this.#settings.syslog ?? null;
    if (isDeepStrictEqual(wanted, this.#syslog?.settings ?? null)) return;
    this.#syslog?.close();
    this.#syslog = wanted === null ? null : new Syslog(wanted, this.#pid, this.#datagram);
    this.#isDown.delete('syslog');
  }

  #openFile(path: string): void {
    let fd: number;
    try {
      // A FIFO that nobody reads, or not fast enough, is not waited for.
      fd = openSync(
        path,
        constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK,
        0o644,
      );
    } catch (error) {
      throw new LogfileError(`could not open logfile: ${(error as Error).message}`, { cause: error });
    }
    const old = this.#file;
    this.#file = { fd, path, sink: new LineSink(fd) };
    this.#close(old);
  }

  #closeFile(): void {
    const old = this.#file;
    this.#file = null;
    this.#close(old);
  }

  /** One that is not written to any more: its number is free, and may soon be a client's, however this goes. */
  #close(file: LogFile | null): void {
    if (file === null) return;
    try {
      closeSync(file.fd);
    } catch (error) {
      // Some file systems say so late that they have not taken a line.
      this.log('WARNING', `lines may be missing in ${file.path}: ${(error as Error).message}`);
    }
  }
}

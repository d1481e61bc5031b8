import type { Config } from '../config/config.ts';
import type { Native } from '../net/native.ts';
import type { LogEnvironment, LogSettings } from './log.ts';
import { isJournalStream, JOURNAL_SOCKET } from './system-log.ts';

/** What the command line says about the log. */
export interface LogOptions {
  /** `-q` or `-d`: no log on stderr. */
  readonly quiet: boolean;
  /** How often `-v` was given. */
  readonly verbose: number;
}

/** The log as configuration and command line want it. */
export function logSettings({ settings, own }: Config, options: LogOptions): LogSettings {
  const { logfile, verbose, syslog, syslog_ident: ident, syslog_facility: facility } = settings;
  return {
    logfile,
    quiet: options.quiet,
    verbose: options.verbose + (verbose ?? 0),
    format: own.log_format,
    syslog: syslog ? { ident, facility, socket: own.syslog_socket } : null,
    journalIdent: ident,
  };
}

/** How the log reaches the system's own. */
export function logWays({ datagram }: Native): LogEnvironment {
  const journal = isJournalStream(process.env['JOURNAL_STREAM'], 2) ? JOURNAL_SOCKET : null;
  return { datagram, journal };
}

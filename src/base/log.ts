/**
 * The logger as the layers below the daemon see it. Texts follow PgBouncer's wording; the daemon decides the
 * line format and where it goes. Guard expensive texts with `enabled`.
 */
export type LogLevel = 'FATAL' | 'ERROR' | 'WARNING' | 'LOG' | 'DEBUG' | 'NOISE';

export interface Logger {
  enabled(level: LogLevel): boolean;
  /** Writes one line. `message` never holds a password, key or SCRAM secret. */
  log(level: LogLevel, message: string): void;
}

/** Drops everything; for tests and for parts that run before the log is open. */
export const silentLogger: Logger = { enabled: () => false, log: () => {} };

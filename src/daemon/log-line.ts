import { LocalTime } from '../base/local-time.ts';
import type { LogLevel } from '../base/log.ts';

/**
 * What a terminal obeys or a viewer may break a line at: C0 controls but newline and tab, DEL, C1 controls, the
 * Unicode line separators and the marks that reverse the direction of text.
 */
const UNSAFE = /[^\t\n\x20-\x7e\u00a0-\u2027\u202f-\u2065\u206a-\uffff]/;
const UNSAFE_ALL = new RegExp(UNSAFE.source, 'g');

/**
 * Makes a message safe to stand in a log. Texts hold names and errors that come from the network: a newline
 * becomes newline+tab, so that what follows can't pass for a line of its own, and other control characters are
 * written as `\xNN` or `\uNNNN`.
 */
export function sanitizeMessage(message: string): string {
  const safe = UNSAFE.test(message) ? message.replace(UNSAFE_ALL, escapeControl) : message;
  return safe.includes('\n') ? safe.replaceAll('\n', '\n\t') : safe;
}

function escapeControl(character: string): string {
  const hex = character.charCodeAt(0).toString(16);
  return hex.length <= 2 ? `\\x${hex.padStart(2, '0')}` : `\\u${hex.padStart(4, '0')}`;
}

/** Builds log lines `YYYY-MM-DD HH:MM:SS.mmm TZ [pid] LEVEL message\n` in the process's time zone. */
export class LineFormatter {
  readonly #localTime = new LocalTime();
  readonly #pid: number;

  constructor(pid: number) {
    this.#pid = pid;
  }

  /** `wallMs` is milliseconds since the Unix epoch; `message` as it came, it is sanitized here. */
  format(wallMs: number, level: LogLevel, message: string): string {
    return `${this.#localTime.millis(wallMs)} [${this.#pid}] ${level} ${sanitizeMessage(message)}\n`;
  }
}

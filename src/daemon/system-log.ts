/**
 * The system's own logs, as datagrams: syslog (RFC 3164, as `/dev/log` takes it) and systemd's journal in its native
 * form. Both say whether a line got through, so that the log can take another way where it did not.
 */
import { fstatSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import type { LogLevel } from '../base/log.ts';
import type { DatagramSender, OpenDatagram } from '../net/native-datagram.ts';
import { sanitizeMessage } from './log-line.ts';

/** What the system's logs call each level. DEBUG and NOISE are the same to them. */
const SEVERITY: Readonly<Record<LogLevel, number>> = {
  FATAL: 2,
  ERROR: 3,
  WARNING: 4,
  LOG: 6,
  DEBUG: 7,
  NOISE: 7,
};

/** Source: contract, §1.4. */
const FACILITY: ReadonlyMap<string, number> = new Map([
  ['auth', 4],
  ['authpriv', 10],
  ['daemon', 3],
  ['user', 1],
  ...Array.from({ length: 8 }, (_, index): [string, number] => [`local${index}`, 16 + index]),
]);

/** Longer messages are cut: a datagram has to fit into a socket's buffer, which may be small. */
const MAX_MESSAGE_BYTES = 48 * 1024;

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');

/** Source: PgBouncer's syslog, syslog_ident, syslog_facility; our own syslog_socket. */
export interface SyslogSettings {
  readonly ident: string;
  /** A facility that does not exist means `daemon`. */
  readonly facility: string;
  readonly socket: string;
}

/** What is wrong with a way to the system's log, in a few words. */
export type Trouble = string | null;

/** The way to one address. Where it cannot be opened, for want of descriptors say, each line tries again. */
class Way {
  #open: () => DatagramSender | null;
  #sender: DatagramSender | null;

  constructor(address: string, open: OpenDatagram) {
    this.#open = () => open(address);
    this.#sender = this.#open();
  }

  /** Null when the system has taken it. */
  send(bytes: Buffer): Trouble {
    this.#sender ??= this.#open();
    if (this.#sender === null) return 'not possible on this system';
    const code = this.#sender.send(bytes);
    if (code === 0) return null;
    return getSystemErrorMap().get(-code)?.[1] ?? `error ${code}`;
  }

  close(): void {
    this.#open = () => null;
    this.#sender?.close();
    this.#sender = null;
  }
}

/** Lines for syslog. */
export class Syslog {
  readonly settings: SyslogSettings;
  readonly #pid: number;
  readonly #way: Way;

  constructor(settings: SyslogSettings, pid: number, open: OpenDatagram) {
    this.settings = settings;
    this.#pid = pid;
    this.#way = new Way(settings.socket, open);
  }

  /** PgBouncer's syslog gets no debugging. */
  takes(level: LogLevel): boolean {
    return SEVERITY[level] <= SEVERITY.LOG;
  }

  /** Null when the system has taken the line. */
  write(wallMs: number, level: LogLevel, message: string): Trouble {
    const { ident, facility } = this.settings;
    const priority = (FACILITY.get(facility.toLowerCase()) ?? 3) * 8 + SEVERITY[level];
    // One line is one datagram; what follows a newline would pass for another line.
    const text = sanitizeMessage(message).replaceAll('\n\t', ' ');
    const head = `<${priority}>${timestamp(new Date(wallMs))} ${ident}[${this.#pid}]: `;
    return this.#way.send(Buffer.concat([Buffer.from(head), cut(text)]));
  }

  close(): void {
    this.#way.close();
  }
}

/** Where systemd's journal listens. */
export const JOURNAL_SOCKET = '/run/systemd/journal/socket';

/** Lines for systemd's journal. Source: systemd's page `JOURNAL_NATIVE_PROTOCOL`. */
export class Journal {
  readonly #way: Way;

  constructor(socket: string, open: OpenDatagram) {
    this.#way = new Way(socket, open);
  }

  /** Null when the journal has taken the line. */
  write(level: LogLevel, message: string, ident: string): Trouble {
    const text = cut(sanitizeMessage(message));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    const fields = `PRIORITY=${SEVERITY[level]}\nSYSLOG_IDENTIFIER=${ident.replaceAll('\n', ' ')}\nMESSAGE\n`;
    return this.#way.send(Buffer.concat([Buffer.from(fields), length, text, Buffer.from('\n')]));
  }

  close(): void {
    this.#way.close();
  }
}

/** How a line begins on a stderr that the journal reads, so that it knows the level. Source: `sd-daemon`. */
export function severityPrefix(level: LogLevel): string {
  return `<${SEVERITY[level]}>`;
}

/** Whether this descriptor is the one that systemd has connected to its journal. Source: `JOURNAL_STREAM`. */
export function isJournalStream(value: string | undefined, fd: number): boolean {
  const [, device, inode] = /^(\d+):(\d+)$/.exec(value ?? '') ?? [];
  if (device === undefined || inode === undefined) return false;
  try {
    const stat = fstatSync(fd, { bigint: true });
    return stat.dev === BigInt(device) && stat.ino === BigInt(inode);
  } catch {
    return false;
  }
}

/** `Nov  6 09:05:03`, local time. */
function timestamp(date: Date): string {
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
  return `${MONTHS[date.getMonth()]} ${String(date.getDate()).padStart(2)} ${time}`;
}

function cut(text: string): Buffer {
  const bytes = Buffer.from(text);
  return bytes.length <= MAX_MESSAGE_BYTES ? bytes : bytes.subarray(0, MAX_MESSAGE_BYTES);
}

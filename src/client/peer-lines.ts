import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';

/** So many failed logins of one peer are logged in each {@link WINDOW_MS}. */
export const FAILURES_LOGGED = 20;
const WINDOW_MS = 60_000;

/** Peers that are told apart; the others share what one may write. */
const MAX_PEERS = 10_000;
const OTHERS = 'other addresses';

interface PeerRecord {
  readonly sinceMs: number;
  failures: number;
  /** Lines that were not written. */
  suppressed: number;
}

/**
 * Keeps the log from being flooded by connections that do not log in: of one peer's failures the first of a minute are
 * logged in full, of the rest how many lines they would have been. What a peer writes that logs in counts for nothing.
 */
export class PeerLines {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #records = new Map<string, PeerRecord>();

  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Whether a line about a connection of `peer` that has not logged in is to be written; it is counted if not. */
  mayWrite(peer: string): boolean {
    const record = this.#records.get(peer) ?? (this.#isFull ? this.#records.get(OTHERS) : undefined);
    if (record === undefined || record.failures < FAILURES_LOGGED) return true;
    record.suppressed++;
    return false;
  }

  /** A connection of `peer` about which something was to be written has ended without a login. */
  failed(peer: string): void {
    const known = this.#records.get(peer);
    const name = known === undefined && this.#isFull ? OTHERS : peer;
    const record = known ?? this.#records.get(name) ?? this.#begin(name);
    record.failures++;
  }

  /** Says what was left out, and forgets. */
  sweep(nowMs: number): void {
    for (const [peer, record] of this.#records) {
      // The first ones have begun first.
      if (nowMs - record.sinceMs < WINDOW_MS) return;
      this.#records.delete(peer);
      if (record.suppressed === 0) continue;
      const text = `${record.suppressed} more lines about failed logins from ${peer} suppressed`;
      this.#log.log('WARNING', text);
    }
  }

  get #isFull(): boolean {
    return this.#records.size >= MAX_PEERS;
  }

  #begin(peer: string): PeerRecord {
    const record = { sinceMs: this.#clock.nowMs(), failures: 0, suppressed: 0 };
    this.#records.set(peer, record);
    return record;
  }
}

import type { Clock } from '../base/clock.ts';
import type { ServerAddress } from './target.ts';

/** How long a server is asked for nothing newer after it turned out to take nothing newer. */
const REMEMBERED_MS = 3600 * 1000;

/**
 * Which version of the protocol a server is asked for: the newest allowed, or 3.0 where the newest is known not to be
 * taken. PostgreSQL before 9.3.21 and some proxies refuse what is newer than 3.0 instead of negotiating; others answer
 * it in ways that make no sense. Source: manual, `protocol-versions`.
 */
export class ServerProtocols {
  readonly #clock: Clock;
  readonly #newestMinor: () => number;
  /** By host and port: until when nothing newer than 3.0 is tried. Monotonic ms. */
  readonly #oldUntilMs = new Map<string, number>();

  /** `newestMinor` is asked for each connection. */
  constructor(clock: Clock, newestMinor: () => number) {
    this.#clock = clock;
    this.#newestMinor = newestMinor;
  }

  /** The minor version of protocol 3 to ask for. */
  minorFor(address: ServerAddress): number {
    const untilMs = this.#oldUntilMs.get(keyOf(address));
    if (untilMs === undefined) return this.#newestMinor();
    if (this.#clock.nowMs() < untilMs) return 0;
    this.#oldUntilMs.delete(keyOf(address));
    return this.#newestMinor();
  }

  /** The server takes 3.0, after it didn't take what is newer. */
  takesOnlyOldest(address: ServerAddress): void {
    this.#oldUntilMs.set(keyOf(address), this.#clock.nowMs() + REMEMBERED_MS);
  }
}

function keyOf({ host, port }: ServerAddress): string {
  return `${host}:${port}`;
}

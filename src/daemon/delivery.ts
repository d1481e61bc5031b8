import type { Native } from '../net/native.ts';
import { ConnectionRing, type GivenConnection } from './connection-ring.ts';

/** When to try again where a worker has so many connections to take that its ring is full. */
const FULL_RING_MS = 10;

/** What a worker is woken by. */
export type Bells = Pick<Native, 'newBell' | 'ringBell' | 'closeFd'>;

/** The main thread's side of the connections that it gives to one worker, for that one's life. */
export class Delivery {
  readonly #bells: Bells;
  readonly #ring = new ConnectionRing();
  /** For which there was no room. */
  #overflow: GivenConnection[] = [];
  #tellsSoon: NodeJS.Timeout | null = null;
  readonly bell: number;
  /** Tells the worker otherwise that there are connections; null: it hears its bell. */
  tell: (() => void) | null = null;

  private constructor(bells: Bells, bell: number) {
    this.#bells = bells;
    this.bell = bell;
  }

  /** Null when there is no descriptor left for its bell. */
  static open(bells: Bells): Delivery | null {
    const bell = bells.newBell();
    return bell === null ? null : new Delivery(bells, bell);
  }

  get memory(): SharedArrayBuffer {
    return this.#ring.memory;
  }

  /** How many there were ever; 32 bits. */
  get count(): number {
    return (this.#ring.putCount + this.#overflow.length) | 0;
  }

  give(connection: GivenConnection): void {
    this.#overflow.push(connection);
    this.#put();
  }

  /** The worker has ended: those that it has not taken, for another one. */
  end(): GivenConnection[] {
    if (this.#tellsSoon !== null) clearTimeout(this.#tellsSoon);
    this.#bells.closeFd(this.bell);
    const untaken: GivenConnection[] = [];
    for (let next = this.#ring.take(); next !== null; next = this.#ring.take()) untaken.push(next);
    return [...untaken, ...this.#overflow.splice(0)];
  }

  #put(): void {
    const overflow = this.#overflow;
    let count = 0;
    while (count < overflow.length && this.#ring.put(overflow[count] as GivenConnection)) count++;
    overflow.splice(0, count);
    if (count > 0 && this.#ring.mustWake()) {
      if (this.tell === null) this.#bells.ringBell(this.bell);
      else this.tell();
    }
    if (overflow.length === 0 || this.#tellsSoon !== null) return;
    this.#tellsSoon = setTimeout(() => {
      this.#tellsSoon = null;
      this.#put();
    }, FULL_RING_MS).unref();
  }
}

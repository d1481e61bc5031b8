/** Lets so many do something at a time, and the others after them, first come, first served. */
export class Turns {
  readonly #most: number;
  readonly #mostWaiting: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  /** `mostWaiting`: whoever asks {@link isFull} is told by it; default: any number. */
  constructor(most: number, mostWaiting = Number.POSITIVE_INFINITY) {
    this.#most = most;
    this.#mostWaiting = mostWaiting;
  }

  /** As many wait as may. */
  get isFull(): boolean {
    return this.#waiting.length >= this.#mostWaiting;
  }

  /** What `work` comes to, once its turn has come. */
  async take<T>(work: () => T | Promise<T>): Promise<T> {
    if (this.#running >= this.#most) await new Promise<void>((turn) => this.#waiting.push(turn));
    else this.#running++;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}

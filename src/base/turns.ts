/** What is done in turn. */
export interface Turn<T> {
  /** For whom: whoever waits for more than one thing has others served in between. Default: all are one. */
  readonly party?: string;
  /** Asked while it waits, and once more when its turn has come: what nobody wants any more is left out. */
  isWanted(): boolean;
  work(): T | Promise<T>;
  /** What it comes to then. */
  unwanted(): T;
}

interface Waiting {
  isWanted(): boolean;
  /** Whether its turn has come; false: it is left out. */
  go(hasTurn: boolean): void;
}

/** Lets so many do something at a time, and the others after them: one party after the other, of each first come, first served. */
export class Turns {
  readonly #most: number;
  /** By party; whose turn comes next stands first. */
  readonly #waiting = new Map<string, Waiting[]>();
  #running = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** What `turn` comes to, once that is there. */
  async take<T>(turn: Turn<T>): Promise<T> {
    if (this.#running >= this.#most) {
      const isWanted = (): boolean => turn.isWanted();
      const hasTurn = await new Promise<boolean>((go) => this.#wait(turn.party ?? '', { isWanted, go }));
      if (!hasTurn) return turn.unwanted();
    } else {
      this.#running++;
    }
    try {
      return await (turn.isWanted() ? turn.work() : turn.unwanted());
    } finally {
      const next = this.#next();
      if (next === null) this.#running--;
      else next.go(true);
    }
  }

  /** Called a few times a second: what waits for nobody goes. */
  sweep(): void {
    for (const [party, list] of this.#waiting) {
      for (const waiting of list.splice(0)) {
        if (waiting.isWanted()) list.push(waiting);
        else waiting.go(false);
      }
      if (list.length === 0) this.#waiting.delete(party);
    }
  }

  #wait(party: string, waiting: Waiting): void {
    const list = this.#waiting.get(party);
    if (list === undefined) this.#waiting.set(party, [waiting]);
    else list.push(waiting);
  }

  #next(): Waiting | null {
    for (const [party, list] of this.#waiting) {
      this.#waiting.delete(party);
      const next = list.shift();
      if (next === undefined) continue;
      if (list.length > 0) this.#waiting.set(party, list);
      return next;
    }
    return null;
  }
}

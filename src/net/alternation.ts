/** How often it is believed before the set is asked again: it may have others that are ready, too. */
const GUESSES = 7;

/** How often two must have taken turns. */
const PROVEN = 2;

/** How often it must have been one and the same: whoever logs in says some things in a row, and then it is its server's turn. */
const PROVEN_ALONE = 6;

/**
 * Two connections that take turns, one at a time: a lone client and its server; or one that says a great deal. Whose turn
 * it will be need not be asked of the set, which costs as much as the read that shows it.
 */
export class Alternation {
  #last = 0;
  #other = 0;
  #otherFd = -1;
  #lastFd = -1;
  #streak = 0;
  #left = GUESSES;

  /** The descriptor whose turn it should be; -1: ask the set. */
  next(): number {
    if (this.#streak < (this.#other === this.#last ? PROVEN_ALONE : PROVEN)) return -1;
    if (this.#left === 0) {
      this.#left = GUESSES;
      return -1;
    }
    this.#left--;
    return this.#otherFd;
  }

  /** Of the registration that {@link next} speaks of. */
  get token(): number {
    return this.#other;
  }

  /** An event has come alone, or what {@link next} said was right. Tokens are of one registration each. */
  told(fd: number, token: number): void {
    this.#streak = token === this.#other ? this.#streak + 1 : 0;
    this.#other = this.#last;
    this.#otherFd = this.#lastFd;
    this.#last = token;
    this.#lastFd = fd;
  }

  /** Nobody takes turns now. */
  end(): void {
    this.#streak = 0;
  }
}

/** Which other owners are to be rung, once the lock is free that they were noted under. */
export class Rings {
  readonly #me: number;
  readonly #owners: number;
  readonly #ring: (owner: number) => void;
  readonly #noted = new Set<number>();

  /** `owners`: how many there are; `ring`: has that owner's thread call `rung()`. */
  constructor(me: number, owners: number, ring: (owner: number) => void) {
    this.#me = me;
    this.#owners = owners;
    this.#ring = ring;
  }

  /** Under the lock. */
  readonly note = (owner: number): void => {
    if (owner !== this.#me) this.#noted.add(owner);
  };

  get areThere(): boolean {
    return this.#noted.size > 0;
  }

  ringAll(): void {
    // The next one first, so that none is behind the same others each time.
    const turn = (owner: number): number => owner + (owner < this.#me ? this.#owners : 0);
    const noted = [...this.#noted].sort((a, b) => turn(a) - turn(b));
    this.#noted.clear();
    for (const owner of noted) this.#ring(owner);
  }
}

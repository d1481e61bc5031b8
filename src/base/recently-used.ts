/** A map of bounded size: once it is full, the entry that was used longest ago goes. */
export class RecentlyUsed<V> {
  readonly #capacity: number;
  /** Insertion order is order of use: a hit is taken out and put back at the end. */
  readonly #entries = new Map<string, V>();

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): V | undefined {
    const value = this.#entries.get(key);
    if (value !== undefined) {
      this.#entries.delete(key);
      this.#entries.set(key, value);
    }
    return value;
  }

  set(key: string, value: V): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#capacity) return;
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest);
      return;
    }
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }

  /** Replaces or drops the entry only if it still is `expected`. */
  settle(key: string, expected: V, value: V | null): void {
    if (this.#entries.get(key) !== expected) return;
    if (value === null) this.#entries.delete(key);
    else this.#entries.set(key, value);
  }
}

const NOTHING = new Map<never, never>();
const NOBODY = new Set<never>();

/**
 * A map of which there are thousands and nearly all stay empty: an empty `Map` has a table of 232 bytes, and clearing
 * it makes another one. As `Map` in what it does.
 */
export class RareMap<K, V> {
  #map: Map<K, V> | null = null;

  get size(): number {
    return this.#map === null ? 0 : this.#map.size;
  }

  get(key: K): V | undefined {
    return this.#map === null ? undefined : this.#map.get(key);
  }

  has(key: K): boolean {
    return this.#map?.has(key) === true;
  }

  set(key: K, value: V): void {
    this.#map ??= new Map();
    this.#map.set(key, value);
  }

  delete(key: K): boolean {
    return this.#map?.delete(key) === true;
  }

  clear(): void {
    if (this.#map !== null && this.#map.size > 0) this.#map.clear();
  }

  keys(): MapIterator<K> {
    return (this.#map ?? NOTHING).keys();
  }

  values(): MapIterator<V> {
    return (this.#map ?? NOTHING).values();
  }

  entries(): MapIterator<[K, V]> {
    return (this.#map ?? NOTHING).entries();
  }

  [Symbol.iterator](): MapIterator<[K, V]> {
    return this.entries();
  }
}

/** As {@link RareMap}; the table of an empty `Set` has 128 bytes. */
export class RareSet<T> {
  #set: Set<T> | null = null;

  get size(): number {
    return this.#set === null ? 0 : this.#set.size;
  }

  has(value: T): boolean {
    return this.#set?.has(value) === true;
  }

  add(value: T): void {
    this.#set ??= new Set();
    this.#set.add(value);
  }

  delete(value: T): boolean {
    return this.#set?.delete(value) === true;
  }

  clear(): void {
    if (this.#set !== null && this.#set.size > 0) this.#set.clear();
  }

  [Symbol.iterator](): SetIterator<T> {
    return (this.#set ?? NOBODY).values();
  }
}

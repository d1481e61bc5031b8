import type { SharedSection } from '../base/shared-section.ts';
import type { KeyHash } from './budget-keys.ts';
import { type Layout, OWNER_WORDS } from './shared-memory.ts';

const STATE = 0;
const NUMBERS = 1;
/** For microseconds, two words each: see `meet`. */
const MET = 8;

/** How many times of `meet` an owner has. */
const MARKS = 16;

const VACANT = 0;
const JOINED = 1;
/** Dead, and being reclaimed. */
const LEAVING = 2;

/** What an owner tells all others of itself, and the place where it does. */
export const OWNER_NUMBERS = {
  /** Of the connections that it has taken over, how many are gone. */
  gone: 0,
  /** Server connections that it has given to others, taken from others, and closed so that another could open one. */
  sent: 1,
  received: 2,
  reopened: 3,
  /** CPU time that it has used, in hundredths of a second. */
  cpu: 4,
} as const;

const NAME = 'worker ';

/** How owners are called in asks and grants. */
export function ownerName(index: number): string {
  return `${NAME}${index}`;
}

/** Under which of an owner's times a limit is. */
export function markOf([word = 0]: KeyHash): number {
  return word & (MARKS - 1);
}

/** Who takes part in a shared budget. */
export class SharedOwners {
  readonly #section: SharedSection;
  readonly #layout: Layout;
  readonly #words: Int32Array;

  constructor(section: SharedSection, layout: Layout) {
    this.#section = section;
    this.#layout = layout;
    this.#words = layout.words;
  }

  /** Inside of a section. Throws when somebody else has this place, or a dead one that has not been reclaimed. */
  join(owner: number): void {
    const at = this.#at(owner) + STATE;
    if (this.#words[at] !== VACANT) throw new Error(`${ownerName(owner)} is there already`);
    this.#section.write(at, JOINED);
  }

  /** Inside of a section: nothing comes to it any more. */
  beginLeave(owner: number): void {
    this.#section.write(this.#at(owner) + STATE, LEAVING);
  }

  /** Inside of a section: its place may be taken. */
  endLeave(owner: number): void {
    this.#section.write(this.#at(owner) + STATE, VACANT);
    for (const number of Object.values(OWNER_NUMBERS)) this.publish(owner, number, 0);
  }

  isThere(owner: number): boolean {
    return Atomics.load(this.#words, this.#at(owner) + STATE) === JOINED;
  }

  get present(): number[] {
    const all = Array.from({ length: this.#layout.sizes.owners }, (_, owner) => owner);
    return all.filter((owner) => this.isThere(owner));
  }

  /** `value`: a whole number, of which 32 bits are kept. Only the owner does this. */
  publish(owner: number, number: number, value: number): void {
    Atomics.store(this.#words, this.#at(owner) + NUMBERS + number, value);
  }

  /** As a number with a sign. */
  published(owner: number, number: number): number {
    return Atomics.load(this.#words, this.#at(owner) + NUMBERS + number);
  }

  /**
   * What the owner has asked for by then, monotonic ms, is being made, within limits of that mark, see {@link markOf}.
   * Others do this, and what is later counts.
   */
  meet(owner: number, mark: number, askedMs: number): void {
    const { longs } = this.#layout;
    const at = (this.#at(owner) + MET) / 2 + mark;
    const asked = microseconds(askedMs);
    for (let met = Atomics.load(longs, at); met < asked; ) {
      const found = Atomics.compareExchange(longs, at, met, asked);
      if (found === met) return;
      met = found;
    }
  }

  /** Whether that is so of what it has asked for at that time. */
  isMet(owner: number, mark: number, askedMs: number): boolean {
    return Atomics.load(this.#layout.longs, (this.#at(owner) + MET) / 2 + mark) >= microseconds(askedMs);
  }

  #at(owner: number): number {
    return this.#layout.owners + owner * OWNER_WORDS;
  }
}

function microseconds(ms: number): bigint {
  return BigInt(Math.round(ms * 1000));
}

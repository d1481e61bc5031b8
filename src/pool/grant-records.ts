import type { SharedSection } from '../base/shared-section.ts';
import type { GrantKind } from './budget.ts';
import { type Layout, RECORD_WORDS } from './shared-memory.ts';
import { NONE, SharedCounts } from './shared-counts.ts';

// Words of a record.
const HELD = 0;
const COLUMN = 1;
/** How often the record was used: makes the grant's id one that no other has. */
const USE = 2;
/** Where it counts; NONE where it counts less often. */
const SLOTS = 3;
const SLOT_COUNT = 4;
/** Among free ones: index of the next one, plus 1. */
const NEXT = 7;
/** Who has given it away, plus 1, until it has arrived; 0 = it is where it belongs. */
const GIVER = 8;
/** A server that counts for limits and does not serve its pool's clients. */
const ASIDE = 9;

/** Kinds of records: all that is neither a server's nor a client's is a place's. */
export const RECORD_KINDS = ['server', 'client', 'place'] as const;
export type RecordKind = (typeof RECORD_KINDS)[number];

/** Servers' first, then clients', then places': of each the first free one, and how many were ever used. */
const FREE: Readonly<Record<RecordKind, number>> = { server: 0, client: 2, place: 4 };

const MAX_USE = 0x7fffffff;

/**
 * A record for each grant in use, in shared memory: who holds it and where it counts, so that it is given back once,
 * by whomever. The grant's id tells the record. Called inside of sections.
 */
export class GrantRecords {
  readonly #section: SharedSection;
  readonly #layout: Layout;
  readonly #words: Int32Array;
  readonly #counts: SharedCounts;

  constructor(section: SharedSection, layout: Layout, counts: SharedCounts) {
    this.#section = section;
    this.#layout = layout;
    this.#words = layout.words;
    this.#counts = counts;
  }

  /** Records of a kind that were ever in use: indices from `begin` up to but without `end`. */
  range(kind: RecordKind): { begin: number; end: number } {
    const { servers, clients } = this.#layout.sizes;
    const begin = kind === 'server' ? 0 : kind === 'client' ? servers : servers + clients;
    return { begin, end: begin + Atomics.load(this.#words, this.#layout.free + FREE[kind] + 1) };
  }

  hasRoom(kind: RecordKind): boolean {
    const { begin, end } = this.range(kind);
    return this.#words[this.#layout.free + FREE[kind]] !== 0 || end - begin < this.#layout.sizes[`${kind}s`];
  }

  /** A grant that counts in these slots, up to 3, a server's pool first, and as one of its kind: its id. There must be room. */
  add(kind: GrantKind, column: number, slots: readonly number[]): number {
    const section = this.#section;
    const recordKind = recordKindOf(kind);
    const free = this.#layout.free + FREE[recordKind];
    const freed = this.#words[free] as number;
    let record = freed - 1;
    if (freed !== 0) {
      section.write(free, this.#words[this.#at(record) + NEXT] as number);
    } else {
      record = this.range(recordKind).end;
      section.add(free + 1, 1);
    }
    const at = this.#at(record);
    section.write(at + HELD, 1);
    section.write(at + COLUMN, column);
    const use = this.#words[at + USE] === MAX_USE ? 1 : (this.#words[at + USE] as number) + 1;
    section.write(at + USE, use);
    for (const word of [GIVER, ASIDE]) if (this.#words[at + word] !== 0) section.write(at + word, 0);
    const all = [...slots, SharedCounts.all(kind)];
    for (let i = 0; i < SLOT_COUNT; i++) {
      const slot = all[i] ?? NONE;
      section.write(at + SLOTS + i, slot);
      if (slot !== NONE) this.#counts.count(slot, column, 1);
    }
    return this.idOf(record);
  }

  /** The record of a grant while `column` holds it, otherwise {@link NONE}. */
  find(id: number, column: number): number {
    const record = this.findAnyones(id);
    return record !== NONE && this.isHeldBy(record, column) ? record : NONE;
  }

  /** The record of a grant while somebody holds it, otherwise {@link NONE}. */
  findAnyones(id: number): number {
    const span = this.#span;
    const record = id % span;
    const at = this.#at(record);
    const words = this.#words;
    if (Atomics.load(words, at + HELD) === 0) return NONE;
    return Atomics.load(words, at + USE) === Math.floor(id / span) ? record : NONE;
  }

  idOf(record: number): number {
    return (this.#words[this.#at(record) + USE] as number) * this.#span + record;
  }

  kindOf(record: number): RecordKind {
    const { servers, clients } = this.#layout.sizes;
    if (record < servers) return 'server';
    return record < servers + clients ? 'client' : 'place';
  }

  isHeldBy(record: number, column: number): boolean {
    const at = this.#at(record);
    return Atomics.load(this.#words, at + HELD) !== 0 && Atomics.load(this.#words, at + COLUMN) === column;
  }

  /** The grant counts nowhere any more. `ring`: told of each owner that was refused where it has counted. */
  remove(record: number, ring: (owner: number) => void): void {
    const section = this.#section;
    const at = this.#at(record);
    const column = this.#words[at + COLUMN] as number;
    const kind = this.kindOf(record);
    section.write(at + HELD, 0);
    if (this.#words[at + ASIDE] !== 0) this.#counts.setAside(this.#poolOf(record), -1);
    for (const slot of this.#slots(at)) {
      this.#counts.takeRefused(slot, ring);
      this.#counts.count(slot, column, -1);
    }
    const free = this.#layout.free + FREE[kind];
    section.write(at + NEXT, this.#words[free] as number);
    section.write(free, record + 1);
  }

  /** Whether the grant counts in that slot. */
  countsIn(record: number, slot: number): boolean {
    return this.#slots(this.#at(record)).includes(slot);
  }

  /** The grant, which is not a server's, counts in these slots from here on, and as one of its kind: see {@link add}. */
  recount(record: number, kind: GrantKind, slots: readonly number[]): void {
    const at = this.#at(record);
    const column = this.#words[at + COLUMN] as number;
    const before = this.#slots(at);
    const all = [...slots, SharedCounts.all(kind)];
    for (const slot of all) if (!before.includes(slot)) this.#counts.count(slot, column, 1);
    for (const slot of before) if (!all.includes(slot)) this.#counts.count(slot, column, -1);
    for (let i = 0; i < SLOT_COUNT; i++) this.#section.write(at + SLOTS + i, all[i] ?? NONE);
  }

  /** The grant changes hands, and is where it belongs: every total stays what it is. */
  move(record: number, to: number): void {
    this.#setGiver(record, NONE);
    const at = this.#at(record);
    const from = this.#words[at + COLUMN] as number;
    this.#section.write(at + COLUMN, to);
    for (const slot of this.#slots(at)) {
      this.#counts.move(slot, from, to);
    }
  }

  /** As {@link move}, and what the grant is for is on its way there. */
  give(record: number, to: number): void {
    const from = this.#words[this.#at(record) + COLUMN] as number;
    this.move(record, to);
    this.#setGiver(record, from);
  }

  /** Who has given it, while it is on its way; otherwise {@link NONE}. */
  giverOf(record: number): number {
    return Atomics.load(this.#words, this.#at(record) + GIVER) - 1;
  }

  isGivenBy(record: number, giver: number): boolean {
    return Atomics.load(this.#words, this.#at(record) + HELD) !== 0 && this.giverOf(record) === giver;
  }

  /** It has reached whom it was given. */
  arrive(record: number): void {
    this.#setGiver(record, NONE);
  }

  /** A server's: it does not serve its pool any more, whoever has it. */
  setAside(record: number): void {
    const at = this.#at(record) + ASIDE;
    if (this.#words[at] !== 0) return;
    this.#section.write(at, 1);
    this.#counts.setAside(this.#poolOf(record), 1);
  }

  /** How many serve the pool of this server's. */
  serving(record: number): number {
    return this.#counts.serving(this.#poolOf(record));
  }

  /** Servers that serve the pool in this slot, all owners' but those that `column` has, not those on their way there. */
  *servingElsewhere(slot: number, column: number): Generator<number> {
    const { begin, end } = this.range('server');
    for (let record = begin; record < end; record++) {
      const at = this.#at(record);
      if (Atomics.load(this.#words, at + HELD) === 0) continue;
      if (this.isHeldBy(record, column) && this.giverOf(record) === NONE) continue;
      if (Atomics.load(this.#words, at + SLOTS) === slot && !this.isAside(record)) yield record;
    }
  }

  isAside(record: number): boolean {
    return Atomics.load(this.#words, this.#at(record) + ASIDE) !== 0;
  }

  #poolOf(record: number): number {
    return this.#words[this.#at(record) + SLOTS] as number;
  }

  #setGiver(record: number, giver: number): void {
    const at = this.#at(record) + GIVER;
    if (this.#words[at] !== giver + 1) this.#section.write(at, giver + 1);
  }

  #slots(at: number): number[] {
    const all = Array.from({ length: SLOT_COUNT }, (_, i) => this.#words[at + SLOTS + i] as number);
    return all.filter((slot) => slot !== NONE);
  }

  get #span(): number {
    const { servers, clients, places } = this.#layout.sizes;
    return servers + clients + places;
  }

  #at(record: number): number {
    return this.#layout.records + record * RECORD_WORDS;
  }
}

export function recordKindOf(kind: GrantKind): RecordKind {
  return kind === 'server' || kind === 'client' ? kind : 'place';
}

import { SECTION_WORDS } from '../base/shared-section.ts';

/** Bits of an owner's index must fit into two words. */
export const MAX_OWNERS = 64;

/** How much a shared budget has room for. */
export interface BudgetSizes {
  /** Event loops, 1 to 64. */
  readonly owners: number;
  /** Server connections at a time. */
  readonly servers: number;
  /** Clients at a time. */
  readonly clients: number;
  /** Places at a time, of all kinds: see `PlaceKind`. */
  readonly places: number;
  /** Databases, users, pools and addresses at a time that somebody is connected for, or from. */
  readonly keys: number;
}

/** What the main thread makes and hands to each worker: plain data. */
export interface SharedMemory {
  readonly buffer: SharedArrayBuffer;
  readonly sizes: BudgetSizes;
}

/** Slots that are there from the beginning: all of each kind of grant. */
export const FIXED_SLOTS = 9;
/** Words of a slot before the cells of its owners. */
export const SLOT_WORDS = 11;
export const RECORD_WORDS = 10;
/** 4 words, a backend key of 260 bytes and a host name of 256. */
export const CUSTODY_WORDS = 133;
/** Cache lines of its own for each owner, so that they don't slow each other down. */
export const OWNER_WORDS = 48;

const FEWEST_DESCRIPTORS = 1024;
const MOST_CLIENTS = 1 << 19;
const MOST_SERVERS = 1 << 15;
const MOST_KEYS = 1 << 17;
/** Keys that are being derived, and connections that are about to be something else. */
const FURTHER_PLACES = 64;

/**
 * Room for all that `descriptors`, the process's limit, can be open for: a client has one, a server two (one in custody).
 * Some more, for grants are asked for before the descriptors are. Memory that is never written to stays virtual.
 */
export function budgetSizes(owners: number, descriptors: number): BudgetSizes {
  const most = Math.max(descriptors, FEWEST_DESCRIPTORS);
  const clients = Math.min(most, MOST_CLIENTS);
  const servers = Math.min(most, MOST_SERVERS);
  const places = clients + FURTHER_PLACES;
  return { owners, servers, clients, places, keys: Math.min(3 * (clients + servers) + places, MOST_KEYS) };
}

/** Where things are in the buffer: indices of Int32 words, except for `waits`. */
export class Layout {
  readonly words: Int32Array;
  /** Per slot and owner: see `SharedWaits`. */
  readonly waits: Float64Array;
  readonly longs: BigInt64Array;
  readonly sizes: BudgetSizes;
  /** Owners, and one column more for whoever looks after what dead ones have left. */
  readonly columns: number;
  readonly slotStride: number;
  readonly slots: number;
  readonly bucketCount: number;

  readonly section = 0;
  /** Index into `longs`. */
  readonly ids: number;
  readonly free: number;
  readonly owners: number;
  readonly buckets: number;
  readonly slotsAt: number;
  readonly records: number;
  readonly custody: number;

  constructor({ buffer, sizes }: SharedMemory) {
    const plan = planOf(sizes);
    this.sizes = sizes;
    this.columns = sizes.owners + 1;
    this.slotStride = plan.slotStride;
    this.slots = plan.slots;
    this.bucketCount = plan.bucketCount;
    this.ids = plan.ids / 2;
    this.free = plan.free;
    this.owners = plan.owners;
    this.buckets = plan.buckets;
    this.slotsAt = plan.slotsAt;
    this.records = plan.records;
    this.custody = plan.custody;
    this.words = new Int32Array(buffer, 0, plan.waits);
    this.longs = new BigInt64Array(buffer, 0, plan.waits / 2);
    this.waits = new Float64Array(buffer, 4 * plan.waits, plan.slots * sizes.owners);
  }

  static make(sizes: BudgetSizes): SharedMemory {
    const { owners, servers, clients, places, keys } = sizes;
    if (owners < 1 || owners > MAX_OWNERS) throw new RangeError(`${owners} owners`);
    if (Math.min(servers, clients, places, keys) < 1) throw new RangeError('a budget without room');
    const plan = planOf(sizes);
    const buffer = new SharedArrayBuffer(4 * plan.waits + 8 * plan.slots * owners);
    return { buffer, sizes };
  }
}

/** Word offsets, in order; all even, so that longer numbers may lie anywhere. */
function planOf({ owners, servers, clients, places, keys }: BudgetSizes) {
  const slots = FIXED_SLOTS + keys;
  const bucketCount = 2 ** Math.ceil(Math.log2(slots));
  const slotStride = even(SLOT_WORDS + owners + 1);
  let end = even(SECTION_WORDS);
  const take = (words: number): number => {
    const at = end;
    end += even(words);
    return at;
  };
  const ids = take(OWNER_WORDS);
  const free = take(OWNER_WORDS);
  const ownersAt = take(owners * OWNER_WORDS);
  const buckets = take(bucketCount);
  const slotsAt = take(slots * slotStride);
  const records = take((servers + clients + places) * RECORD_WORDS);
  const custody = take(servers * CUSTODY_WORDS);
  const plan = { ids, free, owners: ownersAt, buckets, slotsAt, records, custody };
  return { ...plan, slots, bucketCount, slotStride, waits: end };
}

function even(words: number): number {
  return words + (words & 1);
}

import { SharedLock } from '../base/shared-lock.ts';
import {
  type Budget,
  type BudgetOwner,
  type ClientAsk,
  type Grant,
  type GrantKind,
  grantKeys,
  poolKey,
  type Refusal,
  type ServerAsk,
  type YieldScope,
} from './budget.ts';
import { SharedCounts } from './shared-counts.ts';
import {
  GONE,
  LOCK,
  NEXT_ID,
  RECORD_FD,
  RECORD_KEY_BYTES,
  RECORD_OWNER,
  RECORD_SLOTS,
  SharedLayout,
  TAKEN,
  WAITING,
} from './shared-layout.ts';

/** What other threads have to be told. */
export interface SharedBudgetHost {
  /** Something was freed for which clients of this column may wait. */
  ring(column: number): void;
  /** The thread of this column is asked to give up an idle server connection. */
  askYield(column: number, scope: YieldScope): void;
  /** Closes a descriptor of ours. */
  close(fd: number): void;
}

/** A wait word that says that the pool is open here and nobody waits; any other but 0 is a time. */
const NOBODY = 1;

/**
 * The budget of all threads, as one of them sees it. Limits hold over all of them at every moment: an ask is checked and
 * counted under one lock, and what a dead thread has left is given back by the main thread, see `SharedMemory`.
 */
export class SharedBudget implements Budget {
  /** Its name as an owner of grants. */
  readonly owner: string;
  readonly #column: number;
  readonly #host: SharedBudgetHost;
  readonly #layout: SharedLayout;
  readonly #words: Int32Array;
  readonly #counts: SharedCounts;
  readonly #lock: SharedLock;
  #callbacks: BudgetOwner | null = null;
  /** Of pools that are open here: the words that say how long their first clients have waited. */
  readonly #waitWords = new Map<string, number>();
  /** Records of server connections, by the ids of their grants. */
  readonly #records = new Map<number, number>();
  readonly #held = new Set<number>();
  #nextRecord = 0;
  #wakeQueued = false;

  constructor(memory: SharedArrayBuffer, column: number, host: SharedBudgetHost) {
    this.#layout = new SharedLayout(memory);
    this.#words = this.#layout.words;
    this.#column = column;
    this.owner = `worker ${column}`;
    this.#host = host;
    this.#counts = new SharedCounts(this.#layout);
    this.#lock = new SharedLock(this.#words, LOCK, column + 1);
  }

  /** Numbers clients and servers of all threads. */
  nextId(): number {
    return Atomics.add(this.#words, NEXT_ID, 1);
  }

  /** A connection that was given to this thread is its to close from here on. */
  tookConnection(): void {
    Atomics.add(this.#words, this.#layout.columnAt(this.#column) + TAKEN, 1);
  }

  connectionGone(): void {
    Atomics.add(this.#words, this.#layout.columnAt(this.#column) + GONE, 1);
  }

  join(_owner: string, callbacks: BudgetOwner): void {
    this.#callbacks = callbacks;
  }

  reclaim(): void {
    throw new Error('what a thread has left the main thread reclaims');
  }

  askServer(ask: ServerAsk): Grant | Refusal {
    return this.#ask('server', ask, [
      [`server:p:${poolKey(ask.database, ask.user)}`, ask.poolLimit, 'pool'],
      [`server:d:${ask.database}`, ask.databaseLimit, 'database'],
      [`server:u:${ask.user}`, ask.userLimit, 'user'],
    ]);
  }

  askClient(ask: ClientAsk): Grant | Refusal {
    return this.#ask('client', ask, [
      ['client:all', ask.totalLimit, 'total'],
      [`client:d:${ask.database}`, ask.databaseLimit, 'database'],
      [`client:u:${ask.user}`, ask.userLimit, 'user'],
    ]);
  }

  giveBack(grant: Grant): void {
    if (!this.#held.delete(grant.id)) return;
    this.#lock.take();
    try {
      for (const key of grantKeys(grant)) {
        const slot = this.#counts.find(key);
        this.#counts.add(slot, this.#column, -1);
        this.#counts.dropIfUnused(slot);
      }
    } finally {
      this.#lock.release();
    }
    if (grant.kind === 'server') this.#wake();
  }

  requestYield(scope: YieldScope): boolean {
    if (this.#callbacks?.yieldServer(scope) === true) return true;
    const slot = this.#counts.find(`server:${scope.kind === 'database' ? 'd' : 'u'}:${scope.name}`);
    if (slot < 0) return false;
    let isAsked = false;
    for (let column = 0; column < this.#layout.columns; column++) {
      if (column === this.#column || this.#counts.of(slot, column) === 0) continue;
      this.#host.askYield(column, scope);
      isAsked = true;
    }
    return isAsked;
  }

  /** Another thread asks for room within `scope`. */
  yieldHere(scope: YieldScope): void {
    this.#callbacks?.yieldServer(scope);
  }

  publishWait(_owner: string, key: string, waitStartMs: number): void {
    let word = this.#waitWords.get(key);
    if (word === undefined) {
      if (waitStartMs === 0) return;
      word = this.#openPool(key);
      if (word < 0) return;
    }
    const now = waitStartMs === 0 ? NOBODY : encoded(waitStartMs);
    const before = Atomics.exchange(this.#words, word, now);
    if ((before > NOBODY || before < 0) === (now !== NOBODY)) return;
    Atomics.add(this.#words, this.#layout.columnAt(this.#column) + WAITING, now === NOBODY ? -1 : 1);
  }

  forgetPool(key: string): void {
    const word = this.#waitWords.get(key);
    if (word === undefined) return;
    this.publishWait(this.owner, key, 0);
    this.#waitWords.delete(key);
    this.#lock.take();
    try {
      Atomics.store(this.#words, word, 0);
      const slot = this.#counts.find(`server:p:${key}`);
      if (slot >= 0) this.#counts.dropIfUnused(slot);
    } finally {
      this.#lock.release();
    }
  }

  /** How long, as of `nowMs`, a client of this pool has waited on another thread at most; 0: nobody waits there. */
  longestWaitElsewhereMs(key: string, nowMs: number): number {
    const own = this.#waitWords.get(key) ?? this.#openPool(key);
    if (own < 0) return 0;
    const from = own - this.#column;
    const now = encoded(nowMs);
    let longest = 0;
    for (let column = 0; column < this.#layout.columns; column++) {
      if (column === this.#column) continue;
      const since = Atomics.load(this.#words, from + column);
      if (since === 0 || since === NOBODY) continue;
      longest = Math.max(longest, (now - since) | 0);
    }
    return longest;
  }

  count(kind: GrantKind, scope: { database?: string; user?: string } = {}): number {
    const { database, user } = scope;
    let key = `${kind}:all`;
    if (database !== undefined && user !== undefined) key = `${kind}:p:${poolKey(database, user)}`;
    else if (database !== undefined) key = `${kind}:d:${database}`;
    else if (user !== undefined) key = `${kind}:u:${user}`;
    const slot = this.#counts.find(key);
    return slot < 0 ? 0 : this.#counts.total(slot);
  }

  /**
   * A server connection has come about, and nothing has been sent on it yet: from here on its grant comes back only when
   * its end is gone, whatever becomes of this thread. `fd` is a copy of its descriptor, for this alone. False: there is no
   * room to note it down; the connection must not be used then.
   */
  keep(grant: Grant, fd: number): boolean {
    const { records } = this.#layout;
    this.#lock.take();
    try {
      for (let i = 0; i < records; i++) {
        const record = (this.#nextRecord + i) % records;
        const at = this.#layout.recordAt(record);
        if (Atomics.load(this.#words, at + RECORD_OWNER) !== 0) continue;
        this.#nextRecord = record + 1;
        grantKeys(grant).forEach((key, j) => {
          Atomics.store(this.#words, at + RECORD_SLOTS + j, this.#counts.find(key));
        });
        Atomics.store(this.#words, at + RECORD_FD, fd);
        Atomics.store(this.#words, at + RECORD_KEY_BYTES, 0);
        Atomics.store(this.#words, at + RECORD_OWNER, this.#column + 1);
        this.#records.set(grant.id, record);
        return true;
      }
    } finally {
      this.#lock.release();
    }
    return false;
  }

  /** That connection is closed, and with it goes its copy `fd`; the grant may be for another connection next. */
  letGo(grant: Grant, fd: number): void {
    const record = this.#records.get(grant.id);
    if (record === undefined) return;
    const at = this.#layout.recordAt(record);
    if (Atomics.load(this.#words, at + RECORD_FD) !== fd) return;
    this.#records.delete(grant.id);
    // From here on nobody else closes it: its number may be another's in a moment.
    Atomics.store(this.#words, at + RECORD_OWNER, -(this.#column + 1));
    this.#host.close(fd);
    Atomics.store(this.#words, at + RECORD_OWNER, 0);
  }

  /** The server of a connection that is {@link keep | kept} has told how it can be cancelled. */
  learnKey(grant: Grant, backendKey: Buffer): void {
    const record = this.#records.get(grant.id);
    if (record === undefined) return;
    this.#layout.keyOf(record).set(backendKey);
    Atomics.store(this.#words, this.#layout.recordAt(record) + RECORD_KEY_BYTES, backendKey.length);
  }

  /** Something was freed by another thread. */
  rung(): void {
    this.#callbacks?.onFreed();
  }

  #ask(
    kind: GrantKind,
    ask: { readonly owner: string; readonly database: string; readonly user: string },
    limits: readonly (readonly [key: string, limit: number, refusal: Refusal])[],
  ): Grant | Refusal {
    const grant: Grant = {
      id: this.nextId(),
      kind,
      owner: this.owner,
      database: ask.database,
      user: ask.user,
    };
    this.#lock.take();
    try {
      for (const [key, limit, refusal] of limits) {
        if (limit === 0) continue;
        const slot = this.#counts.find(key);
        if (slot >= 0 && this.#counts.total(slot) >= limit) return refusal;
      }
      const slots = grantKeys(grant).map((key) => this.#counts.obtain(key));
      // The table is full. What was made for this stays until its next use.
      if (slots.includes(-1)) return 'total';
      for (const slot of slots) this.#counts.add(slot, this.#column, 1);
    } finally {
      this.#lock.release();
    }
    this.#held.add(grant.id);
    return grant;
  }

  /** Index of the wait word of a pool of this thread, which keeps its slot from now on; -1: there is none to be had. */
  #openPool(key: string): number {
    this.#lock.take();
    try {
      const slot = this.#counts.obtain(`server:p:${key}`);
      if (slot < 0) return -1;
      const word = this.#counts.waitWord(slot, this.#column);
      Atomics.store(this.#words, word, NOBODY);
      this.#waitWords.set(key, word);
      return word;
    } finally {
      this.#lock.release();
    }
  }

  /** One wake-up for what comes back in one turn. */
  #wake(): void {
    if (this.#wakeQueued) return;
    this.#wakeQueued = true;
    queueMicrotask(() => {
      this.#wakeQueued = false;
      for (let column = 0; column < this.#layout.columns; column++) {
        if (column === this.#column) continue;
        if (Atomics.load(this.#words, this.#layout.columnAt(column) + WAITING) > 0) this.#host.ring(column);
      }
      this.#callbacks?.onFreed();
    });
  }
}

/** Milliseconds, as far as 32 bits go, and neither of the two that mean something else. */
function encoded(ms: number): number {
  const word = Math.trunc(ms) | 0;
  return word === 0 || word === NOBODY ? 2 : word;
}

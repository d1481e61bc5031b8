import { IntrusiveList } from '../base/list.ts';
import type { PgErrorFields } from '../wire/pg-error.ts';
import type { ClientState, DedicatedClient, PoolClient } from './peers.ts';

/** A pool's clients by state: each stands in exactly one list while it is here. */
export class ClientLists {
  /** Logged in: linked to a server or idle. */
  readonly active = new IntrusiveList<PoolClient>();
  /** Waiting for a server, oldest first. */
  readonly waiting = new IntrusiveList<PoolClient>();
  /** Authenticated, waiting for the pool's first welcome data, oldest first. */
  readonly waiting_login = new IntrusiveList<PoolClient>();
  /** Authenticated, waiting for server connections of their own, oldest first. */
  readonly waiting_dedicated = new IntrusiveList<DedicatedClient>();

  get count(): number {
    return this.active.length + this.waitingCount;
  }

  get waitingCount(): number {
    return this.waiting.length + this.waiting_login.length + this.waiting_dedicated.length;
  }

  get isWaiting(): boolean {
    return this.waitingCount > 0;
  }

  /** The client that waits longest for a server; those ahead of it that have left unnoticed leave the pool. */
  firstHere(): PoolClient | null {
    for (;;) {
      const { first } = this.waiting;
      if (first === null || !first.leaveIfGone() || first.state === 'waiting') return first;
    }
  }

  /** All that wait, for whatever. A copy. */
  allWaiting(): PoolClient[] {
    return [...this.waiting, ...this.waiting_login, ...this.waiting_dedicated];
  }

  /** Tells all who wait for any server connection that there is none. */
  refuseWaiting(error: PgErrorFields): void {
    for (const client of [...this.waiting_login, ...this.waiting]) {
      if (client.state === 'waiting_login' || client.state === 'waiting') client.refused(error);
    }
  }

  /** Monotonic ms since when the first of all waiting clients waits; 0 when nobody does. */
  get oldestWaitStartMs(): number {
    let oldestMs = 0;
    for (const { first } of [this.waiting, this.waiting_login, this.waiting_dedicated]) {
      if (first !== null && (oldestMs === 0 || first.waitStartMs < oldestMs)) oldestMs = first.waitStartMs;
    }
    return oldestMs;
  }

  /** The same of those alone whom any server connection serves. */
  get oldestPooledWaitStartMs(): number {
    const waiting = this.waiting.first?.waitStartMs ?? 0;
    const login = this.waiting_login.first?.waitStartMs ?? 0;
    return waiting === 0 || login === 0 ? waiting + login : Math.min(waiting, login);
  }

  /** The client that waits for a server connection of its own has waited longer than all others. */
  get isDedicatedFirst(): boolean {
    const { first } = this.waiting_dedicated;
    return first !== null && first.waitStartMs === this.oldestWaitStartMs;
  }

  /**
   * Moves a client from its list to that of `to` and keeps its `waitStartMs`. Returns how long it had been
   * waiting, in ms. `isFirst`: ahead of all there, for it has waited for longer. Only the pool calls it.
   */
  move(client: PoolClient, to: ClientState, nowMs: number, isFirst = false): number {
    const { state: from, waitStartMs } = client;
    if (client.listOwner !== null && from !== 'gone' && from !== 'login') this.#list(from).remove(client);
    client.state = to;
    client.waitStartMs = 0;
    if (to !== 'gone' && to !== 'login') {
      const list = this.#list(to);
      if (to !== 'active') client.waitStartMs = (isFirst ? list.first?.waitStartMs : null) ?? nowMs;
      if (isFirst) list.pushFront(client);
      else list.pushBack(client);
    }
    return waitStartMs === 0 ? 0 : nowMs - waitStartMs;
  }

  /** `this[state]`, with the two that change with each transaction looked up by their names. */
  #list(state: Exclude<ClientState, 'login' | 'gone'>): IntrusiveList<PoolClient> {
    if (state === 'active') return this.active;
    return state === 'waiting' ? this.waiting : this[state];
  }
}

import { IntrusiveList } from '../base/list.ts';
import type { ClientState, PoolClient } from './peers.ts';

/** A pool's clients by state: each stands in exactly one list while it is here. */
export class ClientLists {
  /** Logged in: linked to a server or idle. */
  readonly active = new IntrusiveList<PoolClient>();
  /** Waiting for a server, oldest first. */
  readonly waiting = new IntrusiveList<PoolClient>();
  /** Authenticated, waiting for the pool's first welcome data, oldest first. */
  readonly waiting_login = new IntrusiveList<PoolClient>();

  get count(): number {
    return this.active.length + this.waiting.length + this.waiting_login.length;
  }

  get isWaiting(): boolean {
    return this.waiting.length > 0 || this.waiting_login.length > 0;
  }

  /** Monotonic ms since when the first of all waiting clients waits; 0 when nobody does. */
  get oldestWaitStartMs(): number {
    const server = this.waiting.first?.waitStartMs ?? 0;
    const login = this.waiting_login.first?.waitStartMs ?? 0;
    return server === 0 || login === 0 ? server + login : Math.min(server, login);
  }

  /**
   * Moves a client from its list to that of `to` and keeps its `waitStartMs`. Returns how long it had been
   * waiting, in ms. Only the pool calls it.
   */
  move(client: PoolClient, to: ClientState, nowMs: number): number {
    const { state: from, waitStartMs } = client;
    if (client.listOwner !== null && from !== 'gone' && from !== 'login') this.#list(from).remove(client);
    client.state = to;
    client.waitStartMs = to === 'waiting' || to === 'waiting_login' ? nowMs : 0;
    if (to !== 'gone' && to !== 'login') this.#list(to).pushBack(client);
    return waitStartMs === 0 ? 0 : nowMs - waitStartMs;
  }

  /** `this[state]`, with the two that change with each transaction looked up by their names. */
  #list(state: Exclude<ClientState, 'login' | 'gone'>): IntrusiveList<PoolClient> {
    if (state === 'active') return this.active;
    return state === 'waiting' ? this.waiting : this.waiting_login;
  }
}

import { IntrusiveList } from '../base/list.ts';
import type { PoolServer, ServerState } from './peers.ts';

/** So long others wait for a connection that is on its way out before another one is closed, too; then twice that. */
const CLOSING_MS = 500;
const MOST_CLOSING_MS = 2000;

/** A pool's server connections by state: each stands in exactly one list until it is gone. */
export class ServerLists {
  readonly new = new IntrusiveList<PoolServer>();
  readonly idle = new IntrusiveList<PoolServer>();
  readonly active = new IntrusiveList<PoolServer>();
  readonly dedicated = new IntrusiveList<PoolServer>();
  readonly used = new IntrusiveList<PoolServer>();
  readonly tested = new IntrusiveList<PoolServer>();
  readonly being_canceled = new IntrusiveList<PoolServer>();
  readonly closing = new IntrusiveList<PoolServer>();

  /** Logged-in servers that can serve somebody, now or later. */
  get usable(): number {
    return (
      this.idle.length +
      this.active.length +
      this.used.length +
      this.tested.length +
      this.being_canceled.length
    );
  }

  /** Connections that hold a slot: all that are not gone, closing ones too. */
  get slotsTaken(): number {
    return this.usable + this.dedicated.length + this.new.length + this.closing.length;
  }

  /** The slot of one that is on its way out is about to come back: PostgreSQL takes a moment, unless it hangs. */
  isClosingSoon(nowMs: number): boolean {
    const { last, length } = this.closing;
    return (
      last !== null && nowMs - last.stateSinceMs < Math.min(CLOSING_MS * 2 ** (length - 1), MOST_CLOSING_MS)
    );
  }

  /** The idle or used server that has rested longest. */
  mostIdle(): PoolServer | null {
    let oldest: PoolServer | null = null;
    for (const list of [this.idle, this.used]) {
      for (const server of list) {
        if (oldest === null || server.stateSinceMs < oldest.stateSinceMs) oldest = server;
      }
    }
    return oldest;
  }

  /**
   * Moves a server from its list to that of `to`; the newest idle one goes first unless `isRoundRobin`.
   * Only the pool calls it.
   */
  move(server: PoolServer, to: ServerState, nowMs: number, isRoundRobin: boolean): void {
    const { state: from } = server;
    if (server.listOwner !== null && from !== 'gone') this.#list(from).remove(server);
    server.state = to;
    // Idle and then used is one rest: server_idle_timeout and eviction go by its whole length.
    if (from !== 'idle' || to !== 'used') server.stateSinceMs = nowMs;
    if (to === 'gone') return;
    if (to === 'idle' && !isRoundRobin) this.idle.pushFront(server);
    else this.#list(to).pushBack(server);
  }

  /** `this[state]`, with the two that change with each transaction looked up by their names. */
  #list(state: Exclude<ServerState, 'gone'>): IntrusiveList<PoolServer> {
    if (state === 'active') return this.active;
    return state === 'idle' ? this.idle : this[state];
  }
}

import { hopsOf, peerIdOf, withHops } from '../client/peer-key.ts';
import type { Config } from '../config/config.ts';
import type { PeerEntry } from '../config/peers.ts';
import { formatHostPort } from '../net/address.ts';
import { PeerPool } from '../pool/peer-pool.ts';
import type { OpenCancel } from '../pool/peers.ts';
import type { PoolerState } from './context.ts';

/** Opens a connection to a peer for one CancelRequest with this key; `maySend` and `done` as of {@link OpenCancel}. */
export type OpenPeerCancel = (
  peer: PeerEntry,
  key: Buffer,
  maySend: () => boolean,
  done: (reason: string) => void,
) => ReturnType<OpenCancel['openCancel']>;

interface Peer {
  /** As configured now. */
  entry: PeerEntry;
  /** Made when the first request is handed on. */
  pool: PeerPool | null;
  /** The last request did not reach it, which has been said. */
  isLost: boolean;
}

/**
 * The poolers of `[peers]`. Which of those that share a port gets a CancelRequest is the kernel's choice, so one
 * that is for a client of another is handed on. Source: contract, §2.5, §5.8.
 */
export class Peers {
  readonly #state: Pick<PoolerState, 'clock' | 'log' | 'config'>;
  readonly #open: OpenPeerCancel;
  readonly #peers = new Map<number, Peer>();
  /** Pools of peers that are configured no more and still have to close a connection. */
  readonly #leaving = new Set<PeerPool>();

  constructor(state: Pick<PoolerState, 'clock' | 'log' | 'config'>, open: OpenPeerCancel) {
    this.#state = state;
    this.#open = open;
    for (const entry of state.config.peers.values()) this.#add(entry);
  }

  /** Pools that exist, by peer. */
  get pools(): ReadonlyMap<number, PeerPool> {
    const pools = new Map<number, PeerPool>();
    for (const [id, { pool }] of this.#peers) if (pool !== null) pools.set(id, pool);
    return pools;
  }

  /** Another configuration is in force. What has not been sent yet goes where the peer is now. */
  update({ peers, settings }: Config): void {
    for (const [id, peer] of this.#peers) {
      const entry = peers.get(id);
      if (entry === undefined) this.#remove(id, peer);
      else {
        peer.entry = entry;
        peer.isLost = false;
        if (peer.pool !== null) peer.pool.poolSize = peerPoolSize(entry, settings);
        peer.pool?.pump();
      }
    }
    for (const [id, entry] of peers) if (!this.#peers.has(id)) this.#add(entry);
  }

  /** Hands on a CancelRequest whose key is none of ours; resolves with the log text when that is over. */
  forward(key: Buffer): Promise<string> {
    const { settings } = this.#state.config;
    const id = peerIdOf(key);
    if (settings.peer_id === 0 || id === settings.peer_id) return Promise.resolve(UNKNOWN_KEY);
    const hops = hopsOf(key);
    if (hops === 0) {
      return Promise.resolve('failed to forward cancel request because its TTL was exhausted');
    }
    const peer = this.#peers.get(id);
    if (peer === undefined) return Promise.resolve('could not find peer to forward request to');
    peer.pool ??= this.#newPool(peer);
    const { pool } = peer;
    return new Promise((resolve) => pool.request(withHops(key, hops - 1), resolve));
  }

  sweep(nowMs: number): void {
    const { settings, own } = this.#state.config;
    const timeoutMs = settings.cancel_wait_timeout * 1000;
    const connectMs = settings.server_connect_timeout * 1000 || Infinity;
    const closeMs = own.server_cancel_timeout * 1000;
    for (const pool of [...this.pools.values(), ...this.#leaving])
      pool.sweep(nowMs, timeoutMs, connectMs, closeMs);
    for (const pool of this.#leaving) if (pool.isEmpty) this.#leaving.delete(pool);
  }

  /** Cuts every connection. */
  stop(): void {
    const pools = [...this.pools.values(), ...this.#leaving];
    this.#peers.clear();
    for (const pool of pools) pool.cut();
  }

  #add(entry: PeerEntry): void {
    this.#peers.set(entry.id, { entry, pool: null, isLost: false });
  }

  #remove(id: number, { pool }: Peer): void {
    this.#state.log.log('WARNING', `dropping peer ${id} as it does not exist anymore`);
    this.#peers.delete(id);
    if (pool === null) return;
    this.#leaving.add(pool);
    pool.giveUpWaiting('could not find peer to forward request to');
  }

  #newPool(peer: Peer): PeerPool {
    const { clock, config } = this.#state;
    return new PeerPool(
      {
        get nowMs() {
          return clock.nowMs();
        },
        openCancel: (key, maySend, done) =>
          this.#open(peer.entry, key, maySend, (reason) => {
            this.#ended(peer, reason === 'successfully sent cancel request');
            done(reason);
          }),
      },
      peerPoolSize(peer.entry, config.settings),
    );
  }

  /** An outage is told once, not for every request. */
  #ended(peer: Peer, wasReached: boolean): void {
    const isLost = !wasReached;
    if (isLost && !peer.isLost && this.#peers.get(peer.entry.id) === peer) {
      const { id, host, port } = peer.entry;
      this.#state.log.log(
        'WARNING',
        `peer-${id}@${formatHostPort(host, port)} cannot be reached: cancel requests of its clients are lost`,
      );
    }
    peer.isLost = isLost;
  }
}

/** A key that is none of ours, and says of no peer that it is its. */
const UNKNOWN_KEY = 'failed cancel request';

/** Connections to a peer at most; 0: no limit. */
export function peerPoolSize(entry: PeerEntry, settings: Config['settings']): number {
  return entry.poolSize ?? settings.default_pool_size;
}

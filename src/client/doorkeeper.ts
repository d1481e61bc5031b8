import type { Clock } from '../base/clock.ts';
import type { PeerLines } from './peer-lines.ts';

/** 0 = no limit. Source: our settings `max_login_conn`, `max_login_conn_per_address`. */
export interface DoorLimits {
  readonly total: number;
  readonly perAddress: number;
}

/** Which limit keeps a connection out: the setting's name. */
export type DoorRefusal = 'max_login_conn' | 'max_login_conn_per_address';

/** The connection that a visit is of. */
export interface Visitor {
  /** It holds a place of `max_client_conn`, in this database. */
  readonly placeIn: string | null;
  /** Tells it why, and closes it without waiting for it. */
  evict(message: string): void;
  /** Cuts it: it has been told goodbye. */
  cut(): void;
}

/**
 * - `login`: it has not logged in yet, whatever it has sent.
 * - `cancel`: it carries a CancelRequest.
 * - `leaving`: it has been closed before it logged in, and its socket is still there.
 */
type Stage = 'login' | 'cancel' | 'leaving' | 'over';

/** A login that takes longer than this may be given up for another of the same address. */
const GRACE_MS = 2000;

/** What a connection may send before it has logged in: SSLRequest, StartupMessage (64 KiB), password (64 KiB), SCRAM. */
const MAX_BYTES = 192 * 1024;

/** All together. */
const MAX_TOTAL_BYTES = 64 * 1024 * 1024;

/** What one is told that has sent too much. */
export const TOO_MUCH = 'too many bytes before login';

/** One TCP connection until it has logged in, or is gone. */
export class Visit {
  readonly peer: string;
  readonly sinceMs: number;
  /** Set as soon as there is one. */
  visitor: Visitor | null = null;
  /** The doorkeeper's alone to change, like `bytes`. */
  stage: Stage = 'login';
  bytes = 0;
  readonly #door: Doorkeeper;
  #hasLines = false;

  constructor(door: Doorkeeper, peer: string, sinceMs: number) {
    this.#door = door;
    this.peer = peer;
    this.sinceMs = sinceMs;
  }

  /** Whether a line about it may be written. */
  mayWrite(): boolean {
    this.#hasLines = true;
    return this.#door.lines.mayWrite(this.peer);
  }

  /**
   * It has sent so many bytes more; less than 0: so many are held no longer. False: too many. Somebody may be evicted for
   * it, perhaps itself.
   */
  received(bytes: number): boolean {
    return this.#door.received(this, bytes);
  }

  /** It carries a CancelRequest. False: there are too many of those. */
  cancels(): boolean {
    return this.#door.cancels(this);
  }

  /** Its CancelRequest is for nobody. */
  cancelsInVain(): void {
    this.#door.lines.failed(this.peer);
  }

  loggedIn(): void {
    this.#door.move(this, 'over');
  }

  /** It is closed, without having logged in. */
  leaves(): void {
    const isFailure = this.stage === 'login' && this.#hasLines;
    this.#door.move(this, 'leaving');
    if (isFailure) this.#door.lines.failed(this.peer);
  }

  /** Its socket is gone. */
  gone(): void {
    this.#door.move(this, 'over');
  }
}

/**
 * Bounds what connections cost that have not proved who they are: how many there are, in all and of one address, how
 * many bytes they have sent, how many lines they write. Unix sockets are not asked: who reaches one is let in by its
 * mode. Where there is no room, whoever has taken most of it gives way, so that a flood leaves others their turn.
 */
export class Doorkeeper {
  readonly lines: PeerLines;
  readonly #clock: Clock;
  readonly #limits: () => DoorLimits;
  /** By peer and in the order in which they came. */
  readonly #logins = new Map<string, Set<Visit>>();
  #loginCount = 0;
  #loginBytes = 0;
  readonly #cancels = new Map<string, number>();
  #cancelCount = 0;
  readonly #leaving = new Set<Visit>();

  constructor(parts: { clock: Clock; lines: PeerLines; limits: () => DoorLimits }) {
    this.#clock = parts.clock;
    this.lines = parts.lines;
    this.#limits = parts.limits;
  }

  /** Connections that have not logged in. */
  get loginCount(): number {
    return this.#loginCount;
  }

  get cancelCount(): number {
    return this.#cancelCount;
  }

  /** A connection of `peer` has been accepted; another one may be evicted for it. */
  enter(peer: string): Visit | DoorRefusal {
    const { total, perAddress } = this.#limits();
    if (perAddress > 0 && this.#countOf(peer) >= perAddress) return 'max_login_conn_per_address';
    if (total > 0 && this.#loginCount >= total) {
      if (!this.#makeRoom(this.#heaviest(), this.#countOf(peer), 'max_login_conn')) return 'max_login_conn';
    }
    const visit = new Visit(this, peer, this.#clock.nowMs());
    let visits = this.#logins.get(peer);
    if (visits === undefined) {
      visits = new Set();
      this.#logins.set(peer, visits);
    }
    visits.add(visit);
    this.#loginCount++;
    return visit;
  }

  /**
   * Evicts a connection that has a place of `max_client_conn` (in `database`, unless that is null) and has not logged in,
   * for a connection of `peer` (null: a unix socket's). False when nobody has to give way.
   */
  makePlace(peer: string | null, database: string | null): boolean {
    const placed = (visits: Iterable<Visit>): Visit[] =>
      [...visits].filter(({ visitor }) => {
        const placeIn = visitor?.placeIn ?? null;
        return placeIn !== null && (database === null || placeIn === database);
      });
    let heaviest: Crowd | null = null;
    for (const visits of this.#logins.values()) {
      if (visits.size < (heaviest?.count ?? 0)) continue;
      const those = placed(visits);
      heaviest = heavier(heaviest, those.length, those[0]);
    }
    const own = peer === null ? 0 : placed(this.#logins.get(peer) ?? []).length;
    return this.#makeRoom(heaviest, own, 'max_client_conn');
  }

  /** Of a visit: see {@link Visit.received}. */
  received(visit: Visit, bytes: number): boolean {
    visit.bytes += bytes;
    if (visit.stage === 'login') this.#loginBytes += bytes;
    if (visit.bytes > MAX_BYTES) return false;
    if (this.#loginBytes > MAX_TOTAL_BYTES) this.#evictLargest();
    return true;
  }

  /** Of a visit: see {@link Visit.cancels}. */
  cancels(visit: Visit): boolean {
    const { total, perAddress } = this.#limits();
    if (perAddress > 0 && (this.#cancels.get(visit.peer) ?? 0) >= perAddress) return false;
    if (total > 0 && this.#cancelCount >= total) return false;
    this.move(visit, 'cancel');
    return true;
  }

  /** Of a visit. */
  move(visit: Visit, to: Stage): void {
    const from = visit.stage;
    if (from === to || from === 'over') return;
    visit.stage = to;
    if (from === 'login') this.#takeLogin(visit);
    else if (from === 'leaving') this.#leaving.delete(visit);
    else this.#countCancel(visit.peer, -1);
    if (to === 'cancel') this.#countCancel(visit.peer, 1);
    else if (to === 'leaving') this.#addLeaving(visit);
  }

  #countOf(peer: string): number {
    return this.#logins.get(peer)?.size ?? 0;
  }

  #takeLogin(visit: Visit): void {
    const visits = this.#logins.get(visit.peer);
    visits?.delete(visit);
    if (visits?.size === 0) this.#logins.delete(visit.peer);
    this.#loginCount--;
    this.#loginBytes -= visit.bytes;
  }

  #countCancel(peer: string, change: 1 | -1): void {
    this.#cancelCount += change;
    const count = (this.#cancels.get(peer) ?? 0) + change;
    if (count === 0) this.#cancels.delete(peer);
    else this.#cancels.set(peer, count);
  }

  /** Who takes its time to leave must not keep others from coming. */
  #addLeaving(visit: Visit): void {
    this.#leaving.add(visit);
    const { total } = this.#limits();
    const [oldest] = this.#leaving;
    if (total === 0 || this.#leaving.size <= total || oldest === undefined) return;
    this.move(oldest, 'over');
    oldest.visitor?.cut();
  }

  #heaviest(): Crowd | null {
    let heaviest: Crowd | null = null;
    for (const visits of this.#logins.values()) {
      const [first] = visits;
      heaviest = heavier(heaviest, visits.size, first);
    }
    return heaviest;
  }

  /**
   * Evicts the oldest of a crowd for a newcomer to one of `own`. If that is the same, or as large, only one that has had
   * its time gives way: else those who come together would throw each other out.
   */
  #makeRoom(crowd: Crowd | null, own: number, setting: string): boolean {
    if (crowd === null) return false;
    const { count, oldest } = crowd;
    const hadItsTime = this.#clock.nowMs() - oldest.sinceMs >= GRACE_MS;
    if (count <= own + 1 && !hadItsTime) return false;
    oldest.visitor?.evict(`no more connections allowed (${setting})`);
    return true;
  }

  #evictLargest(): void {
    let largest: Visit | null = null;
    for (const visits of this.#logins.values()) {
      for (const visit of visits) if (visit.bytes > (largest?.bytes ?? 0)) largest = visit;
    }
    largest?.visitor?.evict(TOO_MUCH);
  }
}

/** Visits of one address. */
interface Crowd {
  readonly count: number;
  readonly oldest: Visit;
}

/** The larger one, or the one whose oldest has come first. `first` is the oldest of `count` visits, if there are any. */
function heavier(crowd: Crowd | null, count: number, first: Visit | undefined): Crowd | null {
  if (first === undefined) return crowd;
  if (crowd !== null) {
    if (count < crowd.count) return crowd;
    if (count === crowd.count && first.sinceMs >= crowd.oldest.sinceMs) return crowd;
  }
  return { count, oldest: first };
}

import type { Clock } from '../base/clock.ts';
import type { Budget, Grant, PlaceRefusal, VisitKind } from '../pool/budget.ts';
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

/** One connection until it has logged in, or is gone. */
export class Visit {
  readonly peer: string;
  readonly sinceMs: number;
  /** Set as soon as there is one. */
  visitor: Visitor | null = null;
  /** The doorkeeper's alone to change, like `bytes`. */
  stage: Stage = 'login';
  /** Its place among those of its stage. */
  place: Grant;
  bytes = 0;
  readonly #door: Doorkeeper;
  #hasLines = false;

  constructor(door: Doorkeeper, place: Grant, peer: string, sinceMs: number) {
    this.#door = door;
    this.place = place;
    this.peer = peer;
    this.sinceMs = sinceMs;
  }

  /** Whether a line about it may be written. */
  mayWrite(): boolean {
    this.#hasLines = true;
    return this.#door.visitLines?.mayWrite(this.peer) ?? true;
  }

  /**
   * It has sent so many bytes more; less than 0: so many are held no longer. False: too many. Somebody may be evicted for
   * it, perhaps itself.
   */
  received(bytes: number): boolean {
    return this.#door.received(this, bytes);
  }

  /** See {@link Doorkeeper.makePlace}. */
  makePlace(database: string | null): boolean {
    return this.#door.makePlace(this.peer, database);
  }

  /** It carries a CancelRequest. False: there are too many of those. */
  cancels(): boolean {
    return this.#door.cancels(this);
  }

  /** Its CancelRequest is for nobody. */
  cancelsInVain(): void {
    this.#door.visitLines?.failed(this.peer);
  }

  loggedIn(): void {
    this.#door.move(this, 'over');
  }

  /** It is closed, without having logged in. */
  leaves(): void {
    const isFailure = this.stage === 'login' && this.#hasLines;
    this.#door.move(this, 'leaving');
    if (isFailure) this.#door.visitLines?.failed(this.peer);
  }

  /** Its socket is gone. */
  gone(): void {
    this.#door.move(this, 'over');
  }
}

/**
 * Bounds what connections cost that have not proved who they are: how many there are, in all and of one address, how
 * many bytes they have sent, how many lines they write. Where there is no room, whoever has taken most of it gives way, so
 * that a flood leaves others their turn. Unix sockets have a door of their own, at which the peer is a system user: whatever
 * comes over the network, they stay open. Places of `max_client_conn` are for whom either lets in.
 *
 * Of several threads each has one: the limits are of all, counted in the budget, but only those of its own does it know and
 * have give way. Each has its share of the bytes.
 */
export class Doorkeeper {
  /** Of those who are refused. */
  readonly lines: PeerLines;
  /**
   * Of visits. Null: all are written. Programs that share a system user, health checks among them, must not silence each
   * other.
   */
  readonly visitLines: PeerLines | null;
  readonly #clock: Clock;
  readonly #limits: () => DoorLimits;
  readonly #budget: Budget;
  readonly #owner: string;
  readonly #mostBytes: number;
  readonly #isUnix: boolean;
  /** All of the event loop. */
  readonly #doors: Doorkeeper[];
  /** By peer and in the order in which they came. */
  readonly #logins = new Map<string, Set<Visit>>();
  #loginBytes = 0;
  readonly #leaving = new Set<Visit>();

  /**
   * `owner`: the event loop's name in the budget; `loops`: how many there are, default 1; `isUnix`: default false;
   * `beside`: another door of the loop.
   */
  constructor(parts: {
    clock: Clock;
    lines: PeerLines;
    limits: () => DoorLimits;
    budget: Budget;
    owner: string;
    loops?: number;
    isUnix?: boolean;
    beside?: Doorkeeper;
  }) {
    this.#clock = parts.clock;
    this.lines = parts.lines;
    this.#limits = parts.limits;
    this.#budget = parts.budget;
    this.#owner = parts.owner;
    this.#mostBytes = MAX_TOTAL_BYTES / (parts.loops ?? 1);
    this.#isUnix = parts.isUnix ?? false;
    this.visitLines = this.#isUnix ? null : parts.lines;
    this.#doors = parts.beside === undefined ? [] : parts.beside.#doors;
    this.#doors.push(this);
  }

  /** A connection of `peer` has been accepted; another one may be evicted for it. */
  enter(peer: string): Visit | DoorRefusal {
    let place = this.#ask('login', peer);
    if (place === 'total') {
      const crowd = this.#heaviest();
      if (!this.#givesWay(crowd, this.#countOf(peer))) return 'max_login_conn';
      evict(crowd, 'max_login_conn');
      place = this.#ask('login', peer);
    }
    if (place === 'key') return 'max_login_conn_per_address';
    if (place === 'total') return 'max_login_conn';
    const visit = new Visit(this, place, peer, this.#clock.nowMs());
    let visits = this.#logins.get(peer);
    if (visits === undefined) {
      visits = new Set();
      this.#logins.set(peer, visits);
    }
    visits.add(visit);
    return visit;
  }

  /**
   * Evicts a connection that has a place of `max_client_conn` (in `database`, unless that is null) and has not logged in,
   * whichever door it has come by, for a connection of `peer`. False when nobody has to give way.
   */
  makePlace(peer: string, database: string | null): boolean {
    let heaviest: Crowd | null = null;
    for (const door of this.#doors) {
      // All who share a system user are one crowd, and a flood from the network is many: between doors the time counts.
      const own = door === this ? placed(this.#logins.get(peer) ?? [], database).length : Infinity;
      const crowd = door.#heaviestPlaced(database);
      if (this.#givesWay(crowd, own)) heaviest = heavier(heaviest, crowd.count, crowd.oldest);
    }
    if (heaviest === null) return false;
    evict(heaviest, 'max_client_conn');
    return true;
  }

  /** Of a visit: see {@link Visit.received}. */
  received(visit: Visit, bytes: number): boolean {
    visit.bytes += bytes;
    if (visit.stage === 'login') this.#loginBytes += bytes;
    if (visit.bytes > MAX_BYTES) return false;
    let all = 0;
    for (const door of this.#doors) all += door.#loginBytes;
    if (all > this.#mostBytes) this.#evictLargest();
    return true;
  }

  /** Of a visit: see {@link Visit.cancels}. */
  cancels(visit: Visit): boolean {
    const place = this.#ask('cancel', visit.peer);
    if (typeof place === 'string') return false;
    this.move(visit, 'cancel');
    visit.place = place;
    return true;
  }

  /** Of a visit. */
  move(visit: Visit, to: Stage): void {
    const from = visit.stage;
    if (from === to || from === 'over') return;
    visit.stage = to;
    if (from === 'login') this.#takeLogin(visit);
    else if (from === 'leaving') this.#leaving.delete(visit);
    this.#budget.giveBack(visit.place);
    if (to === 'leaving') this.#addLeaving(visit);
  }

  #ask(visitKind: VisitKind, peer: string): Grant | PlaceRefusal {
    const { total, perAddress } = this.#limits();
    // Who leaves is soon gone, or cut: one address may have them all.
    const keyLimit = visitKind === 'leaving' ? 0 : perAddress;
    const kind = this.#isUnix ? (`unix ${visitKind}` as const) : visitKind;
    return this.#budget.askPlace({ owner: this.#owner, kind, key: peer, totalLimit: total, keyLimit });
  }

  /** By all doors. */
  *#crowds(): Generator<Set<Visit>> {
    for (const door of this.#doors) yield* door.#logins.values();
  }

  #countOf(peer: string): number {
    return this.#logins.get(peer)?.size ?? 0;
  }

  #takeLogin(visit: Visit): void {
    const visits = this.#logins.get(visit.peer);
    visits?.delete(visit);
    if (visits?.size === 0) this.#logins.delete(visit.peer);
    this.#loginBytes -= visit.bytes;
  }

  /** Who takes its time to leave must not keep others from coming. */
  #addLeaving(visit: Visit): void {
    let place = this.#ask('leaving', visit.peer);
    const [oldest] = this.#leaving;
    if (typeof place === 'string' && oldest !== undefined) {
      this.move(oldest, 'over');
      oldest.visitor?.cut();
      place = this.#ask('leaving', visit.peer);
    }
    if (typeof place === 'string') {
      visit.stage = 'over';
      visit.visitor?.cut();
      return;
    }
    visit.place = place;
    this.#leaving.add(visit);
  }

  #heaviest(): Crowd | null {
    let heaviest: Crowd | null = null;
    for (const visits of this.#logins.values()) {
      const [first] = visits;
      heaviest = heavier(heaviest, visits.size, first);
    }
    return heaviest;
  }

  #heaviestPlaced(database: string | null): Crowd | null {
    let heaviest: Crowd | null = null;
    for (const visits of this.#logins.values()) {
      if (visits.size < (heaviest?.count ?? 0)) continue;
      const those = placed(visits, database);
      heaviest = heavier(heaviest, those.length, those[0]);
    }
    return heaviest;
  }

  /**
   * Whether the oldest of a crowd gives way to a newcomer to one of `own`. If that is the same, or as large, only one that
   * has had its time does: else those who come together would throw each other out.
   */
  #givesWay(crowd: Crowd | null, own: number): crowd is Crowd {
    if (crowd === null) return false;
    return crowd.count > own + 1 || this.#clock.nowMs() - crowd.oldest.sinceMs >= GRACE_MS;
  }

  #evictLargest(): void {
    let largest: Visit | null = null;
    for (const visits of this.#crowds()) {
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

function evict({ oldest }: Crowd, setting: string): void {
  oldest.visitor?.evict(`no more connections allowed (${setting})`);
}

/** Those that have a place: in `database`, unless that is null. */
function placed(visits: Iterable<Visit>, database: string | null): Visit[] {
  return [...visits].filter(({ visitor }) => {
    const placeIn = visitor?.placeIn ?? null;
    return placeIn !== null && (database === null || placeIn === database);
  });
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

import type { Logger } from '../base/log.ts';
import { fatal } from '../wire/pg-error.ts';
import type { Budget, Grant, Refusal, RoomClaim, ServerAsk } from './budget.ts';
import type { ClientLists } from './client-lists.ts';
import type { LoginNews, PoolContext, PoolIdentity, WelcomeData } from './context.ts';
import { decideLaunch, isBelowMinimum, loginsAtOnce, type WaitReason } from './decide.ts';
import type { DedicatedServers } from './dedicated.ts';
import type { PoolLimits } from './limits.ts';
import type { DedicatedClient, LoginFailure, PoolServer } from './peers.ts';
import type { ServerLists } from './server-lists.ts';
import type { Claimant, YieldClaims } from './yield-claims.ts';

/** What the launcher sees of its pool. */
export interface LaunchHost extends PoolIdentity {
  readonly key: string;
  readonly limits: PoolLimits;
  readonly welcome: WelcomeData | null;
  readonly isHeld: boolean;
  readonly clients: ClientLists;
  readonly servers: ServerLists;
  readonly dedicated: Pick<DedicatedServers, 'makeRoom'>;
  readonly nowMs: number;
  /** Permission is there: opens the connection. Throws when that is not possible; nothing is open then. */
  open(grant: Grant, dedicatedTo: DedicatedClient | null): void;
}

/** So long a budget's word holds that other event loops have all that a pool may have, should it not say when they don't. */
const ASK_AGAIN_MS = 100;

/** So long clients of a pool wait for its own servers before other pools make room for them with theirs. */
const PATIENCE_MS = 100;

/** Each client that comes to wait tries to open a server: others hear of it no more often than this. */
const CLAIM_AGAIN_MS = 10;

/**
 * Whoever has got room in its database and lacks it for its user keeps the one for so long while the other is made, and then
 * not again before so long has passed, at first and in the end. Else each of the two would be taken by others as it comes.
 */
const HOLD_MS = 500;
const HOLD_AGAIN_MS = 2000;
const MOST_HOLD_AGAIN_MS = 32_000;

/** What launchers of one event loop share. */
type LaunchParts = Pick<PoolContext, 'budget' | 'owner' | 'log' | 'news' | 'claims' | 'loops'>;

/** What a connection is opened for; a client: for that one alone. */
type Purpose = 'client' | 'min_pool_size' | DedicatedClient;

/**
 * Decides on new server connections of one pool and remembers how the last attempt ended, this event loop's or another
 * one's: after a failure there is no other one for `server_login_retry`, and clients meanwhile hear the cached reason.
 */
export class Launcher implements Claimant {
  readonly key: string;
  readonly #host: LaunchHost;
  readonly #budget: Budget;
  readonly #owner: string;
  readonly #log: Logger;
  readonly #news: LoginNews | null;
  readonly #claims: YieldClaims;
  readonly #loops: number;
  #failure: { readonly message: string; readonly atMs: number } | null = null;
  /**
   * Other event loops have what is lacking here of so many servers, as the budget has said: it says so when one is given
   * back. 0: not known.
   */
  #fullAt = 0;
  #fullMs = 0;
  /** When other event loops were asked for room. */
  #claimedMs = Number.NEGATIVE_INFINITY;
  /** An attempt has failed for a limit over several pools. */
  #lacksRoom = false;
  /** A place in the database, without a connection; the user has one too many as long as it is held. */
  #held: Grant | null = null;
  /** Since when, or when the last one was. */
  #heldMs = Number.NEGATIVE_INFINITY;
  #holdAgainMs = HOLD_AGAIN_MS;
  /** Logins that have succeeded since one failed, or since none was under way. */
  #successes = 0;
  /** One has just succeeded, and is being dealt with: what is opened meanwhile follows on it. */
  #hasSucceeded = false;

  constructor(host: LaunchHost, parts: LaunchParts) {
    this.key = host.key;
    this.#host = host;
    this.#budget = parts.budget;
    this.#owner = parts.owner;
    this.#log = parts.log;
    this.#news = parts.news ?? null;
    this.#claims = parts.claims;
    this.#loops = parts.loops ?? 1;
  }

  /** Why the last attempt failed; null when it did not. */
  get failure(): string | null {
    return this.#failure === null ? null : this.#failure.message;
  }

  /** An attempt has failed here. */
  failed(failure: LoginFailure): void {
    const atMs = this.#host.nowMs;
    this.#news?.failed(this.#host, failure, atMs);
    this.#remember(failure, atMs);
  }

  /** One has failed in another event loop. */
  hearFailure(failure: LoginFailure, atMs: number): void {
    if (this.#failure === null || atMs > this.#failure.atMs) this.#remember(failure, atMs);
  }

  /** Who waits is refused where that is the server's answer to all. */
  #remember(failure: LoginFailure, atMs: number): void {
    const { message, failWaiting, serverError } = failure;
    this.#failure = { message, atMs };
    this.#successes = 0;
    if (failWaiting && !this.hasUsable) this.#host.clients.refuseWaiting(serverError ?? fatal(message));
  }

  /** A login has succeeded in another event loop. */
  hearSuccess(): void {
    this.#failure = null;
  }

  succeeded(welcome: WelcomeData): void {
    this.#news?.succeeded(this.#host, welcome);
    this.hearSuccess();
    this.#successes++;
    this.#hasSucceeded = true;
  }

  /** The login that has succeeded is dealt with. */
  served(): void {
    this.#hasSucceeded = false;
  }

  /** Opens connections for waiting clients that none is on its way for, as far as the limits allow. */
  launchForClients(): void {
    while (this.#lacksServers && this.launch('client'));
  }

  /** Somebody waits whom neither a login nor a test is under way for. */
  get #lacksServers(): boolean {
    const { clients, servers } = this.#host;
    // All who wait for the welcome get it by the first login.
    const forLogins = Math.min(clients.waiting_login.length, 1);
    return Math.max(clients.waiting.length - servers.tested.length, forLogins) > servers.new.length;
  }

  /** Whether a place that another event loop makes would be used here at once. */
  get wouldOpen(): boolean {
    const { clients, servers } = this.#host;
    return this.#lacksServers || (clients.waiting_dedicated.length > 0 && servers.new.length === 0);
  }

  /**
   * Opens one connection if the limits allow: true. To fill up to min_pool_size nobody else's is asked for; for a client
   * that gets it for itself the pool's own are, too, and earlier failures say nothing.
   */
  launch(purpose: Purpose): boolean {
    const { servers, limits } = this.#host;
    if (purpose === 'client' && this.#isKnownFull) {
      this.#news?.lacks(this.#host);
    } else {
      const outcome = this.#attempt(purpose, servers.slotsTaken);
      if (outcome !== 'full') return outcome === 'opened';
      this.#fullAt = limits.poolSize;
      this.#fullMs = this.#host.nowMs;
    }
    return this.#attempt(purpose, limits.poolSize) === 'opened';
  }

  /**
   * Tries to open a connection though the last login failed. True: it may be tried again, but for a limit over several
   * pools. Clients wait then, for the reason that is known may be none any more.
   */
  retry(): boolean {
    this.#lacksRoom = false;
    this.launch('client');
    return this.#lacksRoom;
  }

  /** The sweep's part: what rests in other event loops is sooner here than a login, or the end of a test, that hangs. */
  askElsewhere(): void {
    const { clients, servers, isHeld } = this.#host;
    if (isHeld || servers.new.length + servers.tested.length === 0) return;
    if (clients.waiting.length + clients.waiting_login.length > 0) this.#news?.lacks(this.#host);
  }

  /** The budget has been given something back. */
  freed(): void {
    this.#fullAt = 0;
    this.#claimedMs = Number.NEGATIVE_INFINITY;
  }

  get #isKnownFull(): boolean {
    const { limits, nowMs } = this.#host;
    return this.#fullAt === limits.poolSize && this.#fullAt > 0 && nowMs - this.#fullMs < ASK_AGAIN_MS;
  }

  /** There may be room for who waits longest, in whatever pool: they are served at once, and not who comes now. */
  get #isOthersTurn(): boolean {
    const { maxDbConnections, maxUserConnections } = this.#host.limits;
    return this.#budget.isWaking && (maxDbConnections > 0 || maxUserConnections > 0);
  }

  /** `full`: of those who may have no more than `pool_size`, others have more than was thought. */
  #attempt(purpose: Purpose, slotsTaken: number): 'opened' | 'refused' | 'full' {
    const host = this.#host;
    const { database, user, limits } = host;
    const dedicatedTo = typeof purpose === 'string' ? null : purpose;
    const failure = dedicatedTo === null ? this.#failure : null;
    const decision = decideLaunch(
      {
        paused: host.isHeld,
        loginsInProgress: host.servers.new.length,
        loginsAllowed: this.#loginsAllowed(dedicatedTo),
        sinceFailureMs: failure === null ? null : host.nowMs - failure.atMs,
        slotsTaken,
        firstWaitMs: limits.reservePoolSize > 0 ? this.#firstWaitMs() : null,
      },
      limits,
    );
    if (decision.action === 'wait') {
      if (dedicatedTo !== null && decision.reason === 'pool is full') host.dedicated.makeRoom();
      if (purpose === 'client' && this.#mayOthersHelp(decision.reason)) this.#news?.lacks(host);
      return 'refused';
    }
    if (purpose !== 'min_pool_size' && this.#isOthersTurn) {
      this.#lacksRoom = true;
      return 'refused';
    }
    const grant = this.#ask(purpose, {
      owner: this.#owner,
      database,
      user,
      poolLimit: decision.poolLimit,
      databaseLimit: limits.maxDbConnections,
      userLimit: limits.maxUserConnections,
      servingLimit: purpose === 'min_pool_size' ? limits.minPoolSize : 0,
      isAside: dedicatedTo !== null,
    });
    if (typeof grant === 'string') {
      if (purpose === 'min_pool_size') return 'refused';
      if (grant === 'pool' && !decision.isReserve) return 'full';
      this.#evictFor(grant);
      return 'refused';
    }
    if (decision.isReserve) {
      this.#log.log('WARNING', `${database}/${user}: taking connection from reserve_pool`);
    }
    try {
      host.open(grant, dedicatedTo);
      return 'opened';
    } catch (error) {
      this.#log.log('ERROR', `${database}/${user}: cannot open a server connection: ${String(error)}`);
      const failure = { message: 'connect failed', serverError: null, failWaiting: false };
      if (dedicatedTo === null) this.failed(failure);
      this.#budget.giveBack(grant);
      dedicatedTo?.notOpened(failure);
      return 'refused';
    }
  }

  /**
   * Others may have a server to spare. The budget says so itself where it refuses; a pool that has all of `pool_size` here
   * does not ask it, while those of the reserve are elsewhere.
   */
  #mayOthersHelp(reason: WaitReason): boolean {
    if (reason === 'pool is full') return this.#host.limits.reservePoolSize > 0;
    return reason === 'login retry' || reason === 'login in progress';
  }

  /** As the budget answers; who gets half of the room that it needs may keep that for a while. */
  #ask(purpose: Purpose, ask: ServerAsk): Grant | Refusal {
    const held = purpose === 'client' ? this.#held : null;
    const answer = this.#budget.askServer({ ...ask, held });
    if (held !== null) {
      if (answer !== held) return answer;
      this.#held = null;
      this.#holdAgainMs = HOLD_AGAIN_MS;
      return held;
    }
    const mayHold = answer === 'user' && purpose === 'client' && ask.databaseLimit > 0;
    if (!mayHold || this.#host.nowMs - this.#heldMs < this.#holdAgainMs) return answer;
    // Who has servers is served by these.
    if (this.#budget.serving(ask.database, ask.user) > 0) return answer;
    // One for a user at a time: two would be in each other's way.
    const place = this.#budget.askServer({ ...ask, userLimit: ask.userLimit + 1 });
    if (typeof place === 'string') return place;
    this.#held = place;
    this.#heldMs = this.#host.nowMs;
    return 'user';
  }

  /** The sweep's part: what is held for too long, or for nobody, is others'. */
  letGo(): void {
    const { clients, isHeld, nowMs } = this.#host;
    const held = this.#held;
    if (held === null || (clients.isWaiting && !isHeld && nowMs - this.#heldMs < HOLD_MS)) return;
    this.#held = null;
    // What was of no use is tried less and less.
    this.#holdAgainMs = Math.min(2 * this.#holdAgainMs, MOST_HOLD_AGAIN_MS);
    this.#budget.giveBack(held);
  }

  /** There is a server that can serve somebody, now or later, here or in another event loop. */
  get hasUsable(): boolean {
    return this.#host.servers.usable > 0 || this.#news?.hasUsable(this.#host) === true;
  }

  /** One more can be opened only when one is gone, here or in another event loop. */
  get isAtLimit(): boolean {
    const { database, user, limits } = this.#host;
    const isReached = (limit: number, scope: { database?: string; user?: string }): boolean =>
      limit > 0 && this.#budget.count('server', scope) >= limit;
    return (
      this.isFull ||
      isReached(limits.maxDbConnections, { database }) ||
      isReached(limits.maxUserConnections, { user })
    );
  }

  /** As many servers as `pool_size` says hold slots, over all event loops. */
  get isFull(): boolean {
    const { database, user, limits } = this.#host;
    return limits.poolSize > 0 && this.#budget.count('server', { database, user }) >= limits.poolSize;
  }

  /**
   * Servers of the pool that can serve somebody, over all event loops; logins under way count where they are another
   * one's.
   */
  get usable(): number {
    const { database, user, servers } = this.#host;
    let count = this.#budget.serving(database, user);
    for (const { dedicatedTo } of servers.new) if (dedicatedTo === null) count--;
    return count;
  }

  /** Whether a server may be closed that nobody needs: not when there are no more than `least`, over all event loops. */
  maySpare({ grant }: PoolServer, least: number): boolean {
    return this.#budget.setAside(grant, least);
  }

  /** `min_pool_size`, which counts over all event loops: opens one more connection when the pool is below it. */
  fillToMinimum(): void {
    const { database, user, clients, isForcedUser, servers, limits } = this.#host;
    if (limits.minPoolSize === 0) return;
    const connected = this.#budget.serving(database, user);
    const clientCount = clients.count - clients.waiting_dedicated.length - servers.dedicated.length;
    if (isBelowMinimum({ connected, clientCount, isForcedUser }, limits)) {
      this.launch('min_pool_size');
    }
  }

  /** A client that wants a connection for itself waits until no login is under way: nobody goes before it meanwhile. */
  #loginsAllowed(dedicatedTo: DedicatedClient | null): number {
    const { clients, servers } = this.#host;
    if (dedicatedTo !== null || clients.isDedicatedFirst) return 1;
    // What was true of earlier ones may be so no longer.
    if (servers.new.length === 0 && !this.#hasSucceeded) this.#successes = 0;
    return loginsAtOnce(this.#successes, this.#loops);
  }

  #firstWaitMs(): number | null {
    const { oldestWaitStartMs } = this.#host.clients;
    return oldestWaitStartMs === 0 ? null : this.#host.nowMs - oldestWaitStartMs;
  }

  /** See {@link Claimant}. */
  get dueFromMs(): number | null {
    const { clients, servers, isHeld } = this.#host;
    // Once that login is over, those who wait still ask anew.
    if (!clients.isWaiting || servers.new.length > 0 || isHeld) return null;
    // Where the pool has servers, one of them is free sooner than another one's would have logged in.
    const patienceMs = servers.usable > 0 && !clients.isDedicatedFirst ? PATIENCE_MS : 0;
    return clients.oldestWaitStartMs + patienceMs;
  }

  #evictFor(refusal: Refusal): void {
    if (refusal !== 'database' && refusal !== 'user') return;
    this.#lacksRoom = true;
    const { database, user, nowMs } = this.#host;
    const scope = { kind: refusal, name: refusal === 'database' ? database : user };
    if (!this.#budget.requestYield(scope, this.#claimElsewhere())) this.#claims.add(scope, this, nowMs);
  }

  /** Null while other event loops have it from just before. */
  #claimElsewhere(): RoomClaim | null {
    const { clients, nowMs } = this.#host;
    if (nowMs - this.#claimedMs < CLAIM_AGAIN_MS) return null;
    const { dueFromMs } = this;
    // Who has not begun to wait will be right back.
    if (dueFromMs !== null) this.#claimedMs = nowMs;
    return { key: this.key, dueFromMs, askedMs: nowMs, takesOwn: !clients.isDedicatedFirst };
  }
}

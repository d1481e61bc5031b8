import {
  askInMs,
  decideMove,
  IDLE_WAIT_MS,
  moveSpacingMs,
  SPACING_MS,
  unfairnessMs,
} from '../../src/pool/decide-move.ts';
import type { Random } from '../support/random.ts';

/** What one loop of a simulation has to do. */
export interface LoopLoad {
  /** Clients of which each thinks, asks, and thinks again. */
  readonly clients: number;
  readonly servers: number;
}

/** Mean times, ms; single ones are between nothing and twice as much. */
export interface Times {
  readonly thinkMs: number;
  readonly transactionMs: number;
}

/** How long a move takes, and a question. */
const WAY_MS = 0.5;

interface Waiter {
  readonly sinceMs: number;
}

class SimLoop {
  idle: number;
  owned: number;
  readonly queue: Waiter[] = [];
  readonly moves: number[] = [];
  askedMs = Number.NEGATIVE_INFINITY;
  /** A look at whether to ask is due. */
  isAsking = false;

  constructor(servers: number) {
    this.idle = servers;
    this.owned = servers;
  }
}

/** Threads that serve clients first come, first served, and give servers to each other by `decideMove`: no real time passes. */
export class MoveWorld {
  readonly loops: readonly SimLoop[];
  nowMs = 0;
  /** The most by which somebody was overtaken beyond what may be: 0 or less is as promised. */
  worstExcessMs = Number.NEGATIVE_INFINITY;
  /** So many were overtaken right behind a move, by more than that. */
  excused = 0;
  /** Transactions. */
  served = 0;
  readonly #events: { atMs: number; act: () => void }[] = [];
  readonly #random: Random;
  readonly #times: Times;

  constructor(random: Random, loads: readonly LoopLoad[], times: Times) {
    this.#random = random;
    this.#times = times;
    this.loops = loads.map(({ servers }) => new SimLoop(servers));
    loads.forEach(({ clients }, i) => {
      for (let n = 0; n < clients; n++) this.#think(this.loops[i] as SimLoop);
    });
  }

  run(untilMs: number): void {
    for (let next = this.#next(untilMs); next !== null; next = this.#next(untilMs)) {
      this.nowMs = next.atMs;
      next.act();
    }
    this.nowMs = untilMs;
  }

  get moves(): number {
    return this.loops.reduce((sum, { moves }) => sum + moves.length, 0);
  }

  /** Most moves away from one loop within any second. */
  get mostInASecond(): number {
    let most = 0;
    for (const { moves } of this.loops) {
      moves.forEach((atMs, i) => {
        most = Math.max(most, moves.slice(i).filter((other) => other < atMs + 1000).length);
      });
    }
    return most;
  }

  get servers(): number[] {
    return this.loops.map(({ owned }) => owned);
  }

  #next(untilMs: number): { atMs: number; act: () => void } | null {
    let first = -1;
    this.#events.forEach(({ atMs }, i) => {
      if (atMs <= untilMs && (first < 0 || atMs < (this.#events[first]?.atMs ?? 0))) first = i;
    });
    return first < 0 ? null : (this.#events.splice(first, 1)[0] ?? null);
  }

  #in(ms: number, act: () => void): void {
    this.#events.push({ atMs: this.nowMs + ms, act });
  }

  #about(meanMs: number): number {
    return (this.#random.below(2000) / 1000) * meanMs;
  }

  #think(loop: SimLoop): void {
    this.#in(this.#about(this.#times.thinkMs), () => {
      loop.queue.push({ sinceMs: this.nowMs });
      this.#serve(loop);
    });
  }

  #serve(loop: SimLoop): void {
    for (let client = loop.queue[0]; client !== undefined && loop.idle > 0; client = loop.queue[0]) {
      loop.queue.shift();
      loop.idle--;
      this.served++;
      this.#check(loop, client);
      this.#in(this.#about(this.#times.transactionMs), () => {
        this.#think(loop);
        loop.idle++;
        this.#offer(loop);
        this.#serve(loop);
      });
    }
    this.#ask(loop);
  }

  /** Nobody elsewhere has waited for longer than this one, by more than may be. */
  #check(loop: SimLoop, client: Waiter): void {
    const since = this.loops
      .filter((other) => other !== loop)
      .flatMap(({ queue }) => queue[0]?.sinceMs ?? []);
    const behindMs = SPACING_MS + moveSpacingMs(this.nowMs - Math.min(this.nowMs, ...since)) + WAY_MS;
    for (const other of this.loops) {
      const first = other.queue[0];
      if (other === loop || first === undefined) continue;
      const overtakenMs = client.sinceMs - first.sinceMs;
      const excessMs = overtakenMs - unfairnessMs(this.nowMs - client.sinceMs, 2 * WAY_MS);
      if (this.nowMs - (loop.moves.at(-1) ?? Number.NEGATIVE_INFINITY) >= behindMs) {
        this.worstExcessMs = Math.max(this.worstExcessMs, excessMs);
      } else if (excessMs > 0) {
        this.excused++;
      }
    }
  }

  #ask(loop: SimLoop): void {
    const first = loop.queue[0];
    if (first === undefined || loop.isAsking) return;
    loop.isAsking = true;
    const inMs = askInMs(this.nowMs - first.sinceMs, this.nowMs - loop.askedMs);
    // Not in no time at all, which rounding could make of it, for ever.
    this.#in(Math.max(inMs, 0.01), () => {
      loop.isAsking = false;
      const still = loop.queue[0];
      // Who waits now may have come since.
      if (still === undefined) return;
      if (this.nowMs - still.sinceMs >= IDLE_WAIT_MS) {
        loop.askedMs = this.nowMs;
        for (const other of this.loops) if (other !== loop) this.#in(WAY_MS, () => this.#offer(other));
      }
      this.#ask(loop);
    });
  }

  #offer(loop: SimLoop): void {
    if (loop.idle === 0) return;
    let neediest: SimLoop | null = null;
    for (const other of this.loops) {
      const since = other.queue[0]?.sinceMs;
      if (other === loop || since === undefined) continue;
      if (neediest === null || since < (neediest.queue[0]?.sinceMs ?? 0)) neediest = other;
    }
    const waitOf = (it: SimLoop | null) => {
      const first = it?.queue[0];
      return first === undefined ? null : this.nowMs - first.sinceMs;
    };
    const { action } = decideMove({
      waitMs: waitOf(loop),
      otherWaitMs: waitOf(neediest),
      sinceMoveMs: this.nowMs - (loop.moves.at(-1) ?? Number.NEGATIVE_INFINITY),
      movesLastSecond: loop.moves.filter((atMs) => atMs > this.nowMs - 1000).length,
    });
    if (action === 'keep' || neediest === null) return;
    const to = neediest;
    loop.moves.push(this.nowMs);
    loop.idle--;
    loop.owned--;
    this.#in(WAY_MS, () => {
      to.idle++;
      to.owned++;
      this.#offer(to);
      this.#serve(to);
    });
  }
}

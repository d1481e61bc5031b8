import { strict as assert } from 'node:assert';
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { it } from 'vitest';
import { SharedCustody } from '../../src/daemon/server-custody.ts';
import type { Grant } from '../../src/pool/budget.ts';
import { viewOf } from '../../src/pool/budget-view.ts';
import type { SharedBudget } from '../../src/pool/shared-budget.ts';
import { type Random, withSeed } from '../support/random.ts';
import { audit } from './budget-audit.ts';
import { SERVER, SharedStage, SMALL } from './budget-stage.ts';
import { byEffort } from '../support/effort.ts';

const STEPS = byEffort({ wide: 3000, full: 100_000 });
const POOL_LIMIT = 6;

/** One life of a thread. */
interface Life {
  readonly owner: number;
  readonly budget: SharedBudget;
  readonly custody: SharedCustody;
  /** Its server connections, and the sockets that they have here. */
  readonly held: { readonly grant: Grant; readonly socket: Socket | null }[];
  /** Sockets of those that it has given away: closed, and the news of it comes later. */
  readonly closing: Socket[];
  /** What was sent to it, and it has not heard. */
  readonly inbox: Grant[];
  isDead: boolean;
}

/**
 * Threads that give server connections to each other and die at any time, between the words of one sentence, too; what
 * PostgreSQL has open is the witness.
 */
class World {
  readonly stage = new SharedStage(SMALL).joinAll();
  readonly #view = viewOf(this.stage.memory, SMALL.owners);
  readonly #random: Random;
  readonly #lives: Life[];
  /** Connections by their grants' ids: open at PostgreSQL from their login to the end that somebody has made of them. */
  readonly #open = new Set<number>();
  /** Between the threads, in the main one: told by which life, for which owner. */
  readonly #posted: { readonly grant: Grant; readonly to: number }[] = [];
  /** Dead and not reclaimed yet: the news of it comes later. */
  readonly #unburied: Life[] = [];
  moves = 0;
  lost = 0;

  constructor(random: Random) {
    this.#random = random;
    this.#lives = this.stage.budgets.map((budget, owner) => this.#life(owner, budget));
  }

  async step(): Promise<void> {
    const random = this.#random;
    const life = random.pick(this.#lives);
    switch (random.below(10)) {
      case 0:
      case 1:
      case 2:
        if (!life.isDead) this.#ask(life);
        break;
      case 3:
        if (!life.isDead) this.#end(life);
        break;
      case 4:
      case 5:
        if (!life.isDead) this.#give(life);
        break;
      case 6:
        if (random.below(2) === 0) this.#forward();
        else if (!life.isDead) life.closing.shift()?.emit('close');
        break;
      case 7:
        if (!life.isDead) this.#hear(life);
        break;
      case 8:
        if (random.below(8) === 0) this.#die(life);
        break;
      default:
        await this.#bury();
        await this.#release();
    }
    this.#check();
  }

  /** Everything is heard, and everybody gives back what they have: nothing is left. */
  async end(): Promise<void> {
    while (this.#unburied.length > 0) await this.#bury();
    while (this.#posted.length > 0) this.#forward();
    for (const life of this.#lives) {
      while (life.inbox.length > 0) this.#hear(life);
      while (life.held.length > 0) this.#end(life);
    }
    while (this.stage.keeper.orphans().length > 0) await this.#release();
    this.#check();
    assert.equal(this.stage.keeper.count('server'), 0, 'a grant is left');
    assert.equal(this.#open.size, 0, 'a connection is left');
    assert.equal(this.stage.open.size, 0, 'a descriptor is left');
  }

  #life(owner: number, budget: SharedBudget): Life {
    const custody = new SharedCustody(budget.custody, () => 3);
    return { owner, budget, custody, held: [], closing: [], inbox: [], isDead: false };
  }

  #ask(life: Life): void {
    const grant = life.budget.askServer({ ...SERVER, owner: life.budget.name, poolLimit: POOL_LIMIT });
    if (typeof grant === 'string') return;
    // Some have not got as far as a connection.
    const socket = this.#random.below(5) === 0 ? null : (new EventEmitter() as unknown as Socket);
    life.held.push({ grant, socket });
    if (socket === null) return;
    life.custody.keep(grant, socket);
    this.#open.add(grant.id);
  }

  #end(life: Life): void {
    const one = this.#take(life);
    if (one === null) return;
    this.#open.delete(one.grant.id);
    one.socket?.emit('close');
    life.budget.giveBack(one.grant);
  }

  #give(life: Life): void {
    const one = this.#take(life);
    if (one === null) return;
    const to = this.#random.below(SMALL.owners);
    const moved = to === life.owner ? null : life.budget.transfer(one.grant, to);
    if (moved === null) {
      life.held.push(one);
      return;
    }
    this.moves++;
    if (one.socket !== null) life.closing.push(one.socket);
    // Two statements.
    if (this.#random.below(30) === 0) this.#die(life);
    else this.#posted.push({ grant: moved, to });
  }

  /** Messages of one thread arrive in their order, those of several in any. */
  #forward(): void {
    const message = this.#posted.shift();
    if (message === undefined) return;
    const life = this.#lives[message.to] as Life;
    // A thread whose death is not known yet is still written to.
    if (!life.isDead || this.#unburied.includes(life)) life.inbox.push(message.grant);
  }

  #hear(life: Life): void {
    const grant = life.inbox.shift();
    if (grant === undefined) return;
    if (!life.budget.arrived(grant)) {
      this.lost++;
      return;
    }
    assert(this.#open.has(grant.id), 'what has arrived is open');
    // Taking it up fails at times.
    if (this.#random.below(10) === 0) {
      life.budget.leaveBehind(grant);
      return;
    }
    const socket = new EventEmitter() as unknown as Socket;
    life.custody.watch(grant, socket);
    life.held.push({ grant, socket });
  }

  #die(life: Life): void {
    if (life.isDead) return;
    life.isDead = true;
    this.#unburied.push(life);
  }

  async #bury(): Promise<void> {
    // News of deaths come in the order of the deaths, messages of the dead ahead of them.
    const life = this.#unburied.shift();
    if (life === undefined) return;
    while (this.#posted.length > 0) this.#forward();
    await this.stage.keeper.reclaim(life.owner);
    const next = this.stage.restart(life.owner);
    next.join(next.name, { onFreed: () => {}, yieldServer: () => 'nothing' as const });
    this.#lives[life.owner] = this.#life(life.owner, next);
  }

  async #release(): Promise<void> {
    const orphans = this.stage.keeper.orphans();
    if (orphans.length === 0) return;
    const orphan = this.#random.pick(orphans);
    assert(this.#open.delete(orphan.id), 'an orphan ends once');
    await this.stage.keeper.release(orphan);
  }

  #take(life: Life): Life['held'][number] | null {
    if (life.held.length === 0) return null;
    return life.held.splice(this.#random.below(life.held.length), 1)[0] ?? null;
  }

  #check(): void {
    assert.deepEqual(audit(this.#view), []);
    const counted = this.stage.keeper.count('server');
    assert(counted <= POOL_LIMIT, 'pool_size');
    assert(this.#open.size <= counted, 'PostgreSQL has more open than is counted');
    const held = this.#lives.reduce((sum, life) => sum + (life.isDead ? 0 : life.held.length), 0);
    assert(held <= counted, 'threads hold more than is counted');
    // Each connection is in custody, whoever has it.
    const fds = this.stage.open.size;
    assert.equal(fds, this.#open.size, 'descriptors in custody');
  }
}

it('servers go from thread to thread, whichever of them dies when: none is lost, none counts twice', async () => {
  await withSeed(async (random) => {
    const world = new World(random);
    for (let step = 0; step < STEPS; step++) await world.step();
    await world.end();
    assert(world.moves > STEPS / 100, `${world.moves} moves`);
    assert(world.lost > 0, 'no message came too late');
  });
});

import { type DerivationGate, MAX_DERIVATIONS } from '../auth/pbkdf2-queue.ts';
import type { SharedBudget } from '../pool/shared-budget.ts';

/** How long a thread leaves room to another that has waited for it: what tells that one goes by way of the main thread. */
const STAND_BACK_MS = 3;

/** One thread's gate: derivations are bounded over all that share the budget. Threads that all want more take turns. */
export class SharedGate implements DerivationGate {
  onRoom: () => void = () => {};
  readonly #budget: SharedBudget;
  #standsBack: NodeJS.Timeout | null = null;

  constructor(budget: SharedBudget) {
    this.#budget = budget;
  }

  enter(): (() => void) | null {
    if (this.#standsBack !== null) return null;
    const place = this.#budget.askPlace({
      owner: this.#budget.name,
      kind: 'derivation',
      key: '',
      totalLimit: MAX_DERIVATIONS,
      keyLimit: 0,
    });
    return typeof place === 'string' ? null : () => this.#leave(() => this.#budget.giveBack(place));
  }

  /** Something was given back in another thread. */
  rung(): void {
    this.onRoom();
  }

  #leave(giveBack: () => boolean): void {
    if (!giveBack() || this.#standsBack !== null) return;
    this.#standsBack = setTimeout(() => {
      this.#standsBack = null;
      this.onRoom();
    }, STAND_BACK_MS);
  }
}

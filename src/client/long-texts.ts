import type { Change } from '../prepared/ledger.ts';

/** Bytes. */
const LONG = 16 * 1024;

/**
 * Texts that are sent for one Bind or Describe alone. A request of a few bytes has the whole text sent, so that of long
 * ones the next waits until the last is answered.
 */
export class LongTexts {
  #underWay = 0;

  mayBeSent(bytes: number): boolean {
    return bytes <= LONG || this.#underWay === 0;
  }

  /** What hangs on the message with it. */
  sent(bytes: number): Change[] {
    if (bytes <= LONG) return [];
    this.#underWay++;
    const over = () => {
      this.#underWay--;
    };
    return [{ settle: over, undo: over }];
  }
}

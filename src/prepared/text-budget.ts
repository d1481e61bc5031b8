import { ProtocolViolation } from '../wire/pg-error.ts';

/** Memory for statements' texts of all clients, those that are on their way in included. Bytes. */
const TEXT_BYTES = 512 * 1024 * 1024;

/** How much memory the texts of prepared statements take, so that no client can have the process run out of it. */
export class TextBudget {
  limitBytes: number;
  usedBytes = 0;

  constructor(limitBytes = TEXT_BYTES) {
    this.limitBytes = limitBytes;
  }

  /** Throws ProtocolViolation where `bytes` more would be too many: it ends the client that asks for them. */
  check(bytes: number): void {
    if (!this.hasRoom(bytes)) throw new ProtocolViolation('out of memory');
  }

  /** `bytes` more are not too many. */
  hasRoom(bytes: number): boolean {
    return this.usedBytes + bytes <= this.limitBytes;
  }
}

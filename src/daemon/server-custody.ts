import type { Socket } from 'node:net';
import type { Grant } from '../pool/budget.ts';
import type { GrantCustody } from '../pool/grant-custody.ts';
import type { ServerCustody } from '../server/services.ts';

const NO_KEY = new Uint8Array(0);

/** A thread's server connections in the custody of a budget, for as long as each is there. */
export class SharedCustody implements ServerCustody {
  readonly #custody: Pick<GrantCustody, 'take' | 'end' | 'setBackendKey'>;
  readonly #fdOf: (socket: Socket) => number;
  /** By their grants' ids. */
  readonly #sockets = new Map<number, Socket>();

  constructor(
    custody: Pick<GrantCustody, 'take' | 'end' | 'setBackendKey'>,
    fdOf: (socket: Socket) => number,
  ) {
    this.#custody = custody;
    this.#fdOf = fdOf;
  }

  keep(grant: Grant, socket: Socket): boolean {
    if (!this.#custody.take(grant, this.#fdOf(socket))) return false;
    this.watch(grant, socket);
    return true;
  }

  /** While there is a copy of its descriptor, the peer hears nothing of the end of the original. */
  watch(grant: Grant, socket: Socket): void {
    this.#sockets.set(grant.id, socket);
    socket.prependOnceListener('close', () => {
      // Where another one stands for the same grant by now, this is not its end.
      if (this.#sockets.get(grant.id) !== socket) return;
      this.#sockets.delete(grant.id);
      this.#custody.end(grant);
    });
  }

  learnKey(grant: Grant, key: Buffer | null, tlsHost: string | null): void {
    this.#custody.setBackendKey(grant, key ?? NO_KEY, tlsHost);
  }
}

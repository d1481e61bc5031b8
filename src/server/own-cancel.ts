import type { CancelCarrier } from '../pool/peers.ts';
import type { ServerTls } from '../tls/server-side.ts';
import type { ServerServices } from './services.ts';
import type { ServerAddress } from './target.ts';

/** Our own CancelRequests for what still runs on a server connection: one at a time. */
export class OwnCancel {
  readonly #services: Pick<ServerServices, 'cancelAt'>;
  readonly #address: ServerAddress;
  #carrier: CancelCarrier | null = null;

  constructor(services: Pick<ServerServices, 'cancelAt'>, address: ServerAddress) {
    this.#services = services;
    this.#address = address;
  }

  /** `backendKey`: what the server gave; null: it cannot be asked. `tls`: what the connection is encrypted by. */
  send(backendKey: Buffer | null, tls: ServerTls | null): void {
    if (backendKey === null || this.#carrier !== null) return;
    this.#carrier = this.#services.cancelAt(this.#address, backendKey, tls, () => {
      this.#carrier = null;
    });
  }

  /** The server's connection is gone: nothing is left to be cancelled. */
  cut(): void {
    this.#carrier?.cut();
  }
}

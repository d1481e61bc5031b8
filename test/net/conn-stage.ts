import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach } from 'vitest';

/** A server on a free port of 127.0.0.1 for each test of the file that makes one of these. */
export class ConnStage {
  /** Takes the next connections, in order. */
  accepted: ((socket: Socket) => void)[] = [];
  /** Destroyed with the test. */
  readonly opened: Socket[] = [];
  #server: Server | null = null;

  constructor() {
    beforeEach(async () => {
      const options = { allowHalfOpen: true, noDelay: true, pauseOnConnect: true };
      const server = createServer(options, (socket) => this.accepted.shift()?.(socket));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      this.#server = server;
    });
    afterEach(() => {
      this.accepted = [];
      for (const socket of this.opened.splice(0)) socket.destroy();
      this.#server?.close();
    });
  }

  get port(): number {
    return (this.#server?.address() as AddressInfo).port;
  }
}

import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach } from 'vitest';
import { Acceptor } from '../../src/net/acceptor.ts';
import { type Native, openNative } from '../../src/net/native.ts';
import { socketFd } from '../../src/net/native-sockets.ts';
import type { RawSocket } from '../../src/net/raw-socket.ts';

/** A server on a free port of 127.0.0.1 for each test of the file that makes one of these, and one for raw sockets. */
export class ConnStage {
  /** For raw sockets. */
  readonly native: Native;
  /** Takes the next connections, in order. */
  accepted: ((socket: Socket) => void)[] = [];
  acceptedRaw: ((socket: RawSocket) => void)[] = [];
  /** Destroyed with the test. */
  readonly opened: { destroy(): unknown }[] = [];
  rawPort = 0;
  #server: Server | null = null;
  #acceptor: Acceptor | null = null;

  constructor(native: Native = openNative()) {
    this.native = native;
    beforeEach(async () => {
      this.#server = await listening((socket) => this.accepted.shift()?.(socket));
      const bound = await listening(() => {});
      this.rawPort = (bound.address() as AddressInfo).port;
      this.#acceptor = Acceptor.open(this.native, socketFd(bound), {
        accepted: (socket) => this.acceptedRaw.shift()?.(socket),
        failed: (error) => {
          throw error;
        },
      });
      this.#acceptor?.watch();
      bound.close();
    });
    afterEach(() => {
      this.accepted = [];
      this.acceptedRaw = [];
      for (const socket of this.opened.splice(0)) socket.destroy();
      this.#server?.close();
      this.#acceptor?.close();
    });
  }

  get port(): number {
    return (this.#server?.address() as AddressInfo).port;
  }
}

async function listening(onConnection: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, onConnection);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

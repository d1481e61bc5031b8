import { connect, createServer, type Server, type Socket } from 'node:net';
import type { PostgresAddress } from '../../src/cli/start/postgres.ts';
import { backend, CANCEL_REQUEST, message, packet } from './peer-messages.ts';
import { ScriptedPeer } from './scripted-peer.ts';

/**
 * What becomes of a StartupMessage for more than protocol 3.0:
 * - `none`: PostgreSQL gets it.
 * - `negotiates`: 3.0 by NegotiateProtocolVersion, as PostgreSQL from 9.3.21 to 17.
 * - `refuses`: an error, as PostgreSQL before 9.3.21.
 * - `hangs up`, `says minor 0` (a version without its major part), `takes anything`: as programs that speak the protocol
 *   more or less. The last one speaks 3.0 and doesn't say so.
 */
export type ProtocolLimit =
  | 'none'
  | 'negotiates'
  | 'refuses'
  | 'hangs up'
  | 'says minor 0'
  | 'takes anything';

const PROTOCOL_30 = 0x30000;

/** Stands in front of a PostgreSQL and makes it one that speaks 3.0 at most. Everything else passes untouched. */
export class LimitedServer implements AsyncDisposable {
  readonly #postgres: PostgresAddress;
  readonly #limit: ProtocolLimit;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** The minor versions that were asked for, in order. */
  readonly askedMinors: number[] = [];
  /** Bytes of the secrets of CancelRequests, in order. */
  readonly cancelSecrets: number[] = [];

  private constructor(postgres: PostgresAddress, limit: ProtocolLimit) {
    this.#postgres = postgres;
    this.#limit = limit;
    this.#server = createServer((socket) => {
      this.#keep(socket);
      // A connection that ends before its first packet is whole has asked for nothing.
      this.#serve(new ScriptedPeer(socket)).catch(() => socket.destroy());
    });
  }

  static async listen(postgres: PostgresAddress, limit: ProtocolLimit): Promise<LimitedServer> {
    const limited = new LimitedServer(postgres, limit);
    await new Promise<void>((resolve, reject) => {
      limited.#server.once('error', reject);
      limited.#server.listen(0, '127.0.0.1', resolve);
    });
    return limited;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('not listening on a port');
    return address.port;
  }

  async #serve(peer: ScriptedPeer): Promise<void> {
    const { body } = await peer.packet();
    const code = body.readInt32BE(0);
    if (code === CANCEL_REQUEST) {
      this.cancelSecrets.push(body.length - 8);
      this.#pass(peer, packet(body));
      return;
    }
    const minor = code - PROTOCOL_30;
    this.askedMinors.push(minor);
    if (minor === 0 || this.#limit === 'none') {
      this.#pass(peer, packet(body));
      return;
    }
    switch (this.#limit) {
      case 'negotiates':
        await peer.send(message('v', PROTOCOL_30, 0));
        break;
      case 'refuses': {
        const text = `unsupported frontend protocol 3.${minor}: server supports 1.0 to 3.0`;
        await peer.send(backend.errorResponse({ S: 'FATAL', C: '0A000', M: text }));
        await peer.close();
        return;
      }
      case 'hangs up':
        await peer.close();
        return;
      case 'says minor 0':
        await peer.send(message('v', 0, 0));
        break;
      case 'takes anything':
        break;
    }
    this.#pass(peer, packet(PROTOCOL_30, body.subarray(4)));
  }

  /** From here on bytes pass both ways. */
  #pass(peer: ScriptedPeer, first: Buffer): void {
    const { host, port } = this.#postgres;
    const upstream = connect({ host, port, noDelay: true });
    this.#keep(upstream);
    upstream.write(first);
    const { socket } = peer;
    socket.removeAllListeners('data');
    socket.pipe(upstream).pipe(socket);
    socket.once('close', () => upstream.destroy());
    upstream.once('close', () => socket.destroy());
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.#sockets.delete(socket));
  }

  /** Drops all connections and stops listening. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }
}

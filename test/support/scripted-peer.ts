import { connect, createServer, type Server, type Socket } from 'node:net';
import { backend, CANCEL_REQUEST, frontend, type ReadMessage } from './peer-messages.ts';
import { waitFor, within } from './wait-for.ts';

/**
 * One end of a connection that does what a test's script says: expect this, send that, drop in the middle,
 * stall, close half. Nothing is sent or answered by itself, and any bytes may be sent.
 */
export class ScriptedPeer {
  readonly socket: Socket;
  #buffered: Buffer[] = [];
  #length = 0;
  #ended = false;
  #closed = false;
  #wake: (() => void) | null = null;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.#buffered.push(chunk);
      this.#length += chunk.length;
      this.#wake?.();
    });
    socket.on('end', () => {
      this.#ended = true;
      this.#wake?.();
    });
    // A reset is one of the ends that scripts expect; `close` follows.
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#ended = true;
      this.#closed = true;
      this.#wake?.();
    });
  }

  /** Sends bytes as they are; settles when the kernel has them, or when the connection is gone. */
  send(...parts: readonly Uint8Array[]): Promise<void> {
    return new Promise((resolve) => {
      this.socket.write(Buffer.concat(parts), () => resolve());
    });
  }

  /** Sends each chunk by itself, so that they arrive as cut unless the kernel joins them. */
  async sendChunks(chunks: readonly Uint8Array[]): Promise<void> {
    for (const chunk of chunks) await this.send(chunk);
  }

  /** The next `count` bytes. Rejects when the connection ends before. */
  async bytes(count: number): Promise<Buffer> {
    await this.#until(() => this.#length >= count || this.#ended, `${count} bytes`);
    if (this.#length < count) throw new Error(`the peer closed after ${this.#length} of ${count} bytes`);
    // Joined only when more has arrived, not for every message of one large chunk.
    const [first = Buffer.alloc(0)] = this.#buffered;
    const all = this.#buffered.length === 1 ? first : Buffer.concat(this.#buffered);
    this.#buffered = [all.subarray(count)];
    this.#length -= count;
    return all.subarray(0, count);
  }

  /** The next message, which must be of this type if one is given. */
  async message(type?: string): Promise<ReadMessage> {
    const header = await this.bytes(5);
    const body = await this.bytes(header.readInt32BE(1) - 4);
    const read = { type: String.fromCharCode(header.readUInt8(0)), body };
    if (type !== undefined && read.type !== type) {
      throw new Error(
        `expected message ${type}, got ${read.type}: ${JSON.stringify(body.toString('latin1'))}`,
      );
    }
    return read;
  }

  /** The next messages up to and with the first of type `last`. */
  async messagesTo(last: string): Promise<ReadMessage[]> {
    const messages: ReadMessage[] = [];
    for (;;) {
      const next = await this.message();
      messages.push(next);
      if (next.type === last) return messages;
    }
  }

  /** The next packet of the startup phase, which has no type. */
  async packet(): Promise<ReadMessage> {
    const length = (await this.bytes(4)).readInt32BE(0);
    return { type: '', body: await this.bytes(length - 4) };
  }

  /** Waits for the other side's end of the stream and gives what was left unread. */
  async end(): Promise<Buffer> {
    await this.#until(() => this.#ended, 'the end of the stream');
    const rest = Buffer.concat(this.#buffered);
    this.#buffered = [];
    this.#length = 0;
    return rest;
  }

  /** Bytes that have arrived and were not read by the script. */
  get unread(): number {
    return this.#length;
  }

  /** Whether the connection is gone in both directions. */
  get isClosed(): boolean {
    return this.#closed;
  }

  /** Stops taking bytes from the kernel, so that the sender's window fills. */
  stall(): void {
    this.socket.pause();
  }

  /** Takes bytes again. */
  resume(): void {
    this.socket.resume();
  }

  /** Ends our direction, after what was sent; the other stays open. */
  halfClose(): void {
    this.socket.end();
  }

  /** Is gone at once with a reset, as after a crash of the machine's process. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** Closes both directions and waits for it. */
  async close(): Promise<void> {
    this.socket.destroy();
    await this.#until(() => this.#closed, 'the close of the connection');
  }

  async #until(condition: () => boolean, what: string): Promise<void> {
    const arrived = async (): Promise<void> => {
      while (!condition()) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    };
    await within(arrived(), `${what} from the peer`);
  }
}

/**
 * A client for the test to script: connects to a TCP port on 127.0.0.1 or to a unix socket's path; `from` another loopback
 * address, if one is given.
 */
export async function connectPeer(to: number | string, from?: string): Promise<ScriptedPeer> {
  const options = { allowHalfOpen: true, ...(from === undefined ? {} : { localAddress: from }) };
  const socket =
    typeof to === 'number'
      ? connect({ port: to, host: '127.0.0.1', ...options })
      : connect({ path: to, ...options });
  await within(
    new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    }),
    `a connection to ${to}`,
  );
  return new ScriptedPeer(socket);
}

/** What a server that a test plays gives at login. */
export interface ScriptedLogin {
  readonly pid?: number;
  readonly secret?: Uint8Array;
  /** `server_version`. */
  readonly version?: string;
}

/** A server's part of a login with trust, from the StartupMessage on; throws at another packet. */
export async function playLogin(peer: ScriptedPeer, options: ScriptedLogin = {}): Promise<void> {
  await answerStartup(peer, await peer.packet(), options);
}

async function answerStartup(
  peer: ScriptedPeer,
  startup: ReadMessage,
  options: ScriptedLogin,
): Promise<void> {
  if (startup.body.readInt32BE(0) >>> 16 !== 3) throw new Error('expected a StartupMessage');
  await peer.send(
    backend.authenticationOk(),
    backend.parameterStatus('server_version', options.version ?? '18.0'),
    backend.parameterStatus('client_encoding', 'UTF8'),
    backend.parameterStatus('standard_conforming_strings', 'on'),
    backend.backendKeyData(options.pid ?? 4242, options.secret ?? Buffer.from('KEY!')),
    backend.readyForQuery(),
  );
}

/** A PostgreSQL that a test plays itself. */
export class ScriptedServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #peers: ScriptedPeer[] = [];
  #taken = 0;

  private constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => this.#peers.push(new ScriptedPeer(socket)));
  }

  /** Listens on a free port of 127.0.0.1, or on a unix socket's path. */
  static async listen(path?: string): Promise<ScriptedServer> {
    const server = createServer({ allowHalfOpen: true });
    const scripted = new ScriptedServer(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      if (path === undefined) server.listen(0, '127.0.0.1', resolve);
      else server.listen(path, resolve);
    });
    return scripted;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('not listening on a port');
    return address.port;
  }

  /** How many connections have been accepted in all. */
  get accepted(): number {
    return this.#peers.length;
  }

  /** The next connection that was not taken yet, raw. */
  async accept(): Promise<ScriptedPeer> {
    const index = this.#taken++;
    return waitFor(() => this.#peers[index], { what: `connection ${index + 1} to the scripted server` });
  }

  /**
   * The next connection that carries no CancelRequest, and its first packet. Cancels are closed without an answer, as
   * PostgreSQL does: one for a connection that the script was slow to close may come ahead of what it waits for.
   */
  async acceptStartup(): Promise<{ readonly peer: ScriptedPeer; readonly startup: ReadMessage }> {
    for (;;) {
      const peer = await this.accept();
      const startup = await peer.packet();
      if (startup.body.readInt32BE(0) !== CANCEL_REQUEST) return { peer, startup };
      await peer.close();
    }
  }

  /** The next connection but for CancelRequests, after a login with trust; throws at an SSLRequest. */
  async acceptLogin(options: ScriptedLogin = {}): Promise<ScriptedPeer> {
    const { peer, startup } = await this.acceptStartup();
    await answerStartup(peer, startup, options);
    return peer;
  }

  /** Drops all connections and stops listening. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const peer of this.#peers) peer.socket.destroy();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }
}

/** Connects and logs in without a password; gives the peer after its first ReadyForQuery. */
export async function connectAndLogin(
  to: number | string,
  parameters: Readonly<Record<string, string>>,
): Promise<ScriptedPeer> {
  const peer = await connectPeer(to);
  await peer.send(frontend.startup(parameters));
  await peer.messagesTo('Z');
  return peer;
}

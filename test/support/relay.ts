import { connect, createServer, type Server, type Socket } from 'node:net';

/** How a relay treats those who connect: up = leads to PostgreSQL, mute = takes them and says nothing, down = isn't there. */
export type RelayState = 'up' | 'mute' | 'down';

/** Stands for a PostgreSQL at an address of its own, such as 127.0.0.2, which comes and goes. */
export class Relay implements AsyncDisposable {
  readonly host: string;
  readonly #to: { readonly host: string; readonly port: number };
  readonly #sockets = new Set<Socket>();
  #port: number;
  #server: Server | null = null;
  #state: RelayState = 'down';
  /** Connections that it has taken. */
  accepted = 0;

  private constructor(host: string, port: number, to: { readonly host: string; readonly port: number }) {
    this.host = host;
    this.#port = port;
    this.#to = to;
  }

  /** `port` 0: a free one. */
  static async start(host: string, port: number, to: { host: string; port: number }): Promise<Relay> {
    const relay = new Relay(host, port, to);
    await relay.become('up');
    return relay;
  }

  /** The same for several addresses, with one port. */
  static async startAll(hosts: readonly string[], to: { host: string; port: number }): Promise<Relay[]> {
    const relays: Relay[] = [];
    for (const host of hosts) relays.push(await Relay.start(host, relays[0]?.port ?? 0, to));
    return relays;
  }

  get port(): number {
    return this.#port;
  }

  get state(): RelayState {
    return this.#state;
  }

  /** Connections that go through it now. */
  get open(): number {
    return this.#sockets.size / 2;
  }

  /** Down cuts what goes through it; mute leaves that. */
  async become(state: RelayState): Promise<void> {
    this.#state = state;
    if (state !== 'down') {
      if (this.#server === null) await this.#listen();
      return;
    }
    const server = this.#server;
    this.#server = null;
    const closed = new Promise<void>((resolve) => {
      if (server === null) resolve();
      else server.close(() => resolve());
    });
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.become('down');
  }

  async #listen(): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (socket) => this.#take(socket));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#port, this.host, resolve);
    });
    const address = server.address();
    if (address !== null && typeof address === 'object') this.#port = address.port;
  }

  #take(client: Socket): void {
    this.accepted++;
    this.#keep(client);
    if (this.#state === 'mute') {
      // Read on, so that its end is noticed.
      client.resume().on('end', () => client.destroy());
      return;
    }
    const server = connect({ ...this.#to, allowHalfOpen: true });
    this.#keep(server);
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.pipe(to);
      from.on('close', () => to.destroy());
    }
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    // Cuts are what it is for; `close` follows.
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
  }
}

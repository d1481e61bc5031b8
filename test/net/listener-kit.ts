import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type ServerOpts, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import type { Logger } from '../../src/base/log.ts';
import { type ListenOptions, type Listeners, openListeners } from '../../src/net/listener.ts';
import type { ListenerInfo } from '../../src/net/listening-socket.ts';
import { type ConnSocket, RawSocket } from '../../src/net/raw-socket.ts';

/** Keeps lines as `LEVEL text`. */
export class RecordingLog implements Logger {
  readonly lines: string[] = [];

  enabled(): boolean {
    return true;
  }

  log(level: string, message: string): void {
    this.lines.push(`${level} ${message}`);
  }
}

/** Timers that fire when the test says so. */
export class ManualSchedule {
  pending: { readonly delayMs: number; readonly run: () => void }[] = [];

  readonly schedule = (delayMs: number, run: () => void): (() => void) => {
    const entry = { delayMs, run };
    this.pending.push(entry);
    return () => {
      this.pending = this.pending.filter((other) => other !== entry);
    };
  };

  fire(): void {
    for (const entry of this.pending.splice(0)) entry.run();
  }
}

/** One set of listeners with everything that tests watch; `close` ends it and every accepted socket. */
export class ListenerKit {
  readonly log = new RecordingLog();
  readonly timers = new ManualSchedule();
  readonly accepted: { readonly socket: ConnSocket; readonly listener: ListenerInfo }[] = [];
  readonly servers: Server[] = [];
  closedServers = 0;
  readonly #clients: Socket[] = [];
  #listeners: Listeners[] = [];

  async open(options: Partial<ListenOptions>): Promise<Listeners> {
    const listeners = await openListeners(
      {
        listenAddr: [],
        listenPort: 0,
        unixSocketDir: '',
        unixSocketMode: 0o777,
        unixSocketGroup: '',
        backlog: 16,
        reusePort: false,
        schedule: this.timers.schedule,
        createServer: this.#createServer,
        ...options,
      },
      (socket, listener) => {
        if (!(socket instanceof RawSocket)) socket.on('error', () => {});
        this.accepted.push({ socket, listener });
      },
      this.log,
    );
    this.#listeners.push(listeners);
    return listeners;
  }

  readonly #createServer = (options: ServerOpts): Server => {
    const server = createServer(options);
    this.servers.push(server);
    server.on('close', () => this.closedServers++);
    return server;
  };

  /** Connects; resolves with the socket, or with the error's code. */
  dial(info: ListenerInfo): Promise<Socket | string> {
    const path = info.address.startsWith('@') ? `\0${info.address.slice(1)}` : info.address;
    const socket =
      info.kind === 'unix' ? connect({ path }) : connect({ host: info.address, port: info.port });
    this.#clients.push(socket);
    return new Promise((resolve) => {
      socket.once('connect', () => resolve(socket));
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    });
  }

  close(): void {
    for (const listeners of this.#listeners.splice(0)) listeners.close();
    for (const { socket } of this.accepted) socket.destroy();
    for (const socket of this.#clients) socket.destroy();
  }
}

/** A kit and a folder for each test of the file that makes one of these. */
export class ListenerStage {
  #kit: ListenerKit | null = null;
  #folder = '';

  constructor() {
    beforeEach(() => {
      this.#kit = new ListenerKit();
      this.#folder = mkdtempSync(join(tmpdir(), 'pgweir-listen-'));
    });
    afterEach(() => {
      this.kit.close();
      rmSync(this.#folder, { recursive: true, force: true });
    });
  }

  get kit(): ListenerKit {
    if (this.#kit === null) throw new Error('no test runs');
    return this.#kit;
  }

  get folder(): string {
    return this.#folder;
  }
}

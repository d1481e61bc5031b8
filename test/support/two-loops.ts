import { createServer, type Server, type Socket } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../../src/base/clock.ts';
import type { Logger } from '../../src/base/log.ts';
import type { PostgresAddress } from '../../src/cli/start/postgres.ts';
import { loadConfig } from '../../src/config/load.ts';
import { createLoop, type Loop } from '../../src/daemon/loop.ts';
import { openNative } from '../../src/net/native.ts';
import { type Grant, LocalBudget } from '../../src/pool/budget.ts';
import type { ServerExchange } from '../../src/pool/context.ts';
import type { MovedServer } from '../../src/pool/moved-server.ts';
import type { Pool } from '../../src/pool/pool.ts';
import { newStatementNaming, type StatementNaming } from '../../src/prepared/statement.ts';
import type { ServerConnection } from '../../src/server/connection.ts';
import { type PoolerConfig, writePoolerConfig } from './pooler-config.ts';
import { sharedPostgres } from './postgres.ts';

/** One of two event loops' work, in this one, with a port of its own. */
export class OneLoop {
  readonly loop: Loop;
  readonly lines: string[] = [];
  era = 0;
  /** What goes elsewhere by itself is decided here. */
  wants: (pool: Pool) => boolean = () => false;
  readonly sent: MovedServer[] = [];
  readonly #server: Server;

  constructor(
    name: string,
    folder: { iniPath: string; budget: LocalBudget; nextId: () => number },
    naming: StatementNaming,
    isStreaming: boolean,
  ) {
    const log: Logger = {
      enabled: (level) => level !== 'NOISE',
      log: (level, text) => void this.lines.push(`${level} ${text}`),
    };
    const exchange: ServerExchange<Pool> = {
      era: () => this.era,
      wants: (pool) => this.wants(pool),
      stays: () => {},
      mayReopen: () => false,
      send: (_pool, moved) => void this.sent.push(moved),
      forget: () => {},
    };
    this.loop = createLoop({
      config: loadConfig(folder.iniPath, null),
      clock: new SystemClock(),
      log,
      // As in threads beside the main one, or as in that one.
      native: isStreaming ? { ...openNative(), epoll: () => null } : openNative(),
      budget: folder.budget,
      owner: name,
      nextId: folder.nextId,
      mockSecret: randomBytes(32),
      naming,
      exchange,
      custody: null,
      outside: {
        control: null,
        hooks: {
          reload: async () => {},
          set: async () => null,
          shutdownBegins: () => {},
          drained: () => {},
          exit: () => {},
        },
        isUnixReplaced: () => false,
        cancelElsewhere: async () => null,
        onStatsPeriod: () => {},
      },
    });
    this.#server = createServer(
      { allowHalfOpen: true, noDelay: true, pauseOnConnect: true },
      (socket: Socket) => this.loop.accept(socket, { kind: 'tcp', port: this.port }),
    );
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.loop.begin();
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('it does not listen');
    return address.port;
  }

  /** The pool of (database, user); opened by the first login. */
  pool(database: string, user: string): Pool {
    const pool = this.loop.state.pools.find(database, user);
    if (pool === null) throw new Error(`no pool of ${database}/${user}`);
    return pool;
  }

  stop(): void {
    this.#server.close();
    this.loop.stop();
  }
}

/** How two loops are started. */
export interface TwoLoopsConfig extends PoolerConfig {
  readonly postgres?: PostgresAddress;
  /** They read through Node's streams, as threads beside the main one do. */
  readonly isStreaming?: boolean;
}

/** Two loops over one budget, as threads are, but in this one: what goes from one to the other goes as plain data. */
export class TwoLoops implements AsyncDisposable {
  readonly postgres: PostgresAddress;
  readonly budget = new LocalBudget();
  readonly loops: readonly [OneLoop, OneLoop];
  readonly #folder = mkdtempSync(join(tmpdir(), 'pgweir-t-'));

  private constructor(config: TwoLoopsConfig) {
    this.postgres = config.postgres ?? sharedPostgres();
    const iniPath = writePoolerConfig(this.#folder, this.postgres, config);
    let lastId = 0;
    const shared = { iniPath, budget: this.budget, nextId: () => ++lastId };
    const naming = newStatementNaming();
    const streams = config.isStreaming ?? false;
    this.loops = [
      new OneLoop('one', shared, naming, streams),
      new OneLoop('two', shared, structuredClone(naming), streams),
    ];
  }

  static async start(config: TwoLoopsConfig): Promise<TwoLoops> {
    const two = new TwoLoops(config);
    for (const loop of two.loops) await loop.listen();
    return two;
  }

  /** Takes an idle server out of the pool of loop `from`; null: there is none that may go. */
  take(from: 0 | 1, database: string, user: string): MovedServer | null {
    const moved = this.loops[from].pool(database, user).moves.surrender();
    return moved === null ? null : structuredClone(moved);
  }

  /** Brings it to the other loop. */
  bring(moved: MovedServer, to: 0 | 1): void {
    const { database, user } = moved.identity;
    const grant: Grant = { ...moved.grant, owner: this.loops[to].loop.state.owner };
    this.loops[to].pool(database, user).moves.adopt(moved, grant);
  }

  /** The only server connection of the pool of `loop`, whatever its state. */
  server(loop: 0 | 1, database: string, user: string): ServerConnection {
    const {
      new: inLogin,
      idle,
      active,
      used,
      tested,
      being_canceled,
      closing,
    } = this.loops[loop].pool(database, user).servers;
    const all = [inLogin, idle, active, used, tested, being_canceled, closing].flatMap((list) => [...list]);
    if (all.length !== 1) throw new Error(`${all.length} server connections, not one`);
    return all[0] as ServerConnection;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const loop of this.loops) loop.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

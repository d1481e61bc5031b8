import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type pg from 'pg';
import type { ControlReply, ControlRequest } from '../../src/admin/control.ts';
import { SystemClock } from '../../src/base/clock.ts';
import type { Config } from '../../src/config/config.ts';
import { loadConfig } from '../../src/config/load.ts';
import { createThreadedPooler, type ThreadedPooler } from '../../src/daemon/threads.ts';
import { openNative } from '../../src/net/native.ts';
import { type PoolerConfig, writePoolerConfig } from './pooler-config.ts';
import { connectTo, sharedPostgres } from './postgres.ts';
import { waitFor } from './wait-for.ts';

/** A pooler of several threads in this process, in front of the shared PostgreSQL. */
export class Threads implements AsyncDisposable {
  readonly pooler: ThreadedPooler;
  readonly folder: string;
  /** What it was started with; in force until it reads another one. */
  readonly config: Config;
  /** What it has logged. */
  readonly lines: readonly string[];

  private constructor(pooler: ThreadedPooler, folder: string, config: Config, lines: readonly string[]) {
    this.pooler = pooler;
    this.folder = folder;
    this.config = config;
    this.lines = lines;
  }

  static async start(config: PoolerConfig, count: number): Promise<Threads> {
    const folder = mkdtempSync(join(tmpdir(), 'pgweir-threads-'));
    const lines: string[] = [];
    try {
      const loaded = loadConfig(writePoolerConfig(folder, sharedPostgres(), config), null);
      const pooler = await createThreadedPooler(
        {
          config: loaded,
          clock: new SystemClock(),
          log: {
            enabled: (level) => level !== 'NOISE',
            log: (level, text) => void lines.push(`${level} ${text}`),
          },
          native: openNative(),
          onExit: () => {},
        },
        count,
      );
      return new Threads(pooler, folder, loaded, lines);
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  get address() {
    const port = this.pooler.addresses[0]?.port ?? 0;
    return { ...sharedPostgres(), host: '127.0.0.1', port, socketDir: this.folder };
  }

  client(config: pg.ClientConfig): Promise<pg.Client> {
    return connectTo(this.address, config);
  }

  /** The rows of a console command. */
  async show(command: string): Promise<Record<string, string | number | null>[]> {
    const admin = await this.client({ database: 'pgbouncer' });
    try {
      return (await admin.query<Record<string, string | number | null>>(command)).rows;
    } finally {
      await admin.end();
    }
  }

  ask(request: ControlRequest, signal = new AbortController().signal): Promise<ControlReply> {
    return this.pooler.control.request(request, signal);
  }

  /** The process goes on, so what is in custody has to be ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.ask({ kind: 'resume', database: null });
    await this.ask({ kind: 'kill', database: null });
    await waitFor(() => this.pooler.keeper.count('server') === 0, { what: 'the end of all servers' });
    this.pooler.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

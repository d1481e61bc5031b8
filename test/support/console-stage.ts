import type pg from 'pg';
import { afterEach, beforeEach } from 'vitest';
import { type Row, runAlone } from './console.ts';
import { type LocalPooler, startPooler } from './pooler.ts';
import { sharedPostgres, withClient } from './postgres.ts';

/**
 * For each test of the file that makes one of these a pooler in transaction mode with the databases `one`, `two` and
 * `session` (in session mode), and an administrator on its console.
 */
export class ConsoleStage {
  #parts: { pooler: LocalPooler; admin: pg.Client } | null = null;

  constructor() {
    beforeEach(async () => {
      const pooler = await startPooler({
        settings: { pool_mode: 'transaction' },
        databases: {
          one: 'dbname=postgres',
          two: 'dbname=postgres',
          session: 'dbname=postgres pool_mode=session',
        },
      });
      this.#parts = { pooler, admin: await pooler.admin() };
    });
    afterEach(async () => {
      await this.admin.end();
      await this.pooler[Symbol.asyncDispose]();
    });
  }

  get pooler(): LocalPooler {
    return this.#running().pooler;
  }

  get admin(): pg.Client {
    return this.#running().admin;
  }

  /** Runs a command on a connection of its own and gives its tag or error. */
  run(command: string): Promise<string> {
    return runAlone(this.pooler.port, sharedPostgres().user, command);
  }

  async show(what: string): Promise<Row[]> {
    return (await this.admin.query<Row>(`SHOW ${what}`)).rows;
  }

  async poolOf(database: string): Promise<Row | undefined> {
    return (await this.show('POOLS')).find((row) => row['database'] === database);
  }

  #running(): { pooler: LocalPooler; admin: pg.Client } {
    if (this.#parts === null) throw new Error('no test runs');
    return this.#parts;
  }
}

/** The process ID of a client's server connection. */
export async function pidOf(client: pg.Client): Promise<number> {
  return (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid ?? 0;
}

/** Whether PostgreSQL has this backend (any longer). */
export async function hasBackend(pid: number): Promise<boolean> {
  const query = 'SELECT 1 FROM pg_stat_activity WHERE pid = $1';
  return (await withClient(sharedPostgres(), (client) => client.query(query, [pid]))).rowCount === 1;
}

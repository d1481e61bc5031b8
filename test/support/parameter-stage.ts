import { readFileSync } from 'node:fs';
import { type LocalPooler, startPooler } from './pooler.ts';
import { sharedPostgres, withClient } from './postgres.ts';
import { createDatabase, createRole } from './roles.ts';
import { WireClient } from './wire-client.ts';

/** A pooler with few server connections, a role all of whose statements PostgreSQL logs, and clients of it. */
export class ParameterStage implements AsyncDisposable {
  readonly role: string;
  readonly pooler: LocalPooler;
  readonly #clients: WireClient[] = [];

  private constructor(role: string, pooler: LocalPooler) {
    this.role = role;
    this.pooler = pooler;
  }

  /** Once for each test file: makes the role, and a database of its name. */
  static async prepare(role: string): Promise<void> {
    await createRole(sharedPostgres(), { name: role, auth: 'trust' });
    await createDatabase(sharedPostgres(), role, role);
    await withClient(sharedPostgres(), (client) =>
      client.query(`ALTER ROLE ${role} SET log_statement = 'all'`),
    );
  }

  /** One server connection unless `settings` say otherwise; `entry` is that of the database. */
  static async set(
    role: string,
    settings: Readonly<Record<string, string | number>> = {},
    entry = '',
  ): Promise<ParameterStage> {
    const pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 1, ...settings },
      userlist: { [role]: '' },
      databases: { [role]: entry },
    });
    return new ParameterStage(role, pooler);
  }

  async connect(parameters: Readonly<Record<string, string>> = {}): Promise<WireClient> {
    const { role, pooler } = this;
    const client = await WireClient.connect(pooler.port, { user: role, database: role, ...parameters });
    this.#clients.push(client);
    return client;
  }

  /** What the role has said to PostgreSQL while `during` ran, in both protocols. */
  async statements(during: () => Promise<unknown>): Promise<string[]> {
    const { logPath } = sharedPostgres();
    const from = readFileSync(logPath, 'utf8').length;
    await during();
    return readFileSync(logPath, 'utf8')
      .slice(from)
      .split('\n')
      .filter((line) => line.includes(` ${this.role}@`))
      .map((line) => /LOG: {2}(?:statement|execute [^:]*): (.*)/.exec(line)?.[1] ?? '')
      .filter((statement) => statement !== '');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client.peer.close();
    await this.pooler[Symbol.asyncDispose]();
  }
}

/** Whether a statement is one of ours that asks a server for parameters. */
export function isAsking(statement: string): boolean {
  return statement.startsWith('BEGIN ISOLATION LEVEL READ COMMITTED;SELECT n,');
}

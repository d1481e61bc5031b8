import { frontend, int16, message } from './peer-messages.ts';
import { type LocalPooler, startPooler } from './pooler.ts';
import { sharedPostgres } from './postgres.ts';
import { createDatabase, createRole } from './roles.ts';
import { type Answer, WireClient } from './wire-client.ts';

const { bindTexts, describe, execute, sync } = frontend;

/** A pooler in transaction mode with two servers, so that while one is in use a client meets the other. */
export class ReadingStage implements AsyncDisposable {
  readonly #role: string;
  readonly #pooler: LocalPooler;
  readonly #clients: WireClient[] = [];

  private constructor(role: string, pooler: LocalPooler) {
    this.#role = role;
    this.#pooler = pooler;
  }

  /** Once for a file: the role and the database by its name. */
  static async prepare(role: string): Promise<void> {
    await createRole(sharedPostgres(), { name: role, auth: 'trust' });
    await createDatabase(sharedPostgres(), role, role);
  }

  static async open(role: string): Promise<ReadingStage> {
    const pooler = await startPooler({
      settings: { pool_mode: 'transaction', default_pool_size: 2 },
      userlist: { [role]: '' },
      databases: { [role]: '', set: `dbname=${role} connect_query='SET IntervalStyle = sql_standard'` },
    });
    return new ReadingStage(role, pooler);
  }

  async connect(
    to: 'pooler' | 'server' = 'pooler',
    database = this.#role,
    given: Readonly<Record<string, string>> = {},
  ): Promise<WireClient> {
    const address = to === 'pooler' ? this.#pooler.port : sharedPostgres();
    const client = await WireClient.connect(address, { user: this.#role, database, ...given });
    this.#clients.push(client);
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client.peer.close();
    await this.#pooler[Symbol.asyncDispose]();
  }
}

export const latin1 = (sql: string) => Buffer.from(sql, 'latin1');

/** What tells the letters that a text has as the server has read them. */
export const shown = (sql: string) => `SELECT encode(convert_to('${sql}', 'UTF8'), 'hex')`;

/** Parse of `a`, one byte for each character, and Sync. */
export const prepareLatin1 = (sql: string) => [
  message('P', 'a', latin1(sql), Buffer.of(0), int16(0)),
  sync(),
];

/** Bind, Describe and Execute of `a`. */
export const bound = [bindTexts('', 'a', []), describe('P', ''), execute('')];

/** Of an answer, what has to be the same through the pooler. */
export const told = ({ types, rows, tags, errors, parameters, status }: Answer) => ({
  types,
  rows,
  tags,
  errors: errors.map(({ C, M }) => [C, M]),
  parameters,
  status,
});

import pg from 'pg';
import { type Row, type Sample, type Session, type Target, TWICE, type Users } from './kit.ts';

/** What node-postgres runs statements on: its pool or one of its clients. */
export type Queryable = Pick<pg.ClientBase, 'query'>;

type Run = (client: Queryable, text: string, values?: readonly unknown[]) => Promise<Row[]>;

/** node-postgres with its pool, every statement with parameters under a name. */
export class PgUsers implements Users {
  readonly pool: pg.Pool;

  constructor(target: Target, connections: number) {
    this.pool = new pg.Pool({ ...target, max: connections });
    this.pool.on('error', () => {});
  }

  /** How a statement is run on a client; drivers on top of this one have another way. */
  protected readonly run: Run = runNamed;

  sql(text: string, values?: readonly unknown[]): Promise<Row[]> {
    return this.withClient((client) => this.run(client, text, values));
  }

  twice(n: number): Promise<Row[]> {
    return this.sql(TWICE, [n]);
  }

  /** Lends a client out. */
  async withClient<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await this.pool.connect();
    try {
      return await work(client);
    } finally {
      client.release();
    }
  }

  transaction<T>(work: (tx: Session) => Promise<T>): Promise<T> {
    return this.withClient((client) => inTransaction(client, () => work(sessionOn(client, this.run))));
  }

  async store(sample: Sample): Promise<Sample> {
    const { id, big, num, body, at, doc, list, nothing } = sample;
    await this.sql('INSERT INTO samples VALUES ($1, $2, $3, $4, $5, $6, $7, $8)', [
      ...[id, big, num, body, at, doc, list, nothing],
    ]);
    const { rows } = await this.pool.query<Sample>({
      name: 'by id',
      text: 'SELECT * FROM samples WHERE id = $1',
      values: [id],
    });
    if (rows[0] === undefined) throw new Error('the row is not there');
    return rows[0];
  }

  cancel(text: string, running: () => Promise<unknown>): Promise<unknown> {
    return this.withClient((client) => cancelled(this.run(client, text, []), client, running));
  }

  close(): Promise<void> {
    return this.pool.end();
  }
}

/** Cancels what a client runs by a cancel request once `running` resolves; gives what comes of it. */
export async function cancelled<T>(
  result: Promise<T>,
  client: pg.ClientBase,
  running: () => Promise<unknown>,
): Promise<T> {
  result.catch(() => {});
  await running();
  // Not in its types: the request is sent by a second client, which must be new, for the query that the first is at.
  const { host, port, activeQuery } = client as pg.Client & { activeQuery: unknown };
  const canceller = new pg.Client({ host, port }) as pg.Client & {
    cancel(client: unknown, query: unknown): void;
  };
  canceller.on('error', () => {});
  canceller.cancel(client, activeQuery);
  return result;
}

/** Between BEGIN and COMMIT, or ROLLBACK when `work` rejects. */
export async function inTransaction<T>(client: Queryable, work: () => Promise<T>): Promise<T> {
  await client.query('BEGIN');
  try {
    const result = await work();
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
}

/** A session on one client. */
export function sessionOn(client: Queryable, run: Run = runNamed): Session {
  return {
    sql: (text, values) => run(client, text, values),
    twice: (n) => run(client, TWICE, [n]),
  };
}

async function runNamed(client: Queryable, text: string, values?: readonly unknown[]): Promise<Row[]> {
  if (values === undefined) return (await client.query<Row>(text)).rows;
  return (await client.query<Row>({ name: nameOf(text), text, values: [...values] })).rows;
}

/** The name of a statement, of which there is one for each text. */
export function nameOf(text: string): string {
  // PostgreSQL would take longer names, but pg complains from 64 bytes on.
  return text.length > 60 ? `${text.slice(0, 50)}${text.length}` : text;
}

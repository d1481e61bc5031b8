import { readFileSync } from 'node:fs';
import type pg from 'pg';
import type { LocalPooler } from './pooler.ts';
import { sharedPostgres, withClient } from './postgres.ts';
import { waitFor } from './wait-for.ts';

/** Clients that want to hold a server connection each. */
export class Holders implements AsyncDisposable {
  readonly clients: pg.Client[] = [];
  /** How many of them are inside a transaction, and so hold one. */
  holding = 0;

  /** Another `count` clients connect and begin; those that must wait for a server go on in the background. */
  async add(pooler: LocalPooler, count: number, config: pg.ClientConfig = {}): Promise<this> {
    for (let i = 0; i < count; i++) {
      const client = await pooler.client(config);
      this.clients.push(client);
      client.query('BEGIN').then(
        () => {
          this.holding++;
        },
        // A client that is still waiting when the test ends.
        () => {},
      );
    }
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.clients.map((client) => client.end()));
  }
}

/** Waits until the shared PostgreSQL runs a query that contains the comment of this tag, and that sleeps: it can be cancelled. */
export async function sleeps(tag: string): Promise<void> {
  await waitFor(
    () =>
      withClient(sharedPostgres(), async (client) => {
        const { rowCount } = await client.query(
          "SELECT 1 FROM pg_stat_activity WHERE query LIKE $1 AND state = 'active' AND wait_event = 'PgSleep'",
          [`%/* ${tag} */`],
        );
        return rowCount === 1;
      }),
    { what: `the query ${tag} to sleep` },
  );
}

/** How many sessions PostgreSQL itself counts for a role. */
export async function backendsOf(pooler: LocalPooler, user: string): Promise<number> {
  return withClient(pooler.postgres, async (client) => {
    const { rows } = await client.query<{ n: number }>(
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = $1 AND backend_type = 'client backend'",
      [user],
    );
    return rows[0]?.n ?? 0;
  });
}

/** Process ids of a role's sessions, ordered. */
export async function backendPids(pooler: LocalPooler, user: string): Promise<number[]> {
  return withClient(pooler.postgres, async (client) => {
    const { rows } = await client.query<{ pid: number }>(
      'SELECT pid FROM pg_stat_activity WHERE usename = $1 ORDER BY pid',
      [user],
    );
    return rows.map(({ pid }) => pid);
  });
}

/** What the shared PostgreSQL's log says of logins that it has refused for a role's CONNECTION LIMIT: whoever asked, and even if that died. */
export function refusedLogins(user: string): string[] {
  const log = readFileSync(sharedPostgres().logPath, 'utf8');
  return log.split('\n').filter((line) => line.includes(`too many connections for role "${user}"`));
}

/** The row of SHOW POOLS for a database and user; undefined when there is no such pool. */
export async function poolRow(
  pooler: Pick<LocalPooler, 'show'>,
  database: string,
  user: string,
): Promise<Record<string, string | number | null> | undefined> {
  const rows = await pooler.show('SHOW POOLS');
  return rows.find((row) => row['database'] === database && row['user'] === user);
}

/** Waits until the pool has exactly these figures. */
export async function poolShows(
  pooler: Pick<LocalPooler, 'show'>,
  database: string,
  user: string,
  figures: Readonly<Record<string, number>>,
): Promise<void> {
  let row: Record<string, string | number | null> | undefined;
  try {
    await waitFor(async () => {
      row = await poolRow(pooler, database, user);
      return row !== undefined && Object.entries(figures).every(([name, value]) => row?.[name] === value);
    });
  } catch {
    throw new Error(`SHOW POOLS never came to ${JSON.stringify(figures)}, but is ${JSON.stringify(row)}`);
  }
}

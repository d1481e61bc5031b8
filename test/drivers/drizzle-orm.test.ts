import { eq, type SQL, sql } from 'drizzle-orm';
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { bigint, integer, json, numeric, pgTable, text, timestamp } from 'drizzle-orm/pg-core';
import pg from 'pg';
import { expect, test } from 'vitest';
import { codeOf, type Row, type Sample, type Session, testDriver, type Users } from './kit.ts';
import { cancelled } from './pg-kit.ts';

const samples = pgTable('samples', {
  id: integer().primaryKey(),
  big: bigint({ mode: 'bigint' }),
  num: numeric(),
  body: text(),
  at: timestamp({ withTimezone: true, mode: 'date' }),
  doc: json(),
  list: integer().array(),
  nothing: text(),
});

/** Drizzle on node-postgres; what is made by `prepare` has a name, what goes to `execute` has none. */
class DrizzleUsers implements Users {
  readonly pool: pg.Pool;
  readonly db: NodePgDatabase;

  constructor(pool: pg.Pool) {
    this.pool = pool;
    this.db = drizzle(pool);
  }

  sql(statement: string, values?: readonly unknown[]): Promise<Row[]> {
    return sessionOn(this.db).sql(statement, values);
  }

  twice(n: number): Promise<Row[]> {
    return sessionOn(this.db).twice(n);
  }

  transaction<T>(work: (tx: Session) => Promise<T>): Promise<T> {
    return this.db.transaction((tx) => work(sessionOn(tx)));
  }

  async store(sample: Sample): Promise<Sample> {
    const insert = this.db.insert(samples).values({ ...sample, big: BigInt(sample.big) });
    await insert.prepare('store').execute();
    const select = this.db
      .select()
      .from(samples)
      .where(eq(samples.id, sql.placeholder('id')));
    const [row] = await select.prepare('by id').execute({ id: sample.id });
    return { ...row, big: String(row?.big) } as Sample;
  }

  async cancel(statement: string, running: () => Promise<unknown>): Promise<unknown> {
    const client = await this.pool.connect();
    try {
      return await cancelled(sessionOn(drizzle(client)).sql(statement), client, running);
    } finally {
      client.release();
    }
  }

  close(): Promise<void> {
    return this.pool.end();
  }
}

function sessionOn(db: Pick<NodePgDatabase, 'execute' | 'select'>): Session {
  return {
    sql: async (statement, values = []) => (await db.execute(withValues(statement, values))).rows,
    twice: (n) =>
      db
        .select({
          pid: sql`pg_backend_pid()`.as('pid'),
          twice: sql`${sql.placeholder('n')}::int * 2`.as('twice'),
        })
        .from(sql`(VALUES (1)) AS one`)
        .prepare('twice')
        .execute({ n }),
  };
}

/** The statement with drizzle's parameters in place of `$1`, `$2`, …. */
function withValues(statement: string, values: readonly unknown[]): SQL {
  const [first = '', ...rest] = statement.split(/\$\d+/);
  return sql.join([sql.raw(first), ...rest.flatMap((part, i) => [sql`${values[i]}`, sql.raw(part)])]);
}

testDriver(
  {
    name: 'drizzle-orm',
    named: true,
    open: async (target, connections) => new DrizzleUsers(new pg.Pool({ ...target, max: connections })),
    stateOf: (error) => (error instanceof Error ? codeOf(error.cause) : undefined),
  },
  (running) => {
    test('a transaction within a transaction is taken back alone', async () => {
      const { use, direct, failure } = running();
      await direct.query('TRUNCATE samples');
      await use(({ db }) =>
        db.transaction(async (tx) => {
          await tx.insert(samples).values({ id: 1 });
          expect(await failure(tx.transaction((part) => part.insert(samples).values({ id: 1 })))).toBe(
            '23505',
          );
          await tx.insert(samples).values({ id: 2 });
        }),
      );
      expect((await direct.query('SELECT id FROM samples ORDER BY id')).rows).toEqual([{ id: 1 }, { id: 2 }]);
    });
  },
);

import { CompiledQuery, Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import Cursor from 'pg-cursor';
import { expect, test } from 'vitest';
import { type Row, type Sample, type Session, testDriver, TWICE, type Users } from './kit.ts';
import { cancelled } from './pg-kit.ts';

// Its own cancelling, by an AbortSignal, is left out: it runs pg_cancel_backend() on the process ID of its login, which
// behind any pooler is not a server's.

interface Tables {
  samples: Partial<Sample>;
}

/** Kysely on node-postgres, without names for its statements. */
class KyselyUsers implements Users {
  readonly pool: pg.Pool;
  readonly db: Kysely<Tables>;

  constructor(pool: pg.Pool) {
    this.pool = pool;
    this.db = new Kysely({ dialect: new PostgresDialect({ pool, cursor: Cursor }) });
  }

  sql(text: string, values?: readonly unknown[]): Promise<Row[]> {
    return sessionOn(this.db).sql(text, values);
  }

  twice(n: number): Promise<Row[]> {
    return sessionOn(this.db).twice(n);
  }

  transaction<T>(work: (tx: Session) => Promise<T>): Promise<T> {
    return this.db.transaction().execute((tx) => work(sessionOn(tx)));
  }

  async store(sample: Sample): Promise<Sample> {
    await this.db.insertInto('samples').values(sample).execute();
    const query = this.db.selectFrom('samples').selectAll().where('id', '=', sample.id);
    return (await query.executeTakeFirstOrThrow()) as Sample;
  }

  /** Kysely does not show its connection, so it is given one. */
  async cancel(text: string, running: () => Promise<unknown>): Promise<unknown> {
    const client = await this.pool.connect();
    const pool = { connect: async () => client, end: async () => {}, options: {} };
    const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
    return cancelled(sessionOn(db).sql(text), client, running);
  }

  close(): Promise<void> {
    return this.db.destroy();
  }
}

function sessionOn(db: Kysely<Tables>): Session {
  const sql = async (text: string, values: readonly unknown[] = []) =>
    (await db.executeQuery(CompiledQuery.raw(text, [...values]))).rows as Row[];
  return { sql, twice: (n) => sql(TWICE, [n]) };
}

testDriver(
  {
    name: 'kysely',
    named: false,
    open: async (target, connections) => new KyselyUsers(new pg.Pool({ ...target, max: connections })),
  },
  (running) => {
    test('a stream brings all rows, and one that is left early leaves the connection usable', async () => {
      const { use, direct } = running();
      await direct.query('TRUNCATE samples; INSERT INTO samples (id) SELECT generate_series(1, 5000)');
      await use(async (users) => {
        const query = users.db.selectFrom('samples').select('id').orderBy('id');
        const ids: unknown[] = [];
        for await (const row of query.stream(300)) ids.push(row.id);
        expect(ids).toEqual(Array.from({ length: 5000 }, (_, i) => i + 1));
        for await (const row of query.stream(300)) {
          expect(row.id).toBe(1);
          break;
        }
        expect((await users.twice(6))[0]?.['twice']).toBe(12);
      });
    });

    test('a savepoint takes back its part of a controlled transaction', async () => {
      const { use, direct, failure } = running();
      await direct.query('TRUNCATE samples');
      await use(async ({ db }) => {
        const tx = await db.startTransaction().execute();
        await tx.insertInto('samples').values({ id: 1 }).execute();
        const part = await tx.savepoint('part').execute();
        expect(await failure(part.insertInto('samples').values({ id: 1 }).execute())).toBe('23505');
        await part.rollbackToSavepoint('part').execute();
        await tx.insertInto('samples').values({ id: 2 }).execute();
        await tx.commit().execute();
      });
      expect((await direct.query('SELECT id FROM samples ORDER BY id')).rows).toEqual([{ id: 1 }, { id: 2 }]);
    });
  },
);

import { type Knex, knex } from 'knex';
import type pg from 'pg';
import { expect, test } from 'vitest';
import {
  expectLargeResult,
  type Row,
  type Sample,
  type Session,
  testDriver,
  TWICE,
  type Users,
} from './kit.ts';
import { cancelled, nameOf } from './pg-kit.ts';

// Its own `.timeout(ms, { cancel: true })` is left out: it runs pg_cancel_backend() on the process ID of its login, which
// behind any pooler is not a server's.

/** Knex on node-postgres, which names a statement when it is told to by `options`, as all with parameters are. */
class KnexUsers implements Users {
  readonly db: Knex;

  constructor(db: Knex) {
    this.db = db;
  }

  sql(text: string, values?: readonly unknown[]): Promise<Row[]> {
    return sessionOn(this.db).sql(text, values);
  }

  twice(n: number): Promise<Row[]> {
    return sessionOn(this.db).twice(n);
  }

  transaction<T>(work: (tx: Session) => Promise<T>): Promise<T> {
    return this.db.transaction((tx) => work(sessionOn(tx)));
  }

  async store(sample: Sample): Promise<Sample> {
    await this.db('samples').insert(sample).options({ name: 'store' });
    const query = this.db<Sample>('samples').where({ id: sample.id }).first('*');
    return query.options({ name: 'by id' }) as Promise<Sample>;
  }

  async cancel(text: string, running: () => Promise<unknown>): Promise<unknown> {
    const client: pg.Client = await this.db.client.acquireConnection();
    try {
      return await cancelled(Promise.resolve(this.db.raw(text).connection(client)), client, running);
    } finally {
      await this.db.client.releaseConnection(client);
    }
  }

  close(): Promise<void> {
    return this.db.destroy();
  }
}

function sessionOn(db: Knex): Session {
  const sql = async (text: string, values: readonly unknown[] = []) => {
    const raw = db.raw(text.replaceAll(/\$\d+/g, '?'), values as Knex.RawBinding[]);
    return (await raw.options(values.length > 0 ? { name: nameOf(text) } : {})).rows as Row[];
  };
  return { sql, twice: (n) => sql(TWICE, [n]) };
}

testDriver(
  {
    name: 'knex',
    named: true,
    open: async (target, connections) =>
      new KnexUsers(knex({ client: 'pg', connection: { ...target }, pool: { min: 0, max: connections } })),
  },
  (running) => {
    test('a transaction within a transaction is taken back alone', async () => {
      const { use, direct, failure } = running();
      await direct.query('TRUNCATE samples');
      await use(({ db }) =>
        db.transaction(async (tx) => {
          await tx('samples').insert({ id: 1 });
          expect(await failure(tx.transaction((part) => part('samples').insert({ id: 1 })))).toBe('23505');
          await tx('samples').insert({ id: 2 });
        }),
      );
      expect((await direct.query('SELECT id FROM samples ORDER BY id')).rows).toEqual([{ id: 1 }, { id: 2 }]);
    });

    test('a stream brings a large result', async () => {
      await running().use(async ({ db }) => {
        const rows: Row[] = [];
        const text = "SELECT i, repeat('ä', i % 200) AS pad FROM generate_series(1, ?::int) AS i";
        for await (const row of db.raw(text, [20_000]).stream()) rows.push(row);
        expectLargeResult(rows);
      });
    });
  },
);

import postgres from 'postgres';
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

/** postgres.js: everything but `simple()` is a prepared statement with a name. */
class PostgresJsUsers implements Users {
  readonly db: postgres.Sql;

  constructor(db: postgres.Sql) {
    this.db = db;
  }

  sql(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    return sessionOf(this.db).sql(text, values);
  }

  twice(n: number): Promise<Row[]> {
    return sessionOf(this.db).twice(n);
  }

  async transaction<T>(work: (tx: Session) => Promise<T>): Promise<T> {
    return (await this.db.begin((tx) => work(sessionOf(tx)))) as T;
  }

  async store(sample: Sample): Promise<Sample> {
    await this.db`INSERT INTO samples ${this.db({ ...sample } as never)}`;
    const [row] = await this.db<Sample[]>`SELECT * FROM samples WHERE id = ${sample.id}`;
    if (row === undefined) throw new Error('the row is not there');
    return { ...row };
  }

  async cancel(text: string, running: () => Promise<unknown>): Promise<unknown> {
    const query = this.db.unsafe(text).execute();
    await running();
    query.cancel();
    return query;
  }

  close(): Promise<void> {
    return this.db.end();
  }
}

function sessionOf(db: postgres.Sql | postgres.TransactionSql): Session {
  const sql = async (text: string, values: readonly unknown[] = []) => [
    ...(await db.unsafe<Row[]>(text, values as never[], { prepare: true })),
  ];
  return { sql, twice: (n) => sql(TWICE, [n]) };
}

testDriver(
  {
    name: 'postgres',
    named: true,
    open: async (target, connections) => {
      const { user, ...rest } = target;
      return new PostgresJsUsers(
        postgres({ ...rest, username: user, max: connections, prepare: true, onnotice: () => {} }),
      );
    },
  },
  (running) => {
    test('a savepoint takes back its part of a transaction', async () => {
      const { use, failure, direct } = running();
      await direct.query('TRUNCATE samples');
      await use(({ db }) =>
        db.begin(async (tx) => {
          await tx`INSERT INTO samples (id) VALUES (${1})`;
          expect(await failure(tx.savepoint((part) => part`INSERT INTO samples (id) VALUES (${1})`))).toBe(
            '23505',
          );
          await tx`INSERT INTO samples (id) VALUES (${2})`;
        }),
      );
      expect((await direct.query('SELECT id FROM samples ORDER BY id')).rows).toEqual([{ id: 1 }, { id: 2 }]);
    });

    test('a cursor gives a large result in portions', async () => {
      await running().use(async ({ db }) => {
        const rows: Row[] = [];
        const query = db`SELECT i, repeat('ä', i % 200) AS pad FROM generate_series(1, ${20_000}::int) AS i`;
        for await (const portion of query.cursor(3000)) rows.push(...portion);
        expectLargeResult(rows);
      });
    });

    test('a cursor that is left early leaves the connection usable', async () => {
      await running().use(async (users) => {
        for await (const portion of users.db`SELECT generate_series(1, 1000) AS i`.cursor(10)) {
          expect(portion.length).toBe(10);
          break;
        }
        expect((await users.twice(6))[0]?.['twice']).toBe(12);
      });
    });

    test('COPY goes both ways', async () => {
      const { use, direct } = running();
      await direct.query('TRUNCATE samples');
      await use(async ({ db }) => {
        const writable = await db`COPY samples (id, body) FROM STDIN`.writable();
        const written = new Promise((resolve, reject) => writable.on('finish', resolve).on('error', reject));
        for (let id = 1; id <= 5000; id++) writable.write(`${id}\tзначение ${id}\n`);
        writable.end();
        await written;
        const chunks: Buffer[] = [];
        const readable = await db`COPY (SELECT id, body FROM samples ORDER BY id) TO STDOUT`.readable();
        for await (const chunk of readable) chunks.push(chunk);
        const lines = Buffer.concat(chunks).toString().split('\n');
        expect([lines.length, lines[0], lines[4999]]).toEqual([5001, '1\tзначение 1', '5000\tзначение 5000']);
      });
      expect((await direct.query('SELECT count(*)::int AS n FROM samples')).rows).toEqual([{ n: 5000 }]);
    });
  },
);

import type pg from 'pg';
import { DataSource, type EntityManager, EntitySchema } from 'typeorm';
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
import { cancelled } from './pg-kit.ts';

const SampleEntity = new EntitySchema<Sample>({
  name: 'samples',
  columns: {
    id: { type: 'int', primary: true },
    big: { type: 'bigint', nullable: true },
    num: { type: 'numeric', nullable: true },
    body: { type: 'text', nullable: true },
    at: { type: 'timestamptz', nullable: true },
    doc: { type: 'json', nullable: true },
    list: { type: 'int', array: true, nullable: true },
    nothing: { type: 'text', nullable: true },
  },
});

/** TypeORM on node-postgres, without names for its statements. */
class TypeormUsers implements Users {
  readonly source: DataSource;

  constructor(source: DataSource) {
    this.source = source;
  }

  sql(text: string, values?: readonly unknown[]): Promise<Row[]> {
    return sessionOn(this.source).sql(text, values);
  }

  twice(n: number): Promise<Row[]> {
    return sessionOn(this.source).twice(n);
  }

  transaction<T>(work: (tx: Session) => Promise<T>): Promise<T> {
    return this.source.transaction((tx) => work(sessionOn(tx)));
  }

  async store(sample: Sample): Promise<Sample> {
    const repository = this.source.getRepository(SampleEntity);
    // Looks for the row, then inserts it, in a transaction.
    await repository.save({ ...sample });
    return { ...(await repository.findOneByOrFail({ id: sample.id })) };
  }

  async cancel(text: string, running: () => Promise<unknown>): Promise<unknown> {
    const runner = this.source.createQueryRunner();
    try {
      const client: pg.Client = await runner.connect();
      return await cancelled(sessionOn(runner.manager).sql(text), client, running);
    } finally {
      await runner.release();
    }
  }

  close(): Promise<void> {
    return this.source.destroy();
  }
}

function sessionOn(manager: Pick<DataSource | EntityManager, 'query'>): Session {
  const sql = (text: string, values: readonly unknown[] = []): Promise<Row[]> =>
    manager.query(text, [...values]);
  return { sql, twice: (n) => sql(TWICE, [n]) };
}

testDriver(
  {
    name: 'typeorm',
    named: false,
    open: async (target, connections) => {
      const { user, ...rest } = target;
      const source = new DataSource({
        ...rest,
        type: 'postgres',
        username: user,
        poolSize: connections,
        entities: [SampleEntity],
      });
      return new TypeormUsers(await source.initialize());
    },
  },
  (running) => {
    test('a transaction within a transaction is taken back alone', async () => {
      const { use, direct, failure } = running();
      await direct.query('TRUNCATE samples');
      await use(({ source }) =>
        source.transaction(async (tx) => {
          await tx.insert(SampleEntity, { id: 1 });
          const part = tx.transaction((inner) => inner.insert(SampleEntity, { id: 1 }));
          expect(await failure(part)).toBe('23505');
          await tx.insert(SampleEntity, { id: 2 });
        }),
      );
      expect((await direct.query('SELECT id FROM samples ORDER BY id')).rows).toEqual([{ id: 1 }, { id: 2 }]);
    });

    test('a stream brings a large result', async () => {
      await running().use(async ({ source }) => {
        const runner = source.createQueryRunner();
        const rows: Row[] = [];
        const text = "SELECT i, repeat('ä', i % 200) AS pad FROM generate_series(1, $1::int) AS i";
        for await (const row of await runner.stream(text, [20_000])) rows.push(row as unknown as Row);
        await runner.release();
        expectLargeResult(rows);
      });
    });
  },
);

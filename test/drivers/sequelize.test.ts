import type pg from 'pg';
import { DataTypes, Sequelize, type Transaction } from 'sequelize';
import { expect, test } from 'vitest';
import { codeOf, type Row, type Sample, type Session, testDriver, TWICE, type Users } from './kit.ts';
import { cancelled } from './pg-kit.ts';

/** Sequelize on node-postgres, without names for its statements. */
class SequelizeUsers implements Users {
  readonly db: Sequelize;
  readonly samples;

  constructor(db: Sequelize) {
    this.db = db;
    this.samples = db.define(
      'samples',
      {
        id: { type: DataTypes.INTEGER, primaryKey: true },
        big: DataTypes.BIGINT,
        num: DataTypes.DECIMAL(30, 10),
        body: DataTypes.TEXT,
        at: DataTypes.DATE(3),
        doc: DataTypes.JSON,
        list: DataTypes.ARRAY(DataTypes.INTEGER),
        nothing: DataTypes.TEXT,
      },
      { timestamps: false },
    );
  }

  sql(text: string, values?: readonly unknown[]): Promise<Row[]> {
    return sessionOn(this.db).sql(text, values);
  }

  twice(n: number): Promise<Row[]> {
    return sessionOn(this.db).twice(n);
  }

  transaction<T>(work: (tx: Session) => Promise<T>): Promise<T> {
    return this.db.transaction((transaction) => work(sessionOn(this.db, transaction)));
  }

  async store(sample: Sample): Promise<Sample> {
    await this.samples.create({ ...sample });
    const row = await this.samples.findByPk(sample.id, { rejectOnEmpty: true });
    return row.get({ plain: true });
  }

  /** A transaction's connection, which is not in its types, is the one that can be had. */
  cancel(text: string, running: () => Promise<unknown>): Promise<unknown> {
    return this.db.transaction((transaction) => {
      const { connection } = transaction as Transaction & { readonly connection: pg.Client };
      return cancelled(sessionOn(this.db, transaction).sql(text), connection, running);
    });
  }

  close(): Promise<void> {
    return this.db.close();
  }
}

function sessionOn(db: Sequelize, transaction: Transaction | null = null): Session {
  const sql = async (text: string, values: readonly unknown[] = []) => {
    const [rows] = await db.query(text, { bind: [...values], transaction });
    // SHOW gives its row alone.
    return (Array.isArray(rows) ? rows : [rows]) as Row[];
  };
  return { sql, twice: (n) => sql(TWICE, [n]) };
}

testDriver(
  {
    name: 'sequelize',
    named: false,
    open: async (target, connections) => {
      const { user, ...rest } = target;
      const db = new Sequelize({
        ...rest,
        dialect: 'postgres',
        username: user,
        logging: false,
        pool: { min: 0, max: connections },
      });
      // Its first connection, which asks for the server's version, is waited for by all others.
      await db.authenticate();
      return new SequelizeUsers(db);
    },
    // Its errors carry node-postgres' own one.
    stateOf: (error) => (error instanceof Error && 'parent' in error ? codeOf(error.parent) : undefined),
  },
  (running) => {
    test('a transaction within a transaction is taken back alone', async () => {
      const { use, direct, failure } = running();
      await direct.query('TRUNCATE samples');
      await use(({ db, samples }) =>
        db.transaction(async (transaction) => {
          await samples.create({ id: 1 }, { transaction });
          const part = db.transaction({ transaction }, (inner) =>
            samples.create({ id: 1 }, { transaction: inner }),
          );
          expect(await failure(part)).toBe('23505');
          await samples.bulkCreate([{ id: 2 }, { id: 3 }], { transaction });
        }),
      );
      const { rows } = await direct.query<{ id: number }>('SELECT id FROM samples ORDER BY id');
      expect(rows.map(({ id }) => id)).toEqual([1, 2, 3]);
    });

    test('the time zone it sets at its login is there on every server', async () => {
      await running().use(
        async (users) => {
          const zones = await Promise.all(
            Array.from({ length: 10 }, () => users.transaction((tx) => tx.sql('SHOW TimeZone'))),
          );
          for (const rows of zones) expect(rows).toEqual([{ TimeZone: '<+00>-00' }]);
        },
        running().mode === 'session' ? 2 : 10,
      );
    });
  },
);

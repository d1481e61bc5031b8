import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { backendsOf, poolShows } from '../support/backends.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { connectTo, sharedPostgres } from '../support/postgres.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { waitFor, within } from '../support/wait-for.ts';

/** Server connections that the pooler has for a driver. */
const SERVERS = 2;
/** Connections of a driver that want them at the same time. */
const USERS = 20;
/** Rows of the large result: some megabytes. */
const ROWS = 20_000;
const PASSWORD = 'geheim';
/** Makes what drivers ask for by `Session.twice`. */
export const TWICE = 'SELECT pg_backend_pid() AS pid, $1::int * 2 AS twice';

export type Row = Record<string, unknown>;

/** Where a driver connects to, with a SCRAM login. */
export interface Target {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

/** A row of the table `samples`, one column for each type. */
export interface Sample {
  readonly id: number;
  readonly big: string;
  readonly num: string;
  readonly body: string;
  readonly at: Date;
  readonly doc: unknown;
  readonly list: number[];
  readonly nothing: string | null;
}

/** What runs statements: a driver's pool, or its transaction. */
export interface Session {
  /** Any statement, with parameters `$1`, `$2`, … in this order; named where the driver can. */
  sql(text: string, values?: readonly unknown[]): Promise<Row[]>;
  /** {@link TWICE}, prepared in the driver's own way where it has one. */
  twice(n: number): Promise<Row[]>;
}

/** A driver that is connected, or will connect when it is used. */
export interface Users extends Session {
  /** Commits when `work` resolves, rolls back when it rejects. */
  transaction<T>(work: (tx: Session) => Promise<T>): Promise<T>;
  /** Inserts the row and reads it back, both in the driver's own way. */
  store(sample: Sample): Promise<Sample>;
  /** Starts the statement and cancels it once `running` resolves; rejects as the statement does. */
  cancel?(text: string, running: () => Promise<unknown>): Promise<unknown>;
  close(): Promise<void>;
}

/** A driver or ORM; its tests are in the file of its package's name. */
export interface Driver<U extends Users = Users> {
  readonly name: string;
  /** In which ways it is run; by default through a pooler in both modes. */
  readonly modes?: readonly Mode[];
  /** Whether it keeps statements under names, so that the pooler has to have them on every server. */
  readonly named: boolean;
  /** With up to `connections` connections, which it makes when it wants. */
  open(target: Target, connections: number): Promise<U>;
  /** Whether it can cancel what it runs, or what `failure` finds then if not SQLSTATE 57014; by default it can. */
  readonly cancels?: boolean | string;
  /** The SQLSTATE in an error of the driver; by default its `code`. */
  stateOf?(error: unknown): unknown;
}

/** What tests of one driver alone need. */
export interface Running<U extends Users> {
  readonly mode: Mode;
  /** PostgreSQL's own view of the driver's database, as superuser. */
  readonly direct: pg.Client;
  /** Where `use` connects to. */
  target(): Target;
  /** Opens the driver with one connection, and closes it after `work`. */
  use<T>(work: (users: U) => Promise<T>, connections?: number): Promise<T>;
  /** The SQLSTATE that `promise` fails with. */
  failure(promise: Promise<unknown>): Promise<unknown>;
  /** Runs `step` four times; in transaction mode on each server connection in turn, for no other is free. */
  onEachServer(step: () => Promise<void>): Promise<void>;
}

/** The pooler's, or none of it: `direct` shows that the driver does the same on PostgreSQL itself. */
export type Mode = 'session' | 'transaction' | 'direct';

/** Tests of a driver in its modes; `more` adds those of what it alone can do. */
export function testDriver<U extends Users>(
  driver: Driver<U>,
  more: (running: () => Running<U>, mode: Mode) => void = () => {},
): void {
  const role = `driver_${driver.name.replaceAll('-', '_')}`;

  beforeAll(async () => {
    await createRole(sharedPostgres(), { name: role, auth: 'scram', password: PASSWORD });
    await createDatabase(sharedPostgres(), role, role);
  });

  describe.each<Mode>(driver.modes ?? ['session', 'transaction'])('%s mode', (mode) => {
    let pooler: LocalPooler;
    let direct: pg.Client;

    beforeAll(async () => {
      if (mode !== 'direct') {
        pooler = await startPooler({
          settings: { auth_type: 'scram-sha-256', pool_mode: mode, default_pool_size: SERVERS },
          userlist: { [role]: PASSWORD },
        });
      }
      direct = await connectTo(sharedPostgres(), { database: role });
      await direct.query(`DROP TABLE IF EXISTS samples;
        CREATE TABLE samples (id int PRIMARY KEY, big bigint, num numeric(30,10), body text, at timestamptz,
          doc json, list int[], nothing text);
        ALTER TABLE samples OWNER TO ${role}`);
    });
    afterAll(async () => {
      await direct.end();
      await pooler?.[Symbol.asyncDispose]();
    });

    const target = (): Target => ({
      host: '127.0.0.1',
      port: mode === 'direct' ? sharedPostgres().port : pooler.port,
      user: role,
      password: PASSWORD,
      database: role,
    });

    async function use<T>(work: (users: U) => Promise<T>, connections = 1): Promise<T> {
      const users = await driver.open(target(), connections);
      try {
        return await work(users);
      } finally {
        await users.close();
      }
    }

    async function failure(promise: Promise<unknown>): Promise<unknown> {
      const error = await promise.then(
        () => 'no error',
        (reason: unknown) => reason,
      );
      return driver.stateOf?.(error) ?? codeOf(error) ?? error;
    }

    /** Ids of the rows that others see. */
    async function ids(): Promise<number[]> {
      return (await direct.query<{ id: number }>('SELECT id FROM samples ORDER BY id')).rows.map(
        ({ id }) => id,
      );
    }

    /** Runs `work` with clients in transactions, which so have all server connections to themselves. */
    async function withHolders<T>(work: (holders: readonly pg.Client[]) => Promise<T>): Promise<T> {
      const holders: pg.Client[] = [];
      try {
        while (holders.length < SERVERS) {
          const client = await connectTo(pooler.address, target());
          holders.push(client);
          await client.query('BEGIN');
        }
        return await work(holders);
      } finally {
        await endAll(holders);
      }
    }

    async function onEachServer(step: () => Promise<void>): Promise<void> {
      if (mode !== 'transaction') {
        for (let n = 0; n < 2 * SERVERS; n++) await step();
        return;
      }
      await withHolders(async (holders) => {
        for (const client of [...holders, ...holders]) {
          await client.query('COMMIT');
          await step();
          await client.query('BEGIN');
        }
      });
    }

    /** Not only parsed, as by a driver that waits for the answer to that: what comes between is not cancelled. */
    const isAsleep = (part: string) =>
      waitFor(async () => {
        const { rowCount } = await direct.query(
          "SELECT 1 FROM pg_stat_activity WHERE usename = $1 AND wait_event = 'PgSleep' AND query LIKE $2",
          [role, `%${part}%`],
        );
        return rowCount === 1;
      });

    test('values of all types come back as they went, and PostgreSQL has them so', async () => {
      await direct.query('TRUNCATE samples');
      await use(async (users) => {
        expect(await users.store(SAMPLE)).toEqual(SAMPLE);
      });
      expect((await direct.query('SELECT * FROM samples')).rows).toEqual([SAMPLE]);
    });

    test('a transaction is seen by others once it has committed', async () => {
      await direct.query('TRUNCATE samples');
      await use(async (users) => {
        await users.transaction(async (tx) => {
          await tx.sql('INSERT INTO samples (id) VALUES ($1::int)', [1]);
          await tx.sql('INSERT INTO samples (id) VALUES ($1::int)', [2]);
          expect(await tx.sql('SELECT id FROM samples ORDER BY id')).toEqual([{ id: 1 }, { id: 2 }]);
          expect(await ids()).toEqual([]);
        });
        expect(await ids()).toEqual([1, 2]);
      });
    });

    test('an error fails its transaction as a whole, and the connection goes on', async () => {
      await direct.query('TRUNCATE samples');
      await use(async (users) => {
        const states: unknown[] = [];
        const failed = users.transaction(async (tx) => {
          await tx.sql('INSERT INTO samples (id) VALUES ($1::int)', [1]);
          states.push(await failure(tx.sql('INSERT INTO samples (id) VALUES ($1::int)', [1])));
          states.push(await failure(tx.twice(1)));
          throw new Error('undo');
        });
        await expect(failed).rejects.toThrow();
        expect(states).toEqual(['23505', '25P02']);
        expect(await ids()).toEqual([]);
        expect(await failure(users.sql('SELECT no_such_column'))).toBe('42703');
        expect(await users.twice(4)).toEqual([{ pid: expect.any(Number), twice: 8 }]);
        await users.transaction((tx) => tx.sql('INSERT INTO samples (id) VALUES ($1::int)', [3]));
        expect(await ids()).toEqual([3]);
      });
    });

    const { cancels = true } = driver;
    if (cancels !== false) {
      test('a query that is cancelled ends, and the connection goes on', async () => {
        await use(async (users) => {
          for (const n of [1, 2]) {
            const cancelled = users.cancel?.('SELECT pg_sleep(60)', () => isAsleep('pg_sleep(60)'));
            if (cancelled === undefined) throw new Error('it does not cancel');
            const state = await failure(within(cancelled, 'the end of the cancelled query'));
            expect(state).toBe(cancels === true ? '57014' : cancels);
            expect(await users.twice(n)).toEqual([{ pid: expect.any(Number), twice: n * 2 }]);
          }
        });
      });
    }

    test('a query that takes too long ends, and the connection goes on', async () => {
      await use(async (users) => {
        const late = users.transaction(async (tx) => {
          await tx.sql("SET LOCAL statement_timeout = '20ms'");
          await tx.sql('SELECT pg_sleep(60)');
        });
        expect(await failure(within(late, 'the end of the query with a timeout'))).toBe('57014');
        expect(await users.sql('SHOW statement_timeout')).toEqual([{ statement_timeout: '0' }]);
        expect(await users.twice(5)).toEqual([{ pid: expect.any(Number), twice: 10 }]);
      });
    });

    if (mode !== 'direct') {
      test('a large result is complete', async () => {
        await use(async (users) => {
          const rows = await users.sql(
            "SELECT i, repeat('ä', i % 200) AS pad FROM generate_series(1, $1::int) AS i",
            [ROWS],
          );
          expectLargeResult(rows);
        });
      });

      test('20 users at once take turns on two server connections', async () => {
        const pids = new Set<unknown>();
        const heldPids = new Set<unknown>();
        const work = async (session: U, n: number) => {
          for (let round = 0; round < 3; round++) {
            const own = await session.transaction(async (tx) => [
              ...(await tx.twice(n)),
              ...(await tx.twice(n)),
            ]);
            expect(own).toEqual([
              { pid: expect.any(Number), twice: n * 2 },
              { pid: own[0]?.['pid'], twice: n * 2 },
            ]);
            const single = await session.twice(-n);
            expect(single[0]?.['twice']).toBe(-n * 2);
            pids.add(own[0]?.['pid']).add(single[0]?.['pid']);
          }
        };
        const crowd = (worker: (n: number) => Promise<void>) =>
          withHolders(async (holders) => {
            const done = Promise.all(Array.from({ length: USERS }, (_, i) => worker(i + 1)));
            done.catch(() => {});
            for (const client of holders) {
              heldPids.add((await client.query('SELECT pg_backend_pid() AS pid')).rows[0]?.pid);
            }
            await poolShows(pooler, role, role, {
              cl_active: SERVERS,
              cl_waiting: USERS,
              sv_active: SERVERS,
            });
            // Without a COMMIT their servers would be closed with them.
            await Promise.all(holders.map((client) => client.query('COMMIT')));
            await endAll(holders);
            await within(done, 'the end of all users', 20_000);
          });
        // In session mode a connection has its server until it closes: each user is a program of its own.
        if (mode === 'session') await crowd((n) => use((users) => work(users, n)));
        else await use((users) => crowd((n) => work(users, n)), USERS);
        expect(pids.size).toBe(SERVERS);
        expect(pids).toEqual(heldPids);
        expect(await backendsOf(pooler, role)).toBe(SERVERS);
      });
    }

    if (mode === 'transaction') {
      test('a statement prepared once runs on whatever server its transaction gets', async () => {
        await use(async (users) => {
          await users.twice(0);
          const pids: unknown[] = [];
          await onEachServer(async () => {
            const rows = await users.transaction(async (tx) => [
              ...(await tx.twice(3)),
              ...(await tx.twice(4)),
            ]);
            expect(rows.map((row) => row['twice'])).toEqual([6, 8]);
            pids.push(rows[0]?.['pid'], rows[1]?.['pid']);
          });
          const [a, b] = [pids[0], pids[2]];
          expect(a).not.toBe(b);
          expect(pids).toEqual([a, a, b, b, a, a, b, b]);
        });
      });
    }

    test(`its statements ${driver.named ? 'are kept under names' : 'have no names'}`, async () => {
      await use(async (users) => {
        await users.transaction(async (tx) => {
          await tx.twice(1);
          const [row] = await tx.sql(
            'SELECT count(*)::int AS n FROM pg_prepared_statements' +
              " WHERE statement LIKE '%twice%' AND statement NOT LIKE '%count%'",
          );
          if (driver.named) expect(row?.['n']).toBeGreaterThan(0);
          else expect(row?.['n']).toBe(0);
        });
      });
    });

    more(() => ({ mode, direct, target, use, failure, onEachServer }), mode);
  });
}

const SAMPLE: Sample = {
  id: 2_147_483_647,
  big: '-9223372036854775808',
  num: '12345678901234567890.0123456789',
  body: "naïve 'quotes' \\ \t 日本語 🐘",
  at: new Date('2024-02-29T23:59:59.123Z'),
  doc: { ключ: ['é', 1.5, null, true], inner: { empty: {} } },
  list: [3, -1, 2_000_000_000],
  nothing: null,
};

/** The first `ROWS` numbers with their padding; in one assertion, for there are many. */
export function expectLargeResult(rows: readonly Row[]): void {
  let sum = 0;
  let length = 0;
  for (const row of rows) {
    sum += Number(row['i']);
    length += String(row['pad']).length;
  }
  expect([rows.length, sum, length]).toEqual([
    ROWS,
    (ROWS * (ROWS + 1)) / 2,
    (ROWS / 200) * ((199 * 200) / 2),
  ]);
}

async function endAll(clients: readonly pg.Client[]): Promise<void> {
  await Promise.all(clients.map((client) => client.end()));
}

/** The `code` of an error. */
export function codeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
}

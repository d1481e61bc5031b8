import type pg from 'pg';
import { beforeAll, expect, test } from 'vitest';
import { byEffort } from '../support/effort.ts';
import { sharedPostgres } from '../support/postgres.ts';
import { type Random, withSeed } from '../support/random.ts';
import { createRole } from '../support/roles.ts';
import { Threads } from '../support/threaded-pooler.ts';
import { waitFor } from '../support/wait-for.ts';

const ROLE = 'threads_limits';
const LIMIT = 7;
const COMERS = 24;
const ROUNDS = byEffort({ quick: 3, wide: 10, full: 100 });
/** In one of so many rounds a thread dies. */
const DEATH_ROUNDS = 5;
/** Of each comer, in the part of a round in which all come and go. */
const VISITS = 5;
const TIMEOUT_MS = byEffort({ quick: 120_000, wide: 240_000, full: 900_000 });
const login = { user: ROLE, database: 'limited' };

beforeAll(() => createRole(sharedPostgres(), { name: ROLE, auth: 'trust' }));

/** Settings, the scope that counts, and what who is refused hears. */
const limits: readonly (readonly [
  setting: string,
  scope: { database?: string; user?: string },
  text: string,
])[] = [
  ['max_client_conn', {}, 'no more connections allowed (max_client_conn)'],
  [
    'max_db_client_connections',
    { database: 'limited' },
    'client connections exceeded (max_db_client_connections)',
  ],
  [
    'max_user_client_connections',
    { user: ROLE },
    'client connections exceeded (max_user_client_connections)',
  ],
];

/** Those who have logged in, and have not begun to leave. */
class Guests {
  readonly inside = new Set<pg.Client>();
  /** At most, at the same moment. */
  most = 0;
  /** What those have heard who were not let in. */
  readonly texts = new Set<string>();
  readonly #threads: Threads;

  constructor(threads: Threads) {
    this.#threads = threads;
  }

  /** Null: it was refused. */
  async come(): Promise<pg.Client | null> {
    try {
      const client = await this.#threads.client(login);
      this.inside.add(client);
      this.most = Math.max(this.most, this.inside.size);
      // Its thread has died.
      client.once('end', () => this.inside.delete(client));
      return client;
    } catch (error) {
      this.texts.add(error instanceof Error ? error.message : String(error));
      return null;
    }
  }

  async leave(client: pg.Client): Promise<void> {
    this.inside.delete(client);
    await client.end();
  }

  async leaveAll(): Promise<void> {
    await Promise.all([...this.inside].map((client) => this.leave(client)));
  }
}

/** The largest number that `read` gives at any turn of the event loop, until it is disposed of. */
class Peak implements Disposable {
  most = 0;
  #isOver = false;

  constructor(read: () => number) {
    const look = (): void => {
      this.most = Math.max(this.most, read());
      if (!this.#isOver) setImmediate(look);
    };
    look();
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
  }
}

test.each(limits)(
  '%s is never exceeded by the clients of two threads, and is there in full',
  { timeout: TIMEOUT_MS },
  async (setting, scope, text) => {
    await withSeed(async (random: Random) => {
      const settings = { pool_mode: 'transaction', [setting]: LIMIT };
      await using threads = await Threads.start(
        { settings, databases: { limited: 'dbname=postgres' }, userlist: { [ROLE]: '' } },
        2,
      );
      const { keeper, workforce } = threads.pooler;
      const guests = new Guests(threads);
      using counted = new Peak(() => keeper.count('client', scope));
      const comeAtOnce = () => Promise.all(Array.from({ length: COMERS }, () => guests.come()));
      const areGone = () =>
        waitFor(() => keeper.count('client') === 0 && workforce.connections.every((count) => count === 0), {
          what: 'the end of all clients',
        });
      for (let round = 0; round < ROUNDS; round++) {
        // Whoever is let in stays; the first two are of two threads.
        await guests.come();
        await guests.come();
        await comeAtOnce();
        expect(guests.inside.size).toBe(LIMIT);
        const workers = await threads.pooler.control.snapshot('workers');
        expect(workers.every(({ clients }) => clients > 0)).toBe(true);
        if (round % DEATH_ROUNDS === 0) {
          // The places of its clients are to be had, and no others.
          await random.pick(workforce.threads)?.terminate();
          await waitFor(() => guests.inside.size < LIMIT && keeper.count('client') === guests.inside.size, {
            what: 'the places of the dead thread’s clients',
          });
          await comeAtOnce();
          expect(guests.inside.size).toBe(LIMIT);
          await waitFor(() => workforce.threads.length === 2, { what: 'both threads' });
        }
        await guests.leaveAll();
        await areGone();
        // Some come while others leave.
        await Promise.all(
          Array.from({ length: COMERS }, async () => {
            for (let visit = 0; visit < VISITS; visit++) {
              const client = await guests.come();
              if (client === null) continue;
              for (let i = random.below(3); i > 0; i--) await client.query('SELECT 1');
              await guests.leave(client);
            }
          }),
        );
        await areGone();
      }
      expect([guests.most, counted.most]).toEqual([LIMIT, LIMIT]);
      expect([...guests.texts]).toEqual([text]);
      expect([keeper.count('client', scope), keeper.count('login')]).toEqual([0, 0]);
      const all = [...(await threads.show('SHOW DATABASES')), ...(await threads.show('SHOW USERS'))];
      const current = all.filter(({ name }) => name === 'limited' || name === ROLE);
      expect(current.map((row) => row['current_client_connections'])).toEqual([0, 0]);
    });
  },
);

import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { createRole } from '../support/roles.ts';
import { Threads } from '../support/threaded-pooler.ts';
import { waitFor } from '../support/wait-for.ts';

const DATABASE = 'threads_room';
const USERS = ['threads_room_a', 'threads_room_b', 'threads_room_c'];
/** How often each gets a server behind others. */
const TURNS = 2;

beforeAll(async () => {
  for (const name of USERS) await createRole(sharedPostgres(), { name, auth: 'trust' });
  // PostgreSQL is the witness: a second session there is refused.
  await withClient(sharedPostgres(), (client) =>
    client.query(`CREATE DATABASE ${DATABASE} CONNECTION LIMIT 1`),
  );
});
afterAll(() =>
  withClient(sharedPostgres(), (client) => client.query(`DROP DATABASE ${DATABASE} WITH (FORCE)`)),
);

/** Works without a pause, so that its server never rests for longer than a moment. */
class Busy {
  readonly user: string;
  /** Sessions of PostgreSQL that it has been served by, one behind the other. */
  readonly sessions: number[] = [];
  readonly #client: pg.Client;
  #isOver = false;
  readonly #work: Promise<void>;

  constructor(user: string, client: pg.Client) {
    this.user = user;
    this.#client = client;
    this.#work = this.#run();
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      const { rows } = await this.#client.query<{ pid: number }>(
        'SELECT pg_backend_pid() AS pid FROM pg_sleep(0.005)',
      );
      const pid = rows[0]?.pid ?? 0;
      if (this.sessions.at(-1) !== pid) this.sessions.push(pid);
    }
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#work;
    await this.#client.end();
  }
}

describe('with fewer servers than pools that are busy', () => {
  test.each([1, 2, 3])('nobody is kept out, whatever threads they are of: %i', async (count) => {
    await using threads = await Threads.start(
      {
        settings: { pool_mode: 'transaction', max_db_connections: 1, query_wait_timeout: 30 },
        databases: { room: `dbname=${DATABASE}` },
        userlist: Object.fromEntries(USERS.map((name) => [name, ''])),
      },
      count,
    );
    const all: Busy[] = [];
    for (const user of USERS) all.push(new Busy(user, await threads.client({ user, database: 'room' })));
    await waitFor(() => all.every(({ sessions }) => sessions.length >= TURNS), {
      what: `${TURNS} turns of each`,
      deadlineMs: 30_000,
    });
    for (const busy of all) await busy.end();
    expect(threads.lines.filter((line) => line.includes('too many connections'))).toEqual([]);
    expect(threads.lines.filter((line) => line.startsWith('ERROR'))).toEqual([]);
  });
});

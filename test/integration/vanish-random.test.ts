import { FOLLOWED } from '../support/followed-parameters.ts';
import { beforeAll, expect, test } from 'vitest';
import { poolShows } from '../support/backends.ts';
import { IsolationActor } from '../support/isolation-actor.ts';
import { startPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { Random, withSeed } from '../support/random.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { Channels, SessionActor } from '../support/session-actor.ts';
import { ownedRowsTable, TransactionActor } from '../support/transaction-actor.ts';
import { neverTable, Vanisher } from '../support/vanisher.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';
import { byEffort } from '../support/effort.ts';

const user = 'vanish_random';
const database = 'vanish_random';

/** How much more than usual is done: `npm run test:full` takes its time. */
const effort = byEffort({ quick: 0.3, wide: 1, full: 10 });
const TIMEOUT_MS = effort <= 1 ? 30_000 : 900_000;

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: user, auth: 'trust' });
  await createDatabase(sharedPostgres(), database, user);
  await withClient(sharedPostgres(), (client) => client.query(`${ownedRowsTable}; ${neverTable}`), {
    database,
    user,
  });
});

/** A client that has no transactions. */
class StatementActor extends IsolationActor {
  protected async step(): Promise<void> {
    if (!this.isConnected) await this.connect({});
    await this.random.pick([
      () => this.simpleSelect(),
      () => this.extendedSelect(),
      () => this.pipeline(),
      () => this.error(),
      () => this.copyOut(),
      () => this.leave(this.random.pick(['terminate', 'reset'])),
    ])();
  }
}

/** What the role's sessions are doing, and rows that nobody may have left. */
async function leftBehind(): Promise<unknown[]> {
  return withClient(
    sharedPostgres(),
    async (client) => {
      const { rows } = await client.query<{ what: string }>(
        `SELECT state || ': ' || query AS what FROM pg_stat_activity
         WHERE usename = $1 AND datname = $2 AND pid <> pg_backend_pid() AND state <> 'idle'
         UNION ALL SELECT 'row ' || tag FROM never_rows`,
        [user, database],
      );
      return rows.map(({ what }) => what);
    },
    { database },
  );
}

test.each([
  'session',
  'transaction',
  'statement',
] as const)('%s mode: clients that vanish at random moments of random pipelines leave nothing to others, and nothing undone', {
  timeout: TIMEOUT_MS,
}, async (pool_mode) => {
  await withSeed(async (random) => {
    await using pooler = await startPooler({
      settings: {
        pool_mode,
        default_pool_size: 3,
        max_client_conn: 500,
        max_prepared_statements: 5,
        track_extra_parameters: ['IntervalStyle', ...FOLLOWED].join(', '),
      },
      // Not much: what cannot be cancelled in time takes the other way out.
      own: { server_close_timeout: 0.5 },
      userlist: { [user]: '' },
    });
    const login = { port: pooler.port, user, database };
    const fresh = await WireClient.connect(sharedPostgres(), { user, database });
    const [defaults] = await fresh.rows("SELECT current_setting('work_mem'), current_setting('TimeZone')");
    await fresh.end();
    const shared = {
      defaults: [defaults?.[0] ?? '', defaults?.[1] ?? ''] as const,
      channels: new Channels(),
    };
    const makeActor = (i: number): IsolationActor => {
      const own = new Random(random.below(2 ** 31));
      if (pool_mode === 'session') return new SessionActor(`s${i}`, own, login, shared);
      return pool_mode === 'transaction'
        ? new TransactionActor(`t${i}`, own, login)
        : new StatementActor(`q${i}`, own, login);
    };
    const actors = Array.from({ length: 4 }, (_, i) => makeActor(i));
    let isOver = false;
    const stepsDone = () => actors.reduce((sum, { steps }) => sum + steps, 0);
    const scene = {
      ...login,
      socketPath: pooler.socketPath,
      isStatementMode: pool_mode === 'statement',
      moment: async () => {
        const goal = stepsDone() + 1;
        // Others take no step while vanishers have all servers.
        const untilMs = performance.now() + 30;
        await waitFor(() => isOver || stepsDone() >= goal || performance.now() > untilMs);
      },
    };
    const visits = 40 * effort;
    const vanishers = Array.from(
      { length: 4 },
      (_, i) => new Vanisher(`v${i}`, new Random(random.below(2 ** 31)), scene),
    );
    const working = Promise.all(actors.map((actor) => actor.run(150 * effort))).finally(() => {
      isOver = true;
    });
    await Promise.all([working, ...vanishers.map((vanisher) => vanisher.run(visits))]);

    await poolShows(pooler, database, user, {
      cl_active: 0,
      cl_waiting: 0,
      sv_active: 0,
      sv_tested: 0,
      sv_being_canceled: 0,
      sv_active_cancel: 0,
    });
    await waitFor(() => pooler.pooler.state.pools.all().every(({ servers }) => servers.closing.length === 0));
    expect(await leftBehind()).toEqual([]);
  });
});

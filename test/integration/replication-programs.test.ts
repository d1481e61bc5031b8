import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Postgres } from '../../src/cli/start/postgres.ts';
import { postgresEnvironment } from '../../src/cli/start/postgres-folder.ts';
import { postgresRunUser } from '../../src/cli/start/run-user.ts';
import { installedPostgres } from '../support/installed-postgres.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { sharedPostgres, startPostgres, withClient } from '../support/postgres.ts';
import { createDatabase } from '../support/roles.ts';
import { waitFor, within } from '../support/wait-for.ts';
import { replicationHba } from '../support/walsender.ts';

const execute = promisify(execFile);
const DEADLINE_MS = 60_000;

const binDir = installedPostgres('pg_basebackup', 'pg_receivewal', 'pg_recvlogical', 'pg_verifybackup');
if (binDir === null) {
  console.warn(
    'skipped: pg_basebackup, pg_receivewal, pg_recvlogical and their PostgreSQL are not installed (Debian: postgresql)',
  );
}

let postgres: Postgres;
beforeAll(async () => {
  postgres = await startPostgres({
    // Without these programs the subscription alone is tried out.
    ...(binDir === null ? {} : { binDir }),
    settings: { wal_level: 'logical' },
    hba: replicationHba,
  });
});
afterAll(() => postgres[Symbol.asyncDispose]());

async function sql(text: string, config: pg.ClientConfig = {}): Promise<Record<string, unknown>[]> {
  return withClient(postgres.address, async (client) => (await client.query(text)).rows, config);
}

describe.each(['session', 'transaction', 'statement'])('in %s mode', (pool_mode) => {
  let pooler: LocalPooler;
  let folder: string;
  beforeAll(async () => {
    pooler = await startPooler({
      postgres: postgres.address,
      // Two connections are what a backup with its WAL takes.
      settings: { pool_mode, default_pool_size: 2, auth_type: 'scram-sha-256', server_reset_query_always: 1 },
    });
    folder = mkdtempSync(join(tmpdir(), 'pgweir-replication-'));
  });
  afterAll(async () => {
    rmSync(folder, { recursive: true, force: true });
    await pooler[Symbol.asyncDispose]();
  });

  const environment = () => ({ ...postgresEnvironment(), PGPASSWORD: postgres.address.password });
  const program = (name: string) => join(binDir as string, name);
  const target = () => [
    '-h',
    '127.0.0.1',
    '-p',
    String(pooler.port),
    '-U',
    postgres.address.user,
    '--no-password',
  ];

  /** Runs a program to its end, which must be a good one; gives what it wrote. */
  async function run(name: string, ...args: readonly string[]): Promise<string> {
    const options = { env: environment(), timeout: DEADLINE_MS };
    const { stdout } = await execute(program(name), [...target(), ...args], options);
    return stdout;
  }

  /** A program that goes on until it is interrupted. */
  function begin(name: string, ...args: readonly string[]): Streaming {
    return new Streaming(
      spawn(program(name), [...target(), ...args], {
        env: environment(),
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: DEADLINE_MS,
      }),
    );
  }

  async function noServerIsLeft(): Promise<void> {
    await waitFor(() => pooler.pooler.state.budget.count('server') === 0, { what: 'the end of all servers' });
    expect(await sql('SELECT FROM pg_stat_replication')).toEqual([]);
  }

  test.skipIf(binDir === null)(
    'pg_basebackup takes a backup that is complete, its WAL included',
    async () => {
      const backup = join(folder, 'backup');
      await run('pg_basebackup', '-D', backup, '-X', 'stream', '-c', 'fast');
      const { stdout } = await execute(program('pg_verifybackup'), [backup], { env: environment() });
      expect(stdout).toContain('backup successfully verified');
      await noServerIsLeft();
    },
  );

  test.skipIf(binDir === null)('pg_receivewal writes the WAL down as it comes', async () => {
    const slot = `receives_${pool_mode}`;
    await run('pg_receivewal', '--create-slot', '--slot', slot);
    await using receiving = begin('pg_receivewal', '-D', folder, '--slot', slot, '--synchronous', '-v');
    await receiving.says(/starting log streaming/);
    const shown = (await pooler.show('SHOW SERVERS')).map((row) => [
      row['replication'],
      row['application_name'],
    ]);
    expect(shown).toEqual([['physical', 'pg_receivewal']]);
    await sql("SELECT pg_logical_emit_message(true, 'some', 'WAL')");
    const [row] = await sql('SELECT pg_walfile_name(pg_current_wal_lsn()) AS name');
    await sql('SELECT pg_switch_wal()');
    await waitFor(() => readdirSync(folder).includes(row?.['name'] as string), {
      what: 'a finished segment',
    });
    await receiving.end();
    await noServerIsLeft();
    await run('pg_receivewal', '--drop-slot', '--slot', slot);
  });

  test.skipIf(binDir === null)('pg_recvlogical prints the changes as they come', async () => {
    const slot = `decodes_${pool_mode}`;
    const table = `decoded_${pool_mode}`;
    await sql(`CREATE TABLE ${table} (id int)`);
    const place = ['-d', 'postgres', '--slot', slot];
    await run('pg_recvlogical', ...place, '--create-slot', '--plugin', 'test_decoding');
    await using receiving = begin(
      'pg_recvlogical',
      ...place,
      '--start',
      '-f',
      '-',
      '-v',
      '--fsync-interval',
      '1',
    );
    await receiving.says(/streaming initiated/);
    await sql(`INSERT INTO ${table} VALUES (1), (2)`);
    await receiving.says(new RegExp(`table public.${table}: INSERT: id\\[integer\\]:2\n`));
    await receiving.end();
    await noServerIsLeft();
    await run('pg_recvlogical', ...place, '--drop-slot');
  });

  // A standby takes its time to start: in one mode it is tried.
  if (pool_mode === 'transaction') {
    test.skipIf(binDir === null)(
      'a standby made by pg_basebackup follows, and goes on after RECONNECT',
      async () => {
        const backup = join(folder, 'standby');
        const slot = `standby_${pool_mode}`;
        await run('pg_basebackup', '-D', backup, '-c', 'fast', '-R', '-C', '--slot', slot);
        const user = postgresRunUser();
        if (user !== null) {
          // What we have written as root is the standby's user's.
          chmodSync(folder, 0o755);
          await execute('chown', ['-R', `${user.uid}:${user.gid}`, backup]);
        }
        await using standby = await startPostgres({ binDir: binDir as string, templateDir: backup });
        const follows = async (table: string): Promise<void> => {
          await sql(`CREATE TABLE ${table} AS SELECT 1 AS one`);
          await waitFor(async () => {
            const text = `SELECT to_regclass('${table}') IS NOT NULL AS is_there`;
            const { rows } = await withClient(standby.address, (client) => client.query(text));
            return rows[0]?.['is_there'] === true;
          });
        };
        await follows(`first_${pool_mode}`);
        await pooler.show('RECONNECT');
        await follows(`second_${pool_mode}`);
        await standby.stop();
        await noServerIsLeft();
        await sql(`SELECT pg_drop_replication_slot('${slot}')`);
      },
    );
  }

  test('a subscription copies its tables, follows them, and ends', async () => {
    const database = `published_${pool_mode}`;
    const table = 'CREATE TABLE things (id int PRIMARY KEY, what text)';
    await createDatabase(postgres.address, database);
    const publish = (text: string) => sql(text, { database });
    await publish(table);
    await publish("INSERT INTO things SELECT i, repeat('x', 1000) FROM generate_series(1, 5000) i");
    await publish('CREATE PUBLICATION everything FOR TABLE things');
    await createDatabase(sharedPostgres(), `subscribed_${pool_mode}`);
    await withClient(
      sharedPostgres(),
      async (subscriber) => {
        await subscriber.query(table);
        const { user, password } = postgres.address;
        const at = `host=127.0.0.1 port=${pooler.port} dbname=${database} user=${user} password=${password}`;
        await subscriber.query(`CREATE SUBSCRIPTION follows CONNECTION '${at}' PUBLICATION everything`);
        const has = async (condition: string): Promise<number> => {
          const text = `SELECT count(*)::int AS n FROM things WHERE ${condition}`;
          return (await subscriber.query<{ n: number }>(text)).rows[0]?.n ?? 0;
        };
        await waitFor(async () => (await has('length(what) = 1000')) === 5000, { deadlineMs: 20_000 });
        await publish("UPDATE things SET what = 'followed' WHERE id <= 10");
        await waitFor(async () => (await has("what = 'followed'")) === 10, { deadlineMs: 20_000 });
        await subscriber.query('DROP SUBSCRIPTION follows');
      },
      { database: `subscribed_${pool_mode}` },
    );
    await noServerIsLeft();
    expect(
      await publish('SELECT slot_name FROM pg_replication_slots WHERE database = current_database()'),
    ).toEqual([]);
  });
});

/** A program that streams until it is interrupted. */
class Streaming implements AsyncDisposable {
  #output = '';
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.#closed = once(child, 'close');
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
      });
    }
  }

  async says(pattern: RegExp): Promise<void> {
    try {
      await waitFor(() => pattern.test(this.#output) || this.#child.exitCode !== null);
    } finally {
      expect(this.#output).toMatch(pattern);
    }
  }

  /** As Ctrl-C: it finishes in good order. */
  async end(): Promise<void> {
    this.#child.kill('SIGINT');
    await within(this.#closed, 'the end of the program');
    // pg_recvlogical 15 complains when it is interrupted, without a pooler, too.
    const complaints = this.#output.replace(/.*error: unexpected termination of replication stream: \n/, '');
    expect([this.#child.exitCode, /error:.*/.exec(complaints)?.[0]]).toEqual([0, undefined]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null) this.#child.kill('SIGKILL');
    await within(this.#closed, 'the end of the program');
  }
}

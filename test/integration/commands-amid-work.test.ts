import { beforeAll, expect, test } from 'vitest';
import type { ControlRequest } from '../../src/admin/control.ts';
import type { PoolerState } from '../../src/daemon/context.ts';
import { backendsOf } from '../support/backends.ts';
import { frontend } from '../support/peer-messages.ts';
import { type LocalPooler, startPooler } from '../support/pooler.ts';
import { workersOfTests } from '../support/pooler-config.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { Random, withSeed } from '../support/random.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { waitFor } from '../support/wait-for.ts';
import { unnamed, WireClient } from '../support/wire-client.ts';
import { byEffort } from '../support/effort.ts';

const role = 'amid_work';
const database = 'amid_work';
const login = { user: role, database };
const POOL_SIZE = 3;

beforeAll(async () => {
  const postgres = sharedPostgres();
  await createRole(postgres, { name: role, auth: 'trust', options: `CONNECTION LIMIT ${POOL_SIZE}` });
  await createDatabase(postgres, database, role);
  await withClient(
    postgres,
    (client) => client.query('CREATE TABLE sink (line text); GRANT ALL ON sink TO public'),
    { database },
  );
});

/** Errors that a command, a cancel or PostgreSQL's own administrator brings about, for whoever is in the way. */
const EXPECTED = ['08P01', '57014', '57P01', '57P03'];

/** How many commands are given: `npm run test:full` takes its time. */
const COMMANDS = byEffort({ wide: 30, full: 600 });
const TIMEOUT_MS = byEffort({ wide: 120_000, full: 1_800_000 });

const noSignal = new AbortController().signal;

/** A client to whom anything may happen but another's data: it logs in again whenever it was cut off. */
class Worker {
  answers = 0;
  readonly findings: string[] = [];
  readonly #name: string;
  readonly #random: Random;
  readonly #pooler: LocalPooler;
  #client: WireClient | null = null;
  #count = 0;

  constructor(name: string, random: Random, pooler: LocalPooler) {
    this.#name = name;
    this.#random = random;
    this.#pooler = pooler;
  }

  async run(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      try {
        this.#client ??= await WireClient.connect(this.#pooler.port, {
          ...login,
          application_name: this.#name,
        });
        await this.#step(this.#client);
      } catch {
        await this.#drop();
        // Others come first, however fast a connection is refused.
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    await this.#drop();
  }

  async #drop(): Promise<void> {
    await this.#client?.peer.close();
    this.#client = null;
  }

  #tag(): string {
    return `${this.#name}-${this.#count++}`;
  }

  /** What each of the messages must answer: our own tag, our own name, outside of a transaction before it. */
  async #expectOwn(client: WireClient, send: (sql: string) => Promise<void>, status: string): Promise<void> {
    const tag = this.#tag();
    await send(`SELECT '${tag}', current_setting('application_name')`);
    const answer = await client.answer();
    const { rows, errors } = answer;
    if (errors.length > 0) {
      if (errors.some(({ C = '' }) => !EXPECTED.includes(C))) this.findings.push(JSON.stringify(errors));
      return;
    }
    if (
      rows.length !== 1 ||
      rows[0]?.[0] !== tag ||
      rows[0]?.[1] !== this.#name ||
      answer.status !== status
    ) {
      this.findings.push(`${tag}: ${JSON.stringify({ ...answer, copied: '' })}`);
    }
    this.answers++;
  }

  async #step(client: WireClient): Promise<void> {
    const simple = (sql: string) => client.send(frontend.query(sql));
    const extended = (sql: string) => client.send(unnamed(sql), frontend.sync());
    switch (this.#random.below(9)) {
      case 0:
      case 1:
        return this.#expectOwn(client, simple, 'I');
      case 2:
        return this.#expectOwn(client, extended, 'I');
      case 3:
        await client.query('BEGIN');
        await this.#expectOwn(client, extended, 'T');
        await client.query("INSERT INTO sink VALUES ('x')");
        await client.query(this.#random.pick(['COMMIT', 'ROLLBACK']));
        return;
      case 4:
        // Gone inside a transaction.
        await client.send(frontend.query('BEGIN'), frontend.query('SELECT pg_sleep(0.01)'));
        return this.#drop();
      case 5:
        // Gone inside a message.
        await client.send(frontend.query('SELECT 1').subarray(0, 1 + this.#random.below(12)));
        return this.#drop();
      case 6:
        await Promise.all([client.query('SELECT pg_sleep(0.05)'), client.cancel()]);
        return;
      case 7:
        await client.send(
          frontend.query('COPY sink FROM STDIN'),
          frontend.copyData('a\tb\n'),
          frontend.copyDone(),
        );
        await client.answer();
        return this.#expectOwn(client, simple, 'I');
      default:
        await client.send(frontend.query('BEGIN'), frontend.query('SELECT 1/0'));
        await client.answer();
        await client.answer();
        await client.query('ROLLBACK');
    }
  }
}

/** In the lists of one event loop. */
async function nothingIsLeft({ connections, sessions, cancelKeys, pools }: PoolerState): Promise<void> {
  await waitFor(() => connections.size === 0);
  expect([sessions.size, cancelKeys.size]).toEqual([0, 0]);
  for (const { clients, servers, cancels } of pools.all()) {
    expect([clients.count, servers.active.length]).toEqual([0, 0]);
    await waitFor(() => cancels.carrierCount + cancels.waiting.length + cancels.sent.length === 0);
  }
}

async function clientIds(pooler: LocalPooler): Promise<number[]> {
  return (await pooler.pooler.control.snapshot('clients')).map(({ id }) => id);
}

/** One of the things that operators do, in the middle of whatever clients do. */
async function command(pooler: LocalPooler, random: Random): Promise<void> {
  const { control } = pooler.pooler;
  // Those that wait until something is through are not waited for.
  const ask = (request: ControlRequest) => void control.request(request, noSignal);
  switch (random.below(12)) {
    case 0:
      return ask({ kind: 'pause', database });
    case 1:
      return ask({ kind: 'pause', database: null });
    case 2:
      return ask({ kind: 'kill', database });
    case 3:
      return ask({ kind: 'reconnect', database: null });
    case 4:
      return ask({ kind: 'killClient', id: random.pick([0, ...(await clientIds(pooler))]) });
    case 5:
      return pooler.reload({ databases: { '*': random.pick(['', 'application_name=other']) } });
    case 6:
      return pooler.reload({
        databases: random.pick<Record<string, string>>([{ other: '' }, { '*': '' }, { [database]: '' }]),
      });
    case 7:
      await withClient(pooler.postgres, (client) =>
        client.query(
          'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 ORDER BY random() LIMIT 1',
          [role],
        ),
      );
      return;
    default:
      ask({ kind: 'resume', database: null });
      ask({ kind: 'resume', database });
      if (random.below(2) === 0) await pooler.reload({ databases: { '*': '' } });
  }
}

test.each(['transaction', 'session'])(
  '%s mode: commands in the middle of everything mix nothing up and leave nothing behind',
  async (mode) => {
    await withSeed(async (random) => {
      await using pooler = await startPooler({
        settings: {
          pool_mode: mode,
          default_pool_size: POOL_SIZE,
          server_login_retry: 0,
          query_wait_timeout: 2,
          client_login_timeout: 2,
        },
        own: { server_close_timeout: 0.2, server_cancel_timeout: 0.5 },
        userlist: { [role]: '' },
      });
      const { control } = pooler.pooler;
      let isOver = false;
      const workers = Array.from(
        { length: 9 },
        (_, i) => new Worker(`w${i}`, new Random(random.below(2 ** 31)), pooler),
      );
      const works = workers.map((worker) => worker.run(() => isOver));
      let most = 0;
      for (let i = 0; i < COMMANDS; i++) {
        await command(pooler, random);
        for (let looks = random.below(5); looks >= 0; looks--) {
          most = Math.max(most, await backendsOf(pooler, role));
        }
      }
      isOver = true;
      await pooler.reload({ databases: { '*': '' } });
      await control.request({ kind: 'resume', database: null }, noSignal);
      await control.request({ kind: 'resume', database }, noSignal);
      await Promise.all(works);

      expect(workers.flatMap(({ findings }) => findings).join('\n')).toBe('');
      expect(most).toBeLessThanOrEqual(POOL_SIZE);
      expect(workers.reduce((sum, { answers }) => sum + answers, 0)).toBeGreaterThan(COMMANDS / 2);
      expect(pooler.lines.filter((line) => /internal error|too many connections/.test(line))).toEqual([]);
      await waitFor(
        async () => pooler.pooler.count('client') === 0 && (await clientIds(pooler)).length === 0,
      );
      if (workersOfTests() === 1) await nothingIsLeft(pooler.pooler.state);
      // Every slot still serves, and the budget knows of each connection that PostgreSQL has.
      const clients = await Promise.all(
        Array.from({ length: POOL_SIZE }, () => WireClient.connect(pooler.port, login)),
      );
      for (const { status } of await Promise.all(clients.map((client) => client.query('BEGIN')))) {
        expect(status).toBe('T');
      }
      expect(await backendsOf(pooler, role)).toBe(POOL_SIZE);
      for (const client of clients) await client.end();
      await waitFor(async () => pooler.pooler.count('server') === (await backendsOf(pooler, role)));
    });
  },
  TIMEOUT_MS,
);

import { createHash } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import { frontend } from '../support/peer-messages.ts';
import { FOLLOWED } from '../support/followed-parameters.ts';
import { startPooler } from '../support/pooler.ts';
import { sharedPostgres, withClient } from '../support/postgres.ts';
import { Random, withSeed } from '../support/random.ts';
import { createDatabase, createRole } from '../support/roles.ts';
import { Channels, SessionActor } from '../support/session-actor.ts';
import { ownedRowsTable, TransactionActor } from '../support/transaction-actor.ts';
import { waitFor } from '../support/wait-for.ts';
import { WireClient } from '../support/wire-client.ts';
import { byEffort } from '../support/effort.ts';

const role = 'isolation_app';
const database = 'isolation';
const POOL_SIZE = 5;

beforeAll(async () => {
  await createRole(sharedPostgres(), { name: role, auth: 'trust' });
  await createDatabase(sharedPostgres(), database, role);
  await withClient(sharedPostgres(), (client) => client.query(ownedRowsTable), { database, user: role });
});

/** How much more than usual is done: `npm run test:full` takes its time. */
const effort = byEffort({ quick: 0.3, wide: 1, full: 10 });

/** A busy machine takes its time for ten times as much. */
const TIMEOUT_MS = effort <= 1 ? 120_000 : 900_000;

/** A result of some 8 MB that only this tag gives: more than the kernel's buffers between all parties hold. */
function largeQuery(tag: string): string {
  return `SELECT '${tag}' || g, repeat(md5(g::text || '${tag}'), 25) FROM generate_series(1, 10000) AS g`;
}

interface Stream {
  readonly bytes: number;
  readonly sha256: string;
}

/** What PostgreSQL itself sends for the query, to the byte. */
async function directStream(sql: string): Promise<Stream> {
  const client = await WireClient.connect(sharedPostgres(), { user: role, database });
  await client.send(frontend.query(sql));
  const hash = createHash('sha256');
  let bytes = 0;
  for (;;) {
    const { type, body } = await client.peer.message();
    const header = Buffer.alloc(5, type);
    header.writeInt32BE(body.length + 4, 1);
    hash.update(header).update(body);
    bytes += 5 + body.length;
    if (type === 'Z') break;
  }
  await client.end();
  return { bytes, sha256: hash.digest('hex') };
}

/** Reads a stream in `pieces` parts; in front of each but the first it doesn't read until `mayGoOn`. */
async function readStream(
  client: WireClient,
  expected: Stream,
  pieces: number,
  mayGoOn: () => Promise<void>,
) {
  const hash = createHash('sha256');
  const { peer } = client;
  for (let piece = 0, at = 0; piece < pieces; piece++) {
    const to = Math.floor((expected.bytes * (piece + 1)) / pieces);
    if (piece > 0) {
      peer.stall();
      await mayGoOn();
      peer.resume();
    }
    hash.update(await peer.bytes(to - at));
    at = to;
  }
  return { bytes: expected.bytes + peer.unread, sha256: hash.digest('hex') };
}

test('transaction mode: no client ever sees a row, transaction, notice, error or byte of another', {
  timeout: TIMEOUT_MS,
}, async () => {
  await withSeed(async (random) => {
    await using pooler = await startPooler({
      settings: {
        pool_mode: 'transaction',
        default_pool_size: POOL_SIZE,
        max_client_conn: 500,
        // Few, so that statements take turns on the servers.
        max_prepared_statements: 5,
        track_extra_parameters: ['IntervalStyle', ...FOLLOWED].join(', '),
      },
      userlist: { [role]: '' },
    });
    const login = { port: pooler.port, user: role, database };
    const actors = Array.from(
      { length: 12 },
      (_, i) => new TransactionActor(`t${i}`, new Random(random.below(2 ** 31)), login),
    );
    const stepsDone = () => actors.reduce((sum, { steps }) => sum + steps, 0);
    const stepsEach = 250 * effort;

    // Readers that stand still while others work, each time until so many steps later.
    const readers = [1, 2, 8, 40].map(async (pieces, i) => {
      for (let round = 0; round < 2; round++) {
        const sql = largeQuery(`r${i}-${round}`);
        const expected = await directStream(sql);
        const client = await WireClient.connect(pooler.port, { user: role, database });
        await client.send(frontend.query(sql));
        const got = await readStream(client, expected, pieces, async () => {
          const goal = Math.min(stepsDone() + 200 / pieces, stepsEach * actors.length);
          await waitFor(() => stepsDone() >= goal, { deadlineMs: 20_000, what: 'steps of others' });
        });
        expect(got).toEqual(expected);
        await client.end();
      }
    });
    await Promise.all([...actors.map((actor) => actor.run(stepsEach)), ...readers]);
    expect(stepsDone()).toBe(stepsEach * actors.length);

    const present = await withClient(
      sharedPostgres(),
      async (client) => {
        const { rows } = await client.query<{ owner: string; tags: string[] }>(
          'SELECT owner, array_agg(tag) AS tags FROM owned_rows GROUP BY owner',
        );
        return new Map(rows.map(({ owner, tags }) => [owner, tags.toSorted()]));
      },
      { database },
    );
    for (const { owner, committed, doubtful } of actors.flatMap(({ ownedRows }) => ownedRows)) {
      const tags = present.get(owner) ?? [];
      const without = [...committed].toSorted();
      const withDoubtful = [...committed, ...doubtful].toSorted();
      expect([without, withDoubtful]).toContainEqual(tags);
    }
  });
});

test('session mode: no session ever finds what another has set, prepared, created, locked or listened to', {
  timeout: TIMEOUT_MS,
}, async () => {
  await withSeed(async (random) => {
    await using pooler = await startPooler({
      settings: { pool_mode: 'session', default_pool_size: POOL_SIZE, max_client_conn: 500 },
      userlist: { [role]: '' },
    });
    const login = { port: pooler.port, user: role, database };
    const fresh = await WireClient.connect(sharedPostgres(), { user: role, database });
    const [defaults] = await fresh.rows("SELECT current_setting('work_mem'), current_setting('TimeZone')");
    await fresh.end();
    const shared = {
      defaults: [defaults?.[0] ?? '', defaults?.[1] ?? ''] as const,
      channels: new Channels(),
    };
    const actors = Array.from(
      { length: 12 },
      (_, i) => new SessionActor(`s${i}`, new Random(random.below(2 ** 31)), login, shared),
    );
    await Promise.all(actors.map((actor) => actor.run(300 * effort)));
    // Many more sessions than servers: most of them came after another.
    expect(actors.reduce((sum, { sessions }) => sum + sessions, 0)).toBeGreaterThan(100 * effort);
    expect(pooler.lines.filter((line) => line.includes('closing because: client disconnect'))).not.toEqual(
      [],
    );
  });
});

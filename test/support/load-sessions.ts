import type pg from 'pg';
import { cancelAt } from './cancellable-client.ts';
import { DATABASE, ROLES, type LoadStage } from './load-stage.ts';
import type { Tally } from './load-tally.ts';
import { frontend } from './peer-messages.ts';
import { connectTo } from './postgres.ts';
import type { Random } from './random.ts';
import { connectEncrypted } from './tls.ts';
import { ledgerQuery, type Ledger, secureConfig } from './tpcb.ts';
import { within } from './wait-for.ts';

/** What a session needs from outside. */
export interface SessionParts {
  readonly stage: LoadStage;
  readonly tally: Tally;
  readonly random: Random;
  /** No other one looks the same. */
  readonly name: string;
  readonly isStopped: () => boolean;
  /** An error that came while no query ran: the next one fails by words of node-postgres alone. */
  readonly told: (error: Error) => void;
}

/** How many transactions a session has, before its client leaves. */
const LENGTH = 10;

/** A cancelled query that would run so long if the cancel were lost. */
const SLEEP_SECONDS = 15;

async function connectSession(parts: SessionParts, config: pg.ClientConfig): Promise<pg.Client> {
  const { stage, tally, name } = parts;
  tally.connections++;
  const client = await connectTo(stage.address, {
    ...secureConfig(stage.secure),
    user: ROLES[1],
    database: DATABASE,
    application_name: name,
    ...config,
  });
  client.on('error', parts.told);
  return client;
}

/**
 * A client that has settings of its own, given when connecting and changed since, and looks in each transaction whether
 * it has them and nobody else's. At its end it looks whether the ledger's sums agree, as one transaction sees them.
 */
export async function keepSession(parts: SessionParts): Promise<void> {
  const { tally, random, name, isStopped } = parts;
  const own = { search_path: `at_${name}`, application_name: name, TimeZone: 'GMT' };
  const client = await connectSession(parts, {
    options: `-c search_path=${own.search_path} -c TimeZone=GMT`,
  });
  try {
    for (let i = 0; i < LENGTH && !isStopped(); i++) {
      const kind = random.below(6);
      if (kind === 0) {
        own.search_path = `at_${name}_${i}`;
        await client.query(`SET search_path = ${own.search_path}`);
        tally.transactions++;
      } else if (kind === 1) {
        own.TimeZone = random.pick(['GMT', 'Europe/Berlin', 'Asia/Tokyo']);
        await client.query(`SET TimeZone = '${own.TimeZone}'`);
        tally.transactions++;
      } else if (kind === 2) {
        await client.query('BEGIN');
        await client.query("SET LOCAL search_path = 'rolled back'");
        await client.query('ROLLBACK');
        tally.transactions++;
      }
      const { rows } = await client.query<typeof own>(
        `SELECT current_setting('search_path') AS search_path, current_setting('TimeZone') AS "TimeZone",
                current_setting('application_name') AS application_name`,
      );
      tally.transactions++;
      if (JSON.stringify({ ...own, ...rows[0] }) !== JSON.stringify(own)) {
        tally.error(
          null,
          `session ${name} has ${JSON.stringify(rows[0])} in place of ${JSON.stringify(own)}`,
        );
      }
    }
    const query = ledgerQuery.replaceAll('pgbench_', 'public.pgbench_');
    const sums = (await client.query<Ledger>(query)).rows[0] as Ledger;
    tally.transactions++;
    if (new Set([sums.accounts, sums.tellers, sums.branches, sums.history]).size !== 1) {
      tally.error(null, `the ledger's sums differ: ${JSON.stringify(sums)}`);
    }
  } finally {
    await client.end();
  }
}

/** A client whose queries are cancelled, by requests that any process on the port may get. */
export async function cancelQueries(parts: SessionParts): Promise<void> {
  const { stage, tally, random, isStopped } = parts;
  const client = await connectSession(parts, {});
  const key = Buffer.alloc(8);
  const given = client as unknown as { processID: number; secretKey: number };
  key.writeInt32BE(given.processID, 0);
  key.writeInt32BE(given.secretKey, 4);
  try {
    for (let i = 0; i < 2 && !isStopped(); i++) {
      const begun = Promise.withResolvers<void>();
      const onNotice = ({ message }: { message?: string | undefined }): void => {
        if (message === `asleep ${i}`) begun.resolve();
      };
      client.on('notice', onNotice);
      const sleeping = client.query(
        `DO $$ BEGIN RAISE NOTICE 'asleep ${i}'; PERFORM pg_sleep(${SLEEP_SECONDS}); END $$`,
      );
      // Where the session ends instead, that is what is told.
      await Promise.race([begun.promise, sleeping]);
      client.off('notice', onNotice);
      const cancelled = sleeping.then(
        () => tally.error(null, 'a cancel request was lost'),
        (error: { code?: string }) => {
          if (error.code !== '57014') throw error;
          tally.cancels++;
        },
      );
      // Whatever becomes of the request, the query says it.
      await Promise.all([
        cancelled,
        (random.below(2) === 0 ? cancelAt(stage.port, key) : cancelEncrypted(stage.port, key)).catch(
          (error: unknown) => tally.error(null, `a cancel request was not taken: ${String(error)}`),
        ),
      ]);
      tally.transactions++;
    }
  } finally {
    await client.end();
  }
}

async function cancelEncrypted(port: number, key: Buffer): Promise<void> {
  const { peer } = await connectEncrypted(port);
  await peer.send(frontend.cancelRequest(key.readInt32BE(0), key.subarray(4)));
  await within(peer.end(), 'the end of a cancel request over TLS');
  await peer.close();
}

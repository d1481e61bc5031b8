import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { clientConfig, settleMs, type Load, type LoadJob, type LoadResult, type Target } from './load.ts';

const rowsPerScale = 100_000;

/** A query that hangs ends the run with an error instead of hanging the benchmark. */
const queryDeadlineMs = 10_000;

function newClient(target: Target): Client {
  const client = new Client({
    ...clientConfig(target),
    connectionTimeoutMillis: queryDeadlineMs,
    query_timeout: queryDeadlineMs,
  });
  // Failures surface in the awaited calls; without a listener this event would end the process.
  client.on('error', () => {});
  return client;
}

/**
 * Stands in where pgbench isn't installed: the same statement from clients in this process. Slower than pgbench, so
 * its transactions/s say little; a pooler's CPU per transaction stays comparable.
 */
export function nodeLoad(): Load {
  let rows = rowsPerScale;
  return {
    version: 'node-postgres clients in the benchmark itself',
    prepareData: async (target, scale) => {
      rows = rowsPerScale * scale;
      const client = newClient(target);
      await client.connect();
      try {
        for (let first = 1; first <= rows; first += rowsPerScale) await insertAccounts(client, first);
      } finally {
        await client.end();
      }
    },
    run: async (job) => {
      if (job.workload.script !== 'select-only') throw new Error('takes pgbench');
      return await runClients(job, rows);
    },
  };
}

async function insertAccounts(client: Client, first: number): Promise<void> {
  await client.query('CREATE TABLE IF NOT EXISTS pgbench_accounts (aid int PRIMARY KEY, abalance int)');
  await client.query(
    `INSERT INTO pgbench_accounts SELECT g, 0 FROM generate_series(${first}, ${first + rowsPerScale - 1}) g`,
  );
}

function select(client: Client, job: LoadJob, aid: number): Promise<unknown> {
  const text = 'SELECT abalance FROM pgbench_accounts WHERE aid = ';
  if (job.workload.protocol === 'simple') return client.query(`${text}${aid}`);
  const name = job.workload.protocol === 'prepared' ? { name: 'account' } : {};
  return client.query({ ...name, text: `${text}$1`, values: [aid] });
}

async function runClients(job: LoadJob, rows: number): Promise<LoadResult> {
  const latencies: number[] = [];
  let measuring = false;
  let running = true;
  const oneClient = async () => {
    let client = newClient(job.target);
    try {
      await client.connect();
      while (running) {
        const startMs = performance.now();
        if (job.workload.reconnects) {
          await client.end();
          client = newClient(job.target);
          await client.connect();
        }
        await select(client, job, 1 + Math.floor(Math.random() * rows));
        if (measuring) latencies.push((performance.now() - startMs) * 1000);
      }
    } finally {
      running = false;
      // A peer that hangs must not hold us up; it is ended soon.
      await Promise.race([client.end(), delay(2000)]);
    }
  };
  const all = Promise.all(Array.from({ length: job.clients }, oneClient));
  await Promise.race([delay(settleMs), all]);
  await Promise.race([job.beforeWindow?.(), all]);
  const startMs = performance.now();
  job.onWindowStart();
  measuring = true;
  await Promise.race([delay(job.seconds * 1000), all]);
  measuring = false;
  const windowMs = performance.now() - startMs;
  job.onWindowEnd();
  running = false;
  await all;
  const latenciesUs = Float64Array.from(latencies).sort();
  // An error ends the run.
  return { transactions: latencies.length, errors: 0, windowMs, latenciesUs };
}

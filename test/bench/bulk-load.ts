import { setTimeout as delay } from 'node:timers/promises';
import { bulkBytes } from './cluster.ts';
import { settleMs, type Target } from './load.ts';
import { bulkBuffer, RawClient } from './raw-client.ts';
import type { BulkWorkload } from './workloads.ts';

/** One run of one bulk load. */
export interface BulkJob {
  readonly target: Target;
  readonly transfer: BulkWorkload['transfer'];
  readonly clients: number;
  readonly seconds: number;
  /** Called at the window's edges. */
  readonly onWindowStart: () => void;
  readonly onWindowEnd: () => void;
}

/** What happened inside the measured window. */
export interface BulkResult {
  /** Moved in the window, with what the protocol adds to the data. */
  readonly bytes: number;
  readonly windowMs: number;
  /** Of transfers that ended in the window, ascending. */
  readonly latenciesUs: Float64Array;
}

/** One transfer; gives its bytes. */
function transferOnce(client: RawClient, transfer: BulkJob['transfer']): Promise<number> {
  switch (transfer) {
    case 'result':
      return client.query('SELECT payload FROM bench_bulk');
    case 'copy-out':
      return client.query('COPY bench_bulk TO STDOUT');
    case 'copy-in':
      // PostgreSQL reads every line and keeps none: the table stays empty, and its disk out of the figures.
      return client.copyIn('COPY bench_sink FROM STDIN WHERE false', bulkBytes);
  }
}

/**
 * Moves 20 MB after the other through one system, from this process, which does nothing else meanwhile.
 *
 * Errors: rejects with the server's error, and when a transfer has not as many bytes as the first one had, or fewer
 * than its data.
 */
export async function runBulk(job: BulkJob): Promise<BulkResult> {
  const latencies: number[] = [];
  const clients: RawClient[] = [];
  let expected = 0;
  let measuring = false;
  let running = true;
  const moved = (): number => clients.reduce((sum, client) => sum + client.bytes, 0);
  const oneClient = async (client: RawClient): Promise<void> => {
    try {
      while (running) {
        const startMs = performance.now();
        const bytes = await transferOnce(client, job.transfer);
        expected ||= bytes;
        if (bytes !== expected || bytes < bulkBytes)
          throw new Error(`a transfer of ${bytes} bytes instead of ${Math.max(expected, bulkBytes)}`);
        if (measuring) latencies.push((performance.now() - startMs) * 1000);
      }
    } finally {
      running = false;
    }
  };
  try {
    for (let i = 0; i < job.clients; i++) clients.push(await RawClient.connect(job.target, bulkBuffer));
    const all = Promise.all(clients.map(oneClient));
    await Promise.race([delay(settleMs), all]);
    const startMs = performance.now();
    const startBytes = moved();
    job.onWindowStart();
    measuring = true;
    await Promise.race([delay(job.seconds * 1000), all]);
    measuring = false;
    const windowMs = performance.now() - startMs;
    const bytes = moved() - startBytes;
    job.onWindowEnd();
    running = false;
    await all;
    return { bytes, windowMs, latenciesUs: Float64Array.from(latencies).sort() };
  } finally {
    for (const client of clients) client.end();
  }
}

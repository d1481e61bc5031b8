import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { type Child, complaint } from './children.ts';
import { clientConfig, type Target } from './load.ts';

/**
 * Waits until a login and a query succeed. Errors: rejects when the program ends first (`child` null: it is not ours
 * to watch) or after `deadlineMs`.
 */
export async function untilAnswering(target: Target, child: Child | null, deadlineMs: number): Promise<void> {
  let ended = false;
  void child?.ended.then(() => {
    ended = true;
  });
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    const client = new Client({
      ...clientConfig(target),
      connectionTimeoutMillis: 2000,
      query_timeout: 2000,
    });
    // Failures surface in the awaited calls; without a listener this event would end the process.
    client.on('error', () => {});
    try {
      await client.connect();
      await client.query('SELECT 1');
      return;
    } catch (error) {
      if (ended || performance.now() > deadline) {
        const said = child?.output().trim() ?? '';
        const why = said === '' ? String(error) : complaint(said);
        throw new Error(`${ended ? 'ended at start' : 'does not answer'}: ${why}`, { cause: error });
      }
    } finally {
      // Not awaited: a peer that never answered would hold it up.
      client.end().catch(() => {});
    }
    await delay(50);
  }
}

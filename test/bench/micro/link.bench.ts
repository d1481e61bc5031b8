import { test } from 'vitest';
import type { PoolServer } from '../../../src/pool/peers.ts';
import type { Pool } from '../../../src/pool/pool.ts';
import { FakeClient, type FakeServer, PoolKit } from '../../pool/kit.ts';

/** One that keeps no record, which would grow. */
class QuietClient extends FakeClient {
  override linked(server: PoolServer): void {
    this.server = server as FakeServer;
  }

  override unlinked(): void {
    this.server = null;
  }
}

function clientsOf(pool: Pool, count: number): QuietClient[] {
  return Array.from({ length: count }, (_, id) => {
    const client = new QuietClient(pool, id + 1);
    pool.join(client);
    return client;
  });
}

/** A transaction of each in turn: with fewer servers than clients, each waits for one that another gives back. */
function turns(clients: readonly QuietClient[], servers: number): () => void {
  if (clients.length <= servers) {
    return () => {
      for (const client of clients) client.acquire().finish();
    };
  }
  // All ask; then who has a server gives it back, which the longest waiter gets, and asks again.
  for (const client of clients) client.acquire();
  return () => {
    for (const client of clients) {
      client.finish();
      client.acquire();
    }
  };
}

test('linking and releasing, each client once', async ({ bench }) => {
  const servers = 20;
  await bench.compare(
    ...[20, 50, 900].map((count) => {
      const kit = new PoolKit();
      const pool = kit.warmPool(servers, { poolSize: servers });
      return bench(`${count} clients on ${servers} servers`, turns(clientsOf(pool, count), servers));
    }),
  );
});

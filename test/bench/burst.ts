/**
 * `npm run bench:burst`: how long a burst of clients waits for a pool that has one server, where PostgreSQL takes a
 * second over each login (`pre_auth_delay`), as one far away or behind a slow directory does. As many clients as the pool
 * has room for begin a transaction at once and keep it: each needs a server of its own. PgBouncer opens one at a time
 * (#384). Prints when the first, the middle and the last of them had its transaction. It judges nothing.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client } from 'pg';
import { makeCertificate } from '../support/certificates.ts';
import { Children } from './children.ts';
import { startCluster, withSuperuser } from './cluster.ts';
import { clientConfig } from './load.ts';
import { type RunningSystem, type SystemName, Systems } from './systems.ts';

const ROUNDS = Number(process.argv[2] ?? 3);
const CLIENTS = 20;
const NAMES: readonly SystemName[] = ['pgbouncer', 'pgweir', 'workers'];
const DEADLINE_MS = 120_000;

/** The burst against one pooler: ms until each client had its row, in order. */
async function burst({ target }: RunningSystem): Promise<number[]> {
  const clients = Array.from({ length: CLIENTS }, () => {
    const client = new Client({ ...clientConfig(target), query_timeout: DEADLINE_MS });
    client.on('error', () => {});
    return client;
  });
  try {
    // The pool has had a server, so that none is needed to log in.
    await Promise.all(clients.map((client) => client.connect()));
    const startMs = performance.now();
    const times = await Promise.all(
      clients.map(async (client) => {
        await client.query('BEGIN');
        return performance.now() - startMs;
      }),
    );
    return times.sort((a, b) => a - b);
  } finally {
    for (const client of clients) client.end().catch(() => {});
  }
}

const { log } = console;
const children = new Children();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void children.stopAll());
await using cluster = await startCluster();
const folder = mkdtempSync(path.join(tmpdir(), 'pgweir-bench-'));
try {
  chmodSync(folder, 0o755);
  const certificate = makeCertificate({ commonName: 'localhost' });
  const maxClients = { plain: CLIENTS, scram: 1, scram1: 1, tls: 1 };
  const settings = { poolSize: CLIENTS, variantSettings: [], maxClients };
  const systems = new Systems(children, cluster, folder, certificate, settings);
  systems.find(NAMES);
  for (const { name, version } of systems.entrants) log(`${name}: ${version}`);
  for (const { name, reason } of systems.absentees) log(`${name}: left out: ${reason}`);
  await withSuperuser(cluster, async (client) => {
    await client.query("ALTER SYSTEM SET pre_auth_delay = '1s'");
    await client.query('SELECT pg_reload_conf()');
  });
  log(
    `${CLIENTS} clients at once, each login to PostgreSQL takes a second; s until the first, the eleventh and the last has one`,
  );
  for (let round = 0; round < ROUNDS; round++) {
    for (const { name } of systems.entrants) {
      const system = await systems.openAnother(name, 'plain', CLIENTS);
      const times = await burst(system);
      const at = (index: number): string => ((times[index] ?? Number.NaN) / 1000).toFixed(2).padStart(6);
      log(name.padEnd(10), at(0), at(CLIENTS / 2), at(CLIENTS - 1));
      await system.child?.stop('SIGINT', 5000);
    }
  }
} finally {
  await children.stopAll();
  rmSync(folder, { recursive: true, force: true });
}

/**
 * `npm run bench`: PostgreSQL directly, PgBouncer and pgweir under the same loads and pool settings, in interleaved
 * rounds of one run. README.md beside this file says what the figures mean.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import path from 'node:path';
import type { Postgres } from '../../src/cli/start/postgres.ts';
import { Children } from './children.ts';
import { clusterTarget, startCluster } from './cluster.ts';
import type { Load } from './load.ts';
import { nodeLoad } from './node-load.ts';
import { readOptions, type BenchOptions } from './options.ts';
import { pgbenchLoad } from './pgbench-load.ts';
import { findVersioned } from './programs.ts';
import { report } from './report.ts';
import { expectedSeconds, measureRounds } from './rounds.ts';
import { startSystem, type LineUp } from './systems.ts';

/** Starts the systems, and fills the tables. */
async function startAll(
  options: BenchOptions,
  children: Children,
  cluster: Postgres,
  parent: string,
  { systems, leftOut }: LineUp,
  interrupt: AbortSignal,
): Promise<Load> {
  const pgbench = options.load === 'node' ? null : findVersioned('pgbench');
  if (pgbench === null && options.load === 'pgbench')
    console.log('pgbench: not installed, own clients instead');
  const load = pgbench === null ? nodeLoad() : pgbenchLoad(pgbench, parent, children);
  console.log(`load: ${load.version}, scale ${options.scale}`);
  await load.prepareData(clusterTarget(cluster), options.scale);
  const settings = { poolSize: options.poolSize, maxClients: Math.max(...options.clients) };
  for (const name of options.systems) {
    try {
      const system = await startSystem(children, name, cluster, parent, settings);
      systems.push(system);
      console.log(`${name}: ${system.version}`);
    } catch (error) {
      interrupt.throwIfAborted();
      const reason = error instanceof Error ? error.message : String(error);
      leftOut.push({ name, reason });
      console.log(`${name}: left out: ${reason}`);
    }
  }
  return load;
}

async function main(options: BenchOptions, children: Children, interrupt: AbortSignal): Promise<void> {
  // Outlives the poolers, which end in `finally`.
  await using cluster = await startCluster();
  const folder = mkdtempSync(path.join(tmpdir(), 'pgweir-bench-'));
  try {
    // PgBouncer runs under another account when we are root.
    chmodSync(folder, 0o755);
    const processors = cpus();
    console.log(
      `${processors.length} × ${processors[0]?.model ?? 'unknown processor'}; transaction mode, ` +
        `default_pool_size ${options.poolSize}; ${options.rounds} rounds of ${options.seconds} s, ` +
        `about ${Math.round(expectedSeconds(options))} s in all`,
    );
    const lineUp: LineUp = { systems: [], leftOut: [] };
    const load = await startAll(options, children, cluster, folder, lineUp, interrupt);
    const cells = await measureRounds(options, load, lineUp.systems, (line) => console.log(line), interrupt);
    const result = report(options, load, lineUp, cells);
    console.log(result.text);
    const name = `${new Date().toISOString().replaceAll(':', '')}.json`;
    const file = options.json ?? path.join('bench-results', name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify(result.json, null, 2)}\n`);
    console.log(`\nwritten to ${file}`);
  } finally {
    await children.stopAll();
    rmSync(folder, { recursive: true, force: true });
  }
}

const children = new Children();
const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    interrupt.abort();
    // Everything that main awaits then fails soon, and it cleans up on its way out.
    void children.stopAll();
  });
}
try {
  await main(readOptions(process.argv.slice(2)), children, interrupt.signal);
} catch (error) {
  process.exitCode = interrupt.signal.aborted ? 130 : 1;
  console.error(interrupt.signal.aborted ? 'interrupted' : error instanceof Error ? error.message : error);
}

/**
 * `npm run bench`: PgBouncer, pgweir, other poolers that are installed, and PostgreSQL directly, under the same loads
 * and pool settings, in interleaved rounds of one run. README.md beside this file says what the figures mean.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Postgres } from '../../src/cli/start/postgres.ts';
import { makeCertificate } from '../support/certificates.ts';
import { renderChart } from './chart.ts';
import { Children } from './children.ts';
import { clusterTarget, grantTls, prepareTables, startCluster } from './cluster.ts';
import type { Load } from './load.ts';
import { loadAverage, machine } from './machine.ts';
import { nodeLoad } from './node-load.ts';
import { readOptions, type BenchOptions } from './options.ts';
import { pgbenchLoad } from './pgbench-load.ts';
import { findVersioned } from './programs.ts';
import { renderText, resultOf } from './report.ts';
import { expectedSeconds, measureRounds } from './rounds.ts';
import { Systems } from './systems.ts';
import { type Door, settingsOf, workloads } from './workloads.ts';

/** The most clients that a load has at each door, idle ones aside: those get a pooler of their own. */
function clientsByDoor(options: BenchOptions): Record<Door, number> {
  const most: Record<Door, number> = { plain: 1, scram: 1, scram1: 1, tls: 1 };
  for (const { workload, clients } of settingsOf(options.workloads, options.clients, options.idleClients)) {
    const { door, kind } = workloads[workload];
    if (kind !== 'idle') most[door] = Math.max(most[door], clients);
  }
  return most;
}

function chooseLoad(options: BenchOptions, folder: string, children: Children): Load {
  const pgbench = options.load === 'node' ? null : findVersioned('pgbench');
  if (pgbench === null && options.load === 'pgbench')
    console.log('pgbench: not installed, own clients instead');
  return pgbench === null ? nodeLoad() : pgbenchLoad(pgbench, folder, children);
}

/** Fills the tables, and finds the systems. */
async function prepare(
  options: BenchOptions,
  children: Children,
  cluster: Postgres,
  folder: string,
  maxClients: Readonly<Record<Door, number>>,
): Promise<{ load: Load; systems: Systems }> {
  const load = chooseLoad(options, folder, children);
  console.log(`load: ${load.version}, scale ${options.scale}`);
  await load.prepareData(clusterTarget(cluster), options.scale);
  await prepareTables(cluster);
  const certificate = makeCertificate({ commonName: 'localhost', altNames: ['127.0.0.1'] });
  await grantTls(cluster, certificate);
  const { poolSize, variantSettings } = options;
  const systems = new Systems(children, cluster, folder, certificate, {
    poolSize,
    variantSettings,
    maxClients,
  });
  systems.find(options.systems);
  for (const { name, version } of systems.entrants) console.log(`${name}: ${version}`);
  for (const { name, reason } of systems.absentees) console.log(`${name}: left out: ${reason}`);
  return { load, systems };
}

async function main(options: BenchOptions, children: Children, interrupt: AbortSignal): Promise<void> {
  const loadBefore = loadAverage();
  const maxClients = clientsByDoor(options);
  const mostClients = Math.max(...Object.values(maxClients));
  // For the clients of PostgreSQL directly and of two that don't share; for all pools; and for us.
  const pools = options.systems.length * Object.keys(maxClients).length * 2 * options.poolSize;
  // Outlives the poolers, which end in `finally`.
  await using cluster = await startCluster(3 * mostClients + pools + 50);
  const folder = mkdtempSync(path.join(tmpdir(), 'pgweir-bench-'));
  try {
    // Some of them run under another account when we are root.
    chmodSync(folder, 0o755);
    const { cores, processor } = machine();
    console.log(
      `${cores} × ${processor ?? 'unknown processor'}; transaction mode, default_pool_size ${options.poolSize}; ` +
        `${options.rounds} rounds of ${options.seconds} s`,
    );
    const { load, systems } = await prepare(options, children, cluster, folder, maxClients);
    const minutes = expectedSeconds(options, systems.entrants.length) / 60;
    console.log(`about ${minutes.toFixed(1)} minutes from here`);
    const bench = { load, systems, children, folder };
    const cells = await measureRounds(options, bench, (line) => console.log(line), interrupt);
    const result = resultOf(options, load, systems, cells, loadBefore);
    console.log(renderText(result));
    const name = `${result.date.replaceAll(':', '')}.json`;
    const file = options.json ?? path.join('bench-results', name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
    const chart = file.replace(/(\.json)?$/, '.svg');
    writeFileSync(chart, renderChart(result));
    console.log(`\nwritten to ${file} and ${chart}`);
    const { pgweir = 0, workers = 0, variant = 0 } = result.refusals;
    if (pgweir + workers + variant > 0) {
      process.exitCode = 1;
      console.error('pgweir wanted more server connections than its pool size');
    }
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

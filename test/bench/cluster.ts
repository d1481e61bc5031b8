import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import type { Child, Children, RunAs } from './children.ts';
import type { Target } from './load.ts';
import { findProgram, withVersion } from './programs.ts';

/** The role and database that all loads use. */
export const benchRole = 'bench';

/** An unprivileged account when we are root, which neither PostgreSQL nor PgBouncer accepts. */
export function unprivilegedAccount(): RunAs {
  if (process.getuid?.() !== 0) return {};
  for (const name of ['postgres', 'nobody']) {
    try {
      const id = (flag: string) =>
        Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: 'pipe' }));
      return { uid: id('-u'), gid: id('-g') };
    } catch {
      // No such account here: the next one.
    }
  }
  throw new Error('run as root, and there is neither a postgres nor a nobody account to run PostgreSQL as');
}

/** Makes a folder that belongs to the account. */
export function makeFolder(folder: string, owner: RunAs): string {
  mkdirSync(folder, { mode: 0o755 });
  if (owner.uid !== undefined && owner.gid !== undefined) chownSync(folder, owner.uid, owner.gid);
  return folder;
}

/** A TCP port of the loopback address that nobody listens on now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      if (address === null || typeof address === 'string') throw new Error('a TCP listener without a port');
      server.close(() => resolve(address.port));
    });
  });
}

/** Waits until a login and a query succeed. Errors: rejects when the program ends first or after `deadlineMs`. */
export async function untilAnswering(target: Target, child: Child, deadlineMs: number): Promise<void> {
  let ended = false;
  void child.ended.then(() => {
    ended = true;
  });
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    const client = new Client({ ...target, connectionTimeoutMillis: 2000, query_timeout: 2000 });
    // Failures surface in the awaited calls; without a listener this event would end the process.
    client.on('error', () => {});
    try {
      await client.connect();
      await client.query('SELECT 1');
      return;
    } catch (error) {
      if (ended || performance.now() > deadline) {
        const why = child.output().trim() || String(error);
        throw new Error(`${ended ? 'ended at start' : 'does not answer'}: ${why}`, { cause: error });
      }
    } finally {
      // Not awaited: a peer that never answered would hold it up.
      client.end().catch(() => {});
    }
    await delay(50);
  }
}

/** A PostgreSQL of the benchmark's own: trust on loopback, not durable, gone afterwards. */
export interface Cluster {
  readonly version: string;
  readonly target: Target;
}

const settings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '300',
  shared_buffers: '256MB',
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  // Read-only loads; a vacuum of the fresh tables in the middle of a round would only add noise.
  autovacuum: 'off',
};

/**
 * Creates and starts a cluster below `folder` with the installed PostgreSQL (newest version first).
 *
 * Errors: rejects when none is installed or it does not come up.
 */
export async function startCluster(children: Children, folder: string, runAs: RunAs): Promise<Cluster> {
  const initdb = findProgram('initdb');
  const postgres = findProgram('postgres');
  if (initdb === null || postgres === null)
    throw new Error('no installed PostgreSQL found (initdb, postgres)');
  const data = path.join(makeFolder(folder, runAs), 'data');
  const initArgs = ['-D', data, '-U', benchRole, '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'];
  await children.run(initdb, initArgs, 60_000, { runAs, cwd: folder });
  const port = await freePort();
  const lines = Object.entries({ ...settings, port }).map(([name, value]) => `${name} = '${value}'\n`);
  writeFileSync(path.join(data, 'postgresql.auto.conf'), lines.join(''));
  const child = await children.start(postgres, ['-D', data], { runAs, cwd: folder });
  const target = { host: '127.0.0.1', port, user: benchRole, database: benchRole };
  await untilAnswering({ ...target, database: 'postgres' }, child, 30_000);
  const client = new Client({ ...target, database: 'postgres' });
  await client.connect();
  await client.query(`CREATE DATABASE ${benchRole}`);
  await client.end();
  return { version: withVersion(postgres).version, target };
}

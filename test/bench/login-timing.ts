/**
 * `npm run bench:logins`: does the time that a refused login takes tell a name that exists from one that doesn't?
 * Prints the medians of interleaved logins with a wrong password and with an unknown name, per method and kind of
 * secret. It judges nothing: look at the difference beside the spread.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import pg from 'pg';
import { guess } from '../support/guess.ts';
import { waitFor } from '../support/wait-for.ts';
import { benchRole, clusterTarget, startCluster } from './cluster.ts';

const LOGINS = Number(process.argv[2] ?? 2000);
const USER = 'timing_user';

interface Case {
  readonly name: string;
  readonly authType: string;
  /** Of all users in auth_file; null: they are looked up by auth_query. */
  readonly secret: ((user: string) => string) | null;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((listening) => server.once('listening', listening));
  const { port } = server.address() as { port: number };
  await new Promise((closed) => server.close(closed));
  return port;
}

const { log } = console;
await using cluster = await startCluster();
const target = clusterTarget(cluster);
const client = new pg.Client(target);
await client.connect();
await client.query(`CREATE ROLE ${USER} LOGIN PASSWORD 'right'`);
const stored = await client.query<{ secret: string }>(
  'SELECT rolpassword AS secret FROM pg_authid WHERE rolname = $1',
  [USER],
);
await client.end();
const verifier = stored.rows[0]?.secret ?? '';
const md5 = (user: string): string => `md5${createHash('md5').update(`right${user}`).digest('hex')}`;

const cases: readonly Case[] = ['scram-sha-256', 'md5', 'plain'].flatMap((authType) => [
  { name: `${authType}, SCRAM secrets`, authType, secret: () => verifier },
  { name: `${authType}, md5 secrets`, authType, secret: md5 },
  { name: `${authType}, plain secrets`, authType, secret: () => 'right' },
  { name: `${authType}, auth_query`, authType, secret: null },
]);

log(`${LOGINS} logins each, interleaved; median and quartiles in ms`);
for (const { name, authType, secret } of cases) {
  const folder = mkdtempSync(join(tmpdir(), 'pgweir-timing-'));
  const port = await freePort();
  const users = secret === null ? [] : [USER, 'other_1', 'other_2'];
  const lines = users.map((user) => `"${user}" "${secret?.(user)}"\n`);
  writeFileSync(join(folder, 'users'), lines.join(''));
  const ini = join(folder, 'pgbouncer.ini');
  writeFileSync(
    ini,
    `[databases]\npostgres = host=${target.host} port=${target.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n` +
      `listen_port = ${port}\nunix_socket_dir =\nauth_type = ${authType}\nauth_file = ${join(folder, 'users')}\n` +
      `${secret === null ? `auth_user = ${benchRole}\n` : ''}log_connections = 0\nlog_disconnections = 0\n`,
  );
  const bin = resolve(import.meta.dirname, '../../src/cli/bin.ts');
  const pooler = spawn(process.execPath, [bin, ini], {
    env: { ...process.env, PGWEIR_ALLOW_ROOT: '1' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let output = '';
  pooler.stderr.setEncoding('utf8').on('data', (text: string) => {
    output += text.length + output.length > 10_000 ? '' : text;
  });
  try {
    await waitFor(() => output.includes('process up'), { what: 'the pooler', deadlineMs: 20_000 });
    const times: Record<'wrong password' | 'unknown user', number[]> = {
      'wrong password': [],
      'unknown user': [],
    };
    for (let i = -50; i < LOGINS / 2; i++) {
      // In turns: what comes second may find the caches warm.
      const pairs = [
        ['wrong password', USER],
        ['unknown user', 'timing_none'],
      ] as const;
      for (const [kind, user] of i % 2 === 0 ? pairs : [...pairs].reverse()) {
        const start = performance.now();
        await guess(port, user);
        // The first ones warm up.
        if (i >= 0) times[kind].push(performance.now() - start);
      }
    }
    log(
      name.padEnd(32),
      ...Object.entries(times).map(([kind, all]) => `${kind}: ${summary(all)}`.padEnd(44)),
    );
  } finally {
    const ended = new Promise((end) => pooler.once('close', end));
    pooler.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  }
}

function summary(times: number[]): string {
  times.sort((a, b) => a - b);
  const at = (part: number): string => (times[Math.floor(times.length * part)] ?? 0).toFixed(3);
  return `${at(0.5)} (${at(0.25)}–${at(0.75)})`;
}

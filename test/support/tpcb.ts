import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type pg from 'pg';
import { findProgram } from '../bench/programs.ts';
import type { PostgresAddress } from '../../src/cli/start/postgres.ts';
import { connectTo } from './postgres.ts';

/** One run of a load of pgbench's kind. */
export interface Load {
  readonly address: PostgresAddress;
  readonly database: string;
  /** Logs in without a password. */
  readonly user: string;
  /** `select`: one SELECT each; `tpcb`: the whole transaction; `simple-update`: without tellers and branches. */
  readonly script: 'select' | 'tpcb' | 'simple-update';
  readonly protocol: 'simple' | 'extended' | 'prepared';
  readonly clients: number;
  /** For each client. */
  readonly transactions: number;
  /** Over TLS, whatever the certificate; default: as the program likes it. */
  readonly ssl?: boolean;
  /** By SCRAM bound to TLS, with a certificate that one of the authorities in this file vouches for. */
  readonly secure?: { readonly password: string; readonly caFile: string };
  /** Each transaction on a connection of its own. */
  readonly reconnects?: boolean;
  /**
   * Each client has a thread of pgbench to itself. Else one that prepares a statement, or connects, holds up the others:
   * if it waits for a server that one of them has in its transaction, all wait for ever.
   */
  readonly isThreaded?: boolean;
}

/** How a load went. Anything else than no failure and no complaint is a fault. */
export interface LoadResult {
  readonly processed: number;
  /** What was complained about, empty when all went well. */
  readonly complaints: string;
}

/** Runs a load; gives what came of it. */
export type RunLoad = (load: Load) => Promise<LoadResult>;

const ACCOUNTS = 100_000;
const TELLERS = 10;
const DEADLINE_MS = 60_000;

/** pgbench, or null with the reason on the console when it isn't installed. */
export function installedPgbench(): RunLoad | null {
  const program = findProgram('pgbench');
  if (program === null) {
    console.warn(
      'pgbench is not installed: the same transactions run on connections of node-postgres instead',
    );
    return null;
  }
  return (load) => runPgbench(program, load);
}

const SCRIPTS = { select: 'select-only', tpcb: 'tpcb-like', 'simple-update': 'simple-update' } as const;

function runPgbench(program: string, load: Load): Promise<LoadResult> {
  const { host, port } = load.address;
  const child = spawn(
    program,
    [
      ...['-h', load.secure === undefined ? host : 'localhost', '-p', String(port), '-U', load.user],
      ...['-n', ...(load.reconnects === true ? ['-C'] : []), '-b', SCRIPTS[load.script], '-M', load.protocol],
      ...[
        '-c',
        String(load.clients),
        '-j',
        String(load.isThreaded === true ? load.clients : 1),
        '-t',
        String(load.transactions),
        load.database,
      ],
    ],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: DEADLINE_MS,
      env: { ...process.env, LC_ALL: 'C', ...tlsEnvironment(load) },
    },
  );
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      const processed = Number(/transactions actually processed: (\d+)/.exec(stdout)?.[1] ?? 0);
      const ending = code === 0 ? '' : `ended with ${code ?? signal}: `;
      resolve({ processed, complaints: `${ending}${stderr}`.trim() });
    });
  });
}

function tlsEnvironment({ ssl, secure, address }: Load): Record<string, string> {
  if (secure === undefined) return ssl === true ? { PGSSLMODE: 'require' } : {};
  return {
    // The name is what the certificate is compared with.
    PGHOSTADDR: address.host,
    PGPASSWORD: secure.password,
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: secure.caFile,
    PGCHANNELBINDING: 'require',
  };
}

/** The same transactions on connections of node-postgres. */
export const runOwnLoad: RunLoad = async (load) => {
  const complaints: string[] = [];
  let processed = 0;
  const one = async (number: number, transactions: number): Promise<void> => {
    const client = await connectTo(load.address, {
      database: load.database,
      user: load.user,
      application_name: `load ${number}`,
      ...(load.ssl === true ? { ssl: { rejectUnauthorized: false } } : {}),
      ...(load.secure === undefined ? {} : secureConfig(load.secure)),
    });
    const ask = async (sql: string, ...values: readonly number[]): Promise<void> => {
      if (load.protocol === 'simple') {
        await client.query(sql.replace(/\$(\d)/g, (_, index: string) => String(values[Number(index) - 1])));
      } else {
        const name = load.protocol === 'prepared' ? createHash('md5').update(sql).digest('hex') : '';
        await client.query({ text: sql, values: [...values], name });
      }
    };
    try {
      for (let i = 0; i < transactions; i++) {
        await transaction(load.script, ask);
        processed++;
      }
    } finally {
      await client.end();
    }
  };
  const all = async (number: number): Promise<void> => {
    if (load.reconnects !== true) return one(number, load.transactions);
    for (let i = 0; i < load.transactions; i++) await one(number, 1);
  };
  const results = await Promise.allSettled(Array.from({ length: load.clients }, (_, i) => all(i)));
  for (const result of results) if (result.status === 'rejected') complaints.push(String(result.reason));
  return { processed, complaints: complaints.join('\n') };
};

/** What node-postgres needs to log in so. */
export function secureConfig({ password, caFile }: NonNullable<Load['secure']>): pg.ClientConfig {
  return {
    password,
    ssl: { ca: readFileSync(caFile, 'utf8'), servername: 'localhost' },
    enableChannelBinding: true,
  };
}

async function transaction(
  script: Load['script'],
  ask: (sql: string, ...values: readonly number[]) => Promise<void>,
): Promise<void> {
  const account = 1 + Math.floor(Math.random() * ACCOUNTS);
  const teller = 1 + Math.floor(Math.random() * TELLERS);
  const delta = Math.floor(Math.random() * 10_000) - 5000;
  const look = () => ask('SELECT abalance FROM pgbench_accounts WHERE aid = $1', account);
  if (script === 'select') return look();
  await ask('BEGIN');
  await ask('UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2', delta, account);
  await look();
  if (script === 'tpcb') {
    await ask('UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2', delta, teller);
    await ask('UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = 1', delta);
  }
  await ask(
    'INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, 1, $2, $3, CURRENT_TIMESTAMP)',
    teller,
    account,
    delta,
  );
  await ask('END');
}

/** Statements that make pgbench's tables of scale 1, empty of any balance; run again they start over. */
export const tpcbTables = `
  DROP TABLE IF EXISTS pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history;
  CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int NOT NULL, filler char(88)) WITH (fillfactor=10);
  CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int NOT NULL, filler char(84))
    WITH (fillfactor=10);
  CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int NOT NULL, filler char(84));
  CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
  INSERT INTO pgbench_branches VALUES (1, 0);
  INSERT INTO pgbench_tellers SELECT tid, 1, 0 FROM generate_series(1, ${TELLERS}) AS tid;
  INSERT INTO pgbench_accounts SELECT aid, 1, 0, '' FROM generate_series(1, ${ACCOUNTS}) AS aid`;

/** What a ledger sums up to: accounts, tellers, branches, history, and the number of transactions in it. */
export interface Ledger {
  readonly accounts: number;
  readonly tellers: number;
  readonly branches: number;
  readonly history: number;
  readonly count: number;
}

/** A query that gives one {@link Ledger}. */
export const ledgerQuery = `
  SELECT (SELECT sum(abalance) FROM pgbench_accounts)::float8 AS accounts,
         (SELECT sum(tbalance) FROM pgbench_tellers)::float8 AS tellers,
         (SELECT sum(bbalance) FROM pgbench_branches)::float8 AS branches,
         coalesce(sum(delta), 0)::float8 AS history,
         count(*)::int AS count
    FROM pgbench_history`;

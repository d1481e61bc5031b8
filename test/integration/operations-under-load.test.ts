import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Operations } from '../support/load-operations.ts';
import { RunningLoad } from '../support/load-running.ts';
import { DATABASE, LoadStage } from '../support/load-stage.ts';
import { type Contracted, Tally, tallyTable } from '../support/load-tally.ts';
import { isAlive } from '../support/processes.ts';
import { Random, withSeed } from '../support/random.ts';
import { waitFor } from '../support/wait-for.ts';
import { isFull } from '../support/effort.ts';

/** What is done under load. */
interface Phase {
  readonly name: string;
  /** How often; less often in a short run. */
  readonly times: number;
  readonly shortTimes: number;
  /** The errors that PgBouncer's contract has for it, of which some have to come; none at all without it. */
  readonly contract?: readonly Contracted[];
  /** Lines above LOG that it writes, though no client is told of an error. */
  readonly logs?: RegExp;
  run(operations: Operations, time: number): Promise<void>;
  /** At its end, while the load still runs. */
  end?(operations: Operations): Promise<void>;
}

/** PostgreSQL has told the client, or the pooler that it is gone. */
const CUT: readonly Contracted[] = [
  {
    sqlstate: '57P01',
    text: /^terminating connection due to (administrator|immediate shutdown) command$/,
  },
  { sqlstate: '08P01', text: /^server conn crashed\?$/ },
];

/** Nobody joins a queue in front of a server that cannot be reached. */
const AWAY: readonly Contracted[] = [
  { sqlstate: '08P01', text: /^server login has been failing, cached error: .* \(server_login_retry\)$/ },
];

/** Phases in which no client is told of any error. */
const SILENT: readonly Phase[] = [
  { name: 'nothing', times: 1, shortTimes: 0, run: async () => {} },
  {
    name: 'RELOAD',
    times: 20,
    shortTimes: 2,
    logs: /pgbouncer\.ini:\d+: pool_mode: |config file loading failed|RELOAD failed|from reserve_pool/,
    run: (operations, time) => (time % 4 === 1 ? operations.reloadInVain() : operations.reload()),
    end: (operations) => operations.settle(),
  },
  {
    name: 'certificates',
    times: 6,
    shortTimes: 1,
    run: (operations, time) =>
      time % 2 === 0 ? operations.renewCertificates() : operations.changeAuthority(),
  },
  { name: 'PAUSE, RESUME', times: 4, shortTimes: 0, run: (operations) => operations.pause() },
  { name: 'SUSPEND, RESUME', times: 4, shortTimes: 0, run: (operations) => operations.suspend() },
  {
    name: 'PostgreSQL restarted in PAUSE',
    times: 2,
    shortTimes: 1,
    run: (operations) => operations.restartServerInPause(),
  },
  { name: 'RECONNECT', times: 4, shortTimes: 1, run: (operations) => operations.reconnect() },
  { name: 'rolling restarts', times: 10, shortTimes: 1, run: (operations) => operations.restart() },
  {
    name: 'hand-overs (-R)',
    times: 10,
    shortTimes: 1,
    run: async (operations, time) => {
      if (time % 3 === 0) await operations.hold();
      await operations.handOver();
    },
    end: (operations) => operations.letGo(),
  },
  {
    name: 'all of these',
    times: 20,
    shortTimes: 0,
    logs: /from reserve_pool/,
    run: (operations) => operations.anySilent(),
    end: (operations) => operations.settle(),
  },
];

const OUTAGES: readonly Phase[] = [
  {
    name: 'DISABLE, ENABLE',
    times: 2,
    shortTimes: 0,
    contract: [{ sqlstate: '08P01', text: new RegExp(`^database "${DATABASE}" is disabled$`) }],
    run: (operations) => operations.disable(),
  },
  {
    name: 'KILL_CLIENT',
    times: 3,
    shortTimes: 0,
    contract: [{ sqlstate: '08P01', text: /^admin forced disconnect$/ }],
    run: (operations) => operations.killClients(),
  },
  {
    name: 'KILL, RESUME',
    times: 3,
    shortTimes: 0,
    contract: [{ sqlstate: '08P01', text: /^database removed$/ }],
    run: (operations) => operations.kill(),
  },
  {
    name: 'sessions terminated',
    times: 3,
    shortTimes: 0,
    contract: CUT,
    run: (operations) => operations.terminateBackends(),
  },
  {
    name: 'PostgreSQL restarted, fast',
    times: 3,
    shortTimes: 1,
    contract: [...CUT, ...AWAY],
    run: (operations) => operations.restartServer('fast'),
  },
  {
    name: 'PostgreSQL restarted, immediate',
    times: 3,
    shortTimes: 0,
    contract: [...CUT, ...AWAY],
    run: (operations) => operations.restartServer('immediate'),
  },
];

/** In another order with each seed; a last look at whether everything is as in the beginning. */
function shuffled(random: Random): Phase[] {
  const rest = [...SILENT, ...OUTAGES].filter(({ shortTimes }) => isFull || shortTimes > 0);
  const order: Phase[] = [];
  while (rest.length > 0) order.push(...rest.splice(random.below(rest.length), 1));
  return [...order, { name: 'nothing, at last', times: 1, shortTimes: 1, run: async () => {} }];
}

test(
  'what operators do under load costs clients nothing but the errors that the contract has',
  // A hundred things are done there, most of which start processes.
  { timeout: isFull ? 2_400_000 : 120_000 },
  () =>
    withSeed(async (random) => {
      await using stage = await LoadStage.start();
      const tallies: Tally[] = [];
      try {
        for (const phase of shuffled(random)) {
          const startMs = performance.now();
          await underLoad(stage, phase, random, tallies);
          if (isFull) console.log(`${phase.name}: ${((performance.now() - startMs) / 1000).toFixed()} s`);
        }
      } finally {
        console.log(tallyTable(tallies));
      }
      await leavesNothing(stage);
    }),
);

async function underLoad(stage: LoadStage, phase: Phase, random: Random, tallies: Tally[]): Promise<void> {
  const tally = new Tally(phase.name, phase.contract ?? []);
  tallies.push(tally);
  const before = await stage.ledger();
  // What is drawn for the one must not depend on how quick the other is.
  const load = new RunningLoad(stage, tally, new Random(random.below(2 ** 31)));
  const operations = new Operations(stage, load, random);
  const context = () => `${phase.name}: ${operations.journal.join('; ')}`;
  try {
    await load.turn(0);
    const times = isFull ? phase.times : phase.shortTimes;
    for (let time = 0; time < times; time++) await phase.run(operations, time);
    await phase.end?.(operations);
    await load.stop();
  } catch (cause) {
    console.log(await stage.state());
    load.abandon();
    throw new Error(`${context()}: ${String(cause)}`, { cause });
  }
  expect([...tally.faults], context()).toEqual([]);
  if (phase.contract !== undefined) expect(tally.errorCount, phase.name).toBeGreaterThan(0);
  const { count, history, accounts, tellers, branches } = await stage.ledger();
  expect({ accounts, tellers, branches }, phase.name).toEqual({
    accounts: history,
    tellers: history,
    branches: history,
  });
  // What was answered is there, once; of what was cut off nobody knows.
  const more = count - before.count;
  expect(more, phase.name).toBeGreaterThanOrEqual(tally.entries);
  expect(more, phase.name).toBeLessThanOrEqual(tally.entries + tally.unknown);
  await stage.oldEnded();
  const lines = stage.complaints();
  if (phase.contract === undefined) {
    expect(
      lines.filter((line) => phase.logs?.test(line) !== true),
      phase.name,
    ).toEqual([]);
  }
}

/** What is there when the last client has left, and when the last process has ended. */
async function leavesNothing(stage: LoadStage): Promise<void> {
  const { homes, port } = stage;
  const servers = async (): Promise<unknown[]> => {
    const rows = await Promise.all(homes.map((home) => stage.show(home, 'SERVERS')));
    return rows
      .flat()
      .map(({ remote_pid: pid }) => Number(pid))
      .sort((a, b) => a - b);
  };
  await waitFor(async () => String(await servers()) === String(await stage.backends()), {
    what: 'SHOW SERVERS to have what PostgreSQL has',
  });
  for (const home of homes) {
    // The one that asks.
    expect(await stage.show(home, 'CLIENTS')).toHaveLength(1);
    const lists = new Map((await stage.show(home, 'LISTS')).map(({ list, items }) => [list, items]));
    expect([lists.get('used_clients'), lists.get('login_clients')]).toEqual([1, 0]);
    for (const {
      sv_idle,
      sv_used,
      database,
      user,
      pool_mode,
      load_balance_hosts,
      ...rest
    } of await stage.show(home, 'POOLS')) {
      if (database === DATABASE) expect(new Set(Object.values(rest))).toEqual(new Set([0]));
    }
    for (const { tls } of await stage.show(home, 'SERVERS')) expect(tls).toMatch(/^TLSv1\.\d\//);
    expect(stage.files(home)).toEqual([
      `.s.PGSQL.${port}`,
      'pgbouncer.ini',
      'pooler.log',
      'pooler.pid',
      'userlist.txt',
    ]);
  }
  await waitFor(() => openAt(port) === 2, { what: 'no sockets on the port but two that listen' });
  for (const home of homes) {
    const pid = home.signal('SIGTERM');
    await waitFor(() => !isAlive(pid), { what: 'the end of the last process' });
    expect(stage.files(home)).toEqual(['pgbouncer.ini', 'pooler.log', 'userlist.txt']);
  }
  await waitFor(async () => (await stage.backends()).length === 0, {
    what: 'PostgreSQL to have no sessions',
  });
  expect(openAt(port)).toBe(0);
}

/** How many TCP sockets of our side have this port, but for those that the kernel alone still has (no inode). */
function openAt(port: number): number {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const sockets = readFileSync('/proc/net/tcp', 'latin1')
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/));
  return sockets.filter((fields) => fields[1]?.endsWith(local) === true && fields[9] !== '0').length;
}

import type { BenchOptions } from './options.ts';
import { type Bench, runOnce } from './runs.ts';
import type { Cell } from './summary.ts';
import type { SystemName } from './systems.ts';
import { asksPassword, type Setting, settingsOf, type Workload, workloads } from './workloads.ts';

/** Why a system doesn't run a load that others do; `null`: it does. */
export function reasonAgainst(system: SystemName, { kind, door }: Workload, clients: number): string | null {
  if (system === 'workers' && (kind !== 'transactions' || clients === 1))
    return 'it takes many clients at work';
  if (system === 'direct' && (kind === 'idle' || kind === 'calls')) return 'takes a pooler';
  if (system === 'pgpool' && door === 'scram1') return 'it makes a secret of its own for each login';
  if (system === 'relay' && asksPassword(door)) return 'it knows no logins';
  if (system === 'relay' && kind === 'idle') return 'it has a server connection for each client';
  if (system === 'pgpool' && kind === 'idle') return 'it has a process for each client';
  return null;
}

/** Seconds around the window of a run of each kind: connecting, settling, ending; the whole of it for idle clients. */
const aroundSeconds: Readonly<Record<Workload['kind'], number>> = {
  transactions: 1.3,
  bulk: 1.1,
  idle: 5,
  calls: 3,
};

/** About how long `measureRounds` takes with so many systems. */
export function expectedSeconds(options: BenchOptions, systems: number): number {
  const { rounds, seconds } = options;
  let sum = 0;
  for (const setting of settingsOf(options.workloads, options.clients, options.idleClients)) {
    const { kind } = workloads[setting.workload];
    const around = aroundSeconds[kind];
    const window = kind === 'idle' ? 0 : seconds;
    const warmUp = warmUpSeconds(options, setting);
    sum += systems * ((warmUp === 0 ? 0 : warmUp + around) + rounds * (window + around));
  }
  return sum;
}

/**
 * Whether a load is run once ahead of the measured rounds. Idle clients get a new pooler each time, and counted calls
 * don't depend on warm caches; where it has to be quick, one load warms up each door for all.
 */
export function hasWarmUp({ quick, workloads: names }: BenchOptions, { workload }: Setting): boolean {
  const { kind, door }: Workload = workloads[workload];
  if (kind !== 'transactions') return kind === 'bulk' && !quick;
  const ofDoor = names.filter(
    (name) => workloads[name].kind === 'transactions' && workloads[name].door === door,
  );
  return !quick || ofDoor[0] === workload;
}

/** A transaction with a connection of its own takes many times as long: in the same time code runs a tenth as often. */
const reconnectingWarmUps = 3;

/** How long a load is run ahead of the measured rounds, in s; 0: it is not. */
export function warmUpSeconds(options: BenchOptions, setting: Setting): number {
  if (!hasWarmUp(options, setting)) return 0;
  const load: Workload = workloads[setting.workload];
  const isLonger = load.kind === 'transactions' && load.reconnects && !options.quick;
  return options.warmUpSeconds * (isLonger ? reconnectingWarmUps : 1);
}

/** The systems in another order each round, so that none always runs after the same one. */
export function rotated<Item>(items: readonly Item[], by: number): Item[] {
  const start = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

/**
 * Runs everything: one unmeasured round, which warms code and caches and finds out what a system cannot do; then the
 * measured rounds. A cell that fails is not tried again; its reason is kept.
 *
 * Errors: rejects only with the reason of `interrupt`.
 */
export async function measureRounds(
  options: BenchOptions,
  bench: Bench,
  print: (line: string) => void,
  interrupt: AbortSignal,
): Promise<Cell[]> {
  const groups = settingsOf(options.workloads, options.clients, options.idleClients).map((setting: Setting) =>
    bench.systems.entrants.map(({ name }): Cell => {
      const failure = reasonAgainst(name, workloads[setting.workload], setting.clients);
      return { ...setting, system: name, samples: [], failure };
    }),
  );
  for (let round = 0; round <= options.rounds; round++) {
    print(round === 0 ? 'warm-up' : `round ${round} of ${options.rounds}`);
    for (const group of groups) {
      for (const cell of rotated(group, round)) {
        if (cell.failure !== null) continue;
        const length = round === 0 ? warmUpSeconds(options, cell) : options.seconds;
        if (length === 0) continue;
        interrupt.throwIfAborted();
        try {
          const sample = await runOnce(bench, cell, length);
          if (round > 0) cell.samples.push(sample);
        } catch (error) {
          interrupt.throwIfAborted();
          cell.failure = error instanceof Error ? error.message : String(error);
          print(`  ${cell.workload}, ${cell.clients} clients, ${cell.system}: ${cell.failure}`);
        }
      }
    }
  }
  return groups.flat();
}

import yargs from 'yargs';
import { systemNames, type SystemName } from './systems.ts';
import { usualClients, workloadNames, type WorkloadName } from './workloads.ts';

/** What one benchmark run does. Times in whole seconds, because pgbench counts in them. */
export interface BenchOptions {
  /** A run of one short round with hardly a warm-up: a look, no measurement. */
  readonly quick: boolean;
  readonly rounds: number;
  /** Length of the measured window of one run; start-up and warm-up come on top. */
  readonly seconds: number;
  /**
   * Length of the unmeasured run of each load: programs that compile themselves while they run are at it for some time, and
   * longer where the load leaves them little of the processor.
   */
  readonly warmUpSeconds: number;
  /** For the loads of pgbench; `null`: each has its own. */
  readonly clients: readonly number[] | null;
  /** Idle clients whose memory is measured; one fifth of them where they have TLS. */
  readonly idleClients: number;
  /** `default_pool_size` of every pooler. */
  readonly poolSize: number;
  readonly workloads: readonly WorkloadName[];
  readonly systems: readonly SystemName[];
  /** pgbench's `--scale` of the data. */
  readonly scale: number;
  /** `node` drives the load from the benchmark itself, as it does anyway where pgbench isn't installed. */
  readonly load: 'pgbench' | 'node';
  /** Lines `key = value` of the variant's own section. */
  readonly variantSettings: readonly string[];
  /** File for the JSON result; `null` means a dated file in `bench-results/`. The chart stands beside it. */
  readonly json: string | null;
}

/** In a `--quick` run the others are left out, unless they are named: two minutes are short. */
const quickSystems: readonly SystemName[] = ['pgbouncer', 'pgweir', 'variant'];

/** There, a few hundred logins that keep pgbench busy say less than those of `connect-scram1`. */
const quickWorkloads = workloadNames.filter((name) => name !== 'connect-scram');

function positiveInteger(name: string, value: number): number {
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} takes whole numbers from 1`);
  return value;
}

function commaList<Name extends string>(name: string, text: string, allowed: readonly Name[]): Name[] {
  const given = text.split(',').map((word) => {
    const found = allowed.find((candidate) => candidate === word.trim());
    if (found === undefined) throw new Error(`--${name} knows ${allowed.join(', ')}; got "${word.trim()}"`);
    return found;
  });
  // In the order of the report, each once.
  return allowed.filter((each) => given.includes(each));
}

function pgweirSetting(text: string): string {
  if (!/^[a-z_]+ *= *\S/.test(text)) throw new Error(`--set takes 'key = value'; got "${text}"`);
  return text;
}

/** There is something in which the variant differs from pgweir. */
function hasVariant(settings: readonly string[]): boolean {
  return settings.length > 0 || (process.env['PGWEIR_BENCH_VARIANT'] ?? '') !== '';
}

/**
 * Reads the command line of `npm run bench`. `--quick` only changes defaults, so that any option given beside it
 * wins.
 *
 * Errors: throws an `Error` whose message names the option and what it takes.
 */
export function readOptions(argv: readonly string[]): BenchOptions {
  const parsed = yargs([...argv])
    .scriptName('npm run bench --')
    .usage('$0 [options]\n\nCompares the connection poolers that are installed, and PostgreSQL itself.')
    .options({
      rounds: { type: 'number', describe: 'interleaved rounds (default 5, quick 1)' },
      seconds: { type: 'number', describe: 'measured seconds per run (default 5, quick 1)' },
      'warm-up': {
        type: 'number',
        describe: 'seconds that each system runs each load ahead of the rounds (default 10, quick 1)',
      },
      clients: { type: 'string', describe: "pgbench's clients, comma separated (default: each load's own)" },
      idle: { type: 'number', describe: 'idle clients; a fifth with TLS (default 10000, quick 1000)' },
      pool: { type: 'number', default: 20, describe: 'default_pool_size of the poolers' },
      workloads: {
        type: 'string',
        describe: `comma separated (default: ${workloadNames.join(',')}; quick without connect-scram)`,
      },
      systems: {
        type: 'string',
        describe: `comma separated, of ${systemNames.join(',')} (default: all but relay; quick ${quickSystems.join(',')})`,
      },
      scale: { type: 'number', default: 10, describe: "pgbench's scale factor" },
      load: {
        choices: ['pgbench', 'node'] as const,
        default: 'pgbench' as const,
        describe: 'what sends the transactions',
      },
      set: {
        type: 'string',
        array: true,
        default: [] as string[],
        describe: "'key = value' in [pgweir] for the variant",
      },
      quick: { type: 'boolean', default: false, describe: 'a look in under two minutes' },
      json: { type: 'string', describe: 'file for the result (default: a dated one in bench-results/)' },
    })
    .strict()
    .fail((message, error) => {
      throw error ?? new Error(message);
    })
    .version(false)
    .wrap(null)
    .parseSync();
  const { quick } = parsed;
  const known = systemNames.filter((name) => name !== 'variant' || hasVariant(parsed.set));
  const usual = known.filter((name) => name !== 'relay' && (!quick || quickSystems.includes(name)));
  const loads = parsed.workloads ?? (quick ? quickWorkloads : workloadNames).join(',');
  const clients = parsed.clients ?? (quick ? String(usualClients) : null);
  return {
    quick,
    rounds: positiveInteger('rounds', parsed.rounds ?? (quick ? 1 : 5)),
    seconds: positiveInteger('seconds', parsed.seconds ?? (quick ? 1 : 5)),
    warmUpSeconds: positiveInteger('warm-up', parsed['warm-up'] ?? (quick ? 1 : 10)),
    clients: clients?.split(',').map((word) => positiveInteger('clients', Number(word))) ?? null,
    idleClients: positiveInteger('idle', parsed.idle ?? (quick ? 1000 : 10_000)),
    poolSize: positiveInteger('pool', parsed.pool),
    workloads: commaList('workloads', loads, workloadNames),
    systems: commaList('systems', parsed.systems ?? usual.join(','), known),
    scale: positiveInteger('scale', parsed.scale),
    load: parsed.load,
    variantSettings: parsed.set.map(pgweirSetting),
    json: parsed.json ?? null,
  };
}

import yargs from 'yargs';
import { systemNames, type SystemName } from './systems.ts';
import { workloadNames, type WorkloadName } from './workloads.ts';

/** What one benchmark run does. Times in whole seconds, because pgbench counts in them. */
export interface BenchOptions {
  readonly rounds: number;
  /** Length of the measured window of one run; start-up and warm-up come on top. */
  readonly seconds: number;
  readonly clients: readonly number[];
  /** `default_pool_size` of every pooler. */
  readonly poolSize: number;
  readonly workloads: readonly WorkloadName[];
  readonly systems: readonly SystemName[];
  /** pgbench's `--scale` of the data. */
  readonly scale: number;
  /** `node` drives the load from the benchmark itself, as it does anyway where pgbench isn't installed. */
  readonly load: 'pgbench' | 'node';
  /** File for the JSON result; `null` means a dated file in `bench-results/`. */
  readonly json: string | null;
}

function positiveInteger(name: string, value: number): number {
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} takes whole numbers from 1`);
  return value;
}

function commaList<Name extends string>(name: string, text: string, allowed: readonly Name[]): Name[] {
  return text.split(',').map((word) => {
    const found = allowed.find((candidate) => candidate === word.trim());
    if (found === undefined) throw new Error(`--${name} knows ${allowed.join(', ')}; got "${word.trim()}"`);
    return found;
  });
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
    .usage('$0 [options]\n\nCompares PostgreSQL directly, PgBouncer and pgweir with pgbench.')
    .options({
      rounds: { type: 'number', describe: 'interleaved rounds (default 5, quick 2)' },
      seconds: { type: 'number', describe: 'measured seconds per run (default 5, quick 2)' },
      clients: { type: 'string', describe: 'client counts, comma separated (default 1,50; quick 50)' },
      pool: { type: 'number', default: 20, describe: 'default_pool_size of the poolers' },
      workloads: { type: 'string', default: workloadNames.join(','), describe: 'comma separated' },
      systems: { type: 'string', default: systemNames.join(','), describe: 'comma separated' },
      scale: { type: 'number', default: 10, describe: "pgbench's scale factor" },
      load: {
        choices: ['pgbench', 'node'] as const,
        default: 'pgbench' as const,
        describe: 'what sends the queries',
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
  const clientList = parsed.clients ?? (quick ? '50' : '1,50');
  return {
    rounds: positiveInteger('rounds', parsed.rounds ?? (quick ? 2 : 5)),
    seconds: positiveInteger('seconds', parsed.seconds ?? (quick ? 2 : 5)),
    clients: clientList.split(',').map((word) => positiveInteger('clients', Number(word))),
    poolSize: positiveInteger('pool', parsed.pool),
    workloads: commaList('workloads', parsed.workloads, workloadNames),
    systems: commaList('systems', parsed.systems, systemNames),
    scale: positiveInteger('scale', parsed.scale),
    load: parsed.load,
    json: parsed.json ?? null,
  };
}

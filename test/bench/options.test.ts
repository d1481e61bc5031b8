import { beforeEach, describe, expect, test, vi } from 'vitest';
import { readOptions } from './options.ts';
import { workloadNames } from './workloads.ts';

beforeEach(() => {
  vi.unstubAllEnvs();
  vi.stubEnv('PGWEIR_BENCH_VARIANT', '');
});

describe('options of the benchmark', () => {
  test('the default is every load with its own numbers of clients on a pool of 20, and every system', () => {
    expect(readOptions([])).toEqual({
      quick: false,
      rounds: 5,
      seconds: 5,
      warmUpSeconds: 10,
      clients: null,
      idleClients: 10_000,
      poolSize: 20,
      workloads: workloadNames,
      systems: ['pgbouncer', 'pgweir', 'workers', 'odyssey', 'pgpool', 'direct'],
      scale: 10,
      load: 'pgbench',
      variantSettings: [],
      json: null,
    });
  });

  test('--quick shortens the run, and an option given beside it wins', () => {
    expect(readOptions(['--quick', '--rounds', '3', '--systems', 'odyssey'])).toMatchObject({
      quick: true,
      rounds: 3,
      seconds: 1,
      warmUpSeconds: 1,
      clients: [50],
      idleClients: 1000,
      systems: ['odyssey'],
    });
    expect(readOptions(['--quick']).systems).toEqual(['pgbouncer', 'pgweir']);
    expect(readOptions(['--systems', 'relay,pgweir']).systems).toEqual(['pgweir', 'relay']);
  });

  test('lists are comma separated, and come in the order of the report, each once', () => {
    const options = readOptions([
      '--clients',
      '2,10',
      '--workloads',
      'connect, simple,connect',
      '--systems',
      'pgweir',
    ]);
    expect(options).toMatchObject({
      clients: [2, 10],
      workloads: ['simple', 'connect'],
      systems: ['pgweir'],
    });
  });

  test('a variant takes part where it differs from pgweir, by settings or by its program', () => {
    const { variantSettings, systems } = readOptions(['--set', 'log_format = json', '--set', 'a_b=1']);
    expect(variantSettings).toEqual(['log_format = json', 'a_b=1']);
    expect(systems).toEqual(['pgbouncer', 'pgweir', 'workers', 'variant', 'odyssey', 'pgpool', 'direct']);
    expect(() => readOptions(['--systems', 'pgweir,variant'])).toThrow('got "variant"');
    vi.stubEnv('PGWEIR_BENCH_VARIANT', '/some/where/bin.ts');
    expect(readOptions(['--quick']).systems).toEqual(['pgbouncer', 'pgweir', 'variant']);
  });

  test.each([
    [['--rounds', '0'], '--rounds takes whole numbers from 1'],
    [['--clients', '5,x'], '--clients takes whole numbers from 1'],
    [['--workloads', 'tpch'], '--workloads knows simple, extended, prepared, tls, connect,'],
    [['--workloads', 'tpch'], 'calls; got "tpch"'],
    [['--idle', '-5'], '--idle takes whole numbers from 1'],
    [['--set', 'workers'], `--set takes 'key = value'; got "workers"`],
    [['--speed', '3'], 'Unknown argument: speed'],
  ])('%j is refused with what was expected', (argv, message) => {
    expect(() => readOptions(argv)).toThrow(message);
  });
});

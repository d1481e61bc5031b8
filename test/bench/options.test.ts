import { describe, expect, test } from 'vitest';
import { readOptions } from './options.ts';

describe('options of the benchmark', () => {
  test('the default is 1 and 50 clients on a pool of 20, every load, every system', () => {
    expect(readOptions([])).toEqual({
      rounds: 5,
      seconds: 5,
      clients: [1, 50],
      poolSize: 20,
      workloads: ['simple', 'extended', 'prepared', 'connect'],
      systems: ['direct', 'pgbouncer', 'pgweir'],
      scale: 10,
      load: 'pgbench',
      json: null,
    });
  });

  test('--quick shortens the run, and an option given beside it wins', () => {
    expect(readOptions(['--quick', '--rounds', '3'])).toMatchObject({ rounds: 3, seconds: 2, clients: [50] });
  });

  test('lists are comma separated', () => {
    const options = readOptions([
      '--clients',
      '2,10',
      '--workloads',
      'connect, simple',
      '--systems',
      'pgweir',
    ]);
    expect(options).toMatchObject({
      clients: [2, 10],
      workloads: ['connect', 'simple'],
      systems: ['pgweir'],
    });
  });

  test.each([
    [['--rounds', '0'], '--rounds takes whole numbers from 1'],
    [['--clients', '5,x'], '--clients takes whole numbers from 1'],
    [['--workloads', 'tpch'], '--workloads knows simple, extended, prepared, connect; got "tpch"'],
    [['--speed', '3'], 'Unknown argument: speed'],
  ])('%j is refused with what was expected', (argv, message) => {
    expect(() => readOptions(argv)).toThrow(message);
  });
});

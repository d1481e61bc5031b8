import { describe, expect, test } from 'vitest';
import { readOptions } from './options.ts';
import { expectedSeconds, hasWarmUp, reasonAgainst, warmUpSeconds } from './rounds.ts';
import { settingsOf, type WorkloadName, workloads } from './workloads.ts';

describe('what is run', () => {
  test('each load has its own numbers of clients, and those of --clients are for the loads of pgbench', () => {
    expect(settingsOf(['simple', 'tls', 'result', 'calls'], null, 1)).toEqual([
      { workload: 'simple', clients: 1 },
      { workload: 'simple', clients: 50 },
      { workload: 'simple', clients: 500 },
      { workload: 'simple', clients: 900 },
      { workload: 'tls', clients: 50 },
      { workload: 'result', clients: 1 },
      { workload: 'calls', clients: 50 },
    ]);
    expect(settingsOf(['simple', 'result'], [7], 1)).toEqual([
      { workload: 'simple', clients: 7 },
      { workload: 'result', clients: 1 },
    ]);
  });

  test('a fifth of the idle clients has TLS, one at least', () => {
    expect(settingsOf(['idle', 'idle-tls'], null, 10_000).map(({ clients }) => clients)).toEqual([
      10_000, 2000,
    ]);
    expect(settingsOf(['idle-tls'], null, 3).map(({ clients }) => clients)).toEqual([1]);
  });

  test('a quick run warms up each door once, a whole one each load that has something to warm', () => {
    const warmed = (...argv: string[]) => {
      const options = readOptions(argv);
      return settingsOf(options.workloads, options.clients, options.idleClients)
        .filter((setting) => hasWarmUp(options, setting))
        .map(({ workload }) => workload);
    };
    expect(warmed('--quick')).toEqual(['simple', 'tls', 'connect-scram1']);
    expect(warmed('--quick', '--workloads', 'prepared,connect,idle')).toEqual(['prepared']);
    expect(warmed('--workloads', 'tls,result,idle,calls')).toEqual(['tls', 'result']);
  });

  test('where each transaction has a connection warming up takes longer', () => {
    const options = readOptions(['--warm-up', '7']);
    const secondsOf = (workload: WorkloadName) => warmUpSeconds(options, { workload, clients: 50 });
    expect((['simple', 'connect', 'connect-tls', 'result', 'idle'] as const).map(secondsOf)).toEqual([
      7, 21, 21, 7, 0,
    ]);
    expect(warmUpSeconds(readOptions(['--quick']), { workload: 'connect-scram1', clients: 50 })).toBe(1);
  });

  test('a quick run takes less than two minutes', () => {
    const options = readOptions(['--quick']);
    // PostgreSQL, its data and the poolers want their time, too.
    expect(expectedSeconds(options, options.systems.length)).toBeLessThan(100);
  });

  test('who cannot take part in a load is left out with the reason', () => {
    expect(reasonAgainst('direct', workloads.idle, 50)).toBe('takes a pooler');
    expect(reasonAgainst('direct', workloads.calls, 50)).toBe('takes a pooler');
    expect(reasonAgainst('direct', workloads.result, 1)).toBeNull();
    expect(reasonAgainst('pgpool', workloads['idle-tls'], 50)).toBe('it has a process for each client');
    expect(reasonAgainst('relay', workloads['connect-scram'], 50)).toBe('it knows no logins');
    const ownSecret = 'it makes a secret of its own for each login';
    expect(reasonAgainst('pgpool', workloads['connect-scram1'], 50)).toBe(ownSecret);
    expect(reasonAgainst('pgpool', workloads['connect-scram'], 50)).toBeNull();
    expect(reasonAgainst('relay', workloads.idle, 50)).toBe('it has a server connection for each client');
    expect(reasonAgainst('relay', workloads.tls, 50)).toBeNull();
    expect(reasonAgainst('pgweir', workloads['idle-tls'], 50)).toBeNull();
    expect(reasonAgainst('workers', workloads.simple, 50)).toBeNull();
    for (const [workload, clients] of [
      ['simple', 1] as const,
      ['result', 1] as const,
      ['calls', 50] as const,
    ])
      expect(reasonAgainst('workers', workloads[workload], clients)).toBe('it takes many clients at work');
  });
});

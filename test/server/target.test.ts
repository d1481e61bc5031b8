import { describe, expect, it } from 'vitest';
import {
  connectFailure,
  connectOptions,
  dedicatedTarget,
  isUnixHost,
  type ServerTarget,
} from '../../src/server/target.ts';

describe('where a server connection goes', () => {
  it.each([
    ['a directory', '/tmp', '/tmp/.s.PGSQL.5433'],
    ['the abstract namespace', '@pg', '\0pg/.s.PGSQL.5433'],
  ])('is a unix socket in %s', (_what, host, path) => {
    expect(isUnixHost(host)).toBe(true);
    expect(connectOptions({ host, port: 5433 })).toEqual({ path, allowHalfOpen: true });
  });

  it.each(['localhost', '127.0.0.1', '::1'])('is TCP for %s, without delay and half open', (host) => {
    expect(isUnixHost(host)).toBe(false);
    expect(connectOptions({ host, port: 5432 })).toEqual({
      host,
      port: 5432,
      allowHalfOpen: true,
      noDelay: true,
    });
  });
});

it('a failed connect is told in the words of the system, for each address that was tried', () => {
  const said: string[] = [];
  const refused = new Error('connect ECONNREFUSED 127.0.0.1:1');
  expect(connectFailure(refused, (text) => said.push(text))).toBe('connect failed');
  // As Node has it for a name with several addresses: without a message of its own.
  const all = new AggregateError([new Error('connect ECONNREFUSED ::1:1'), refused]);
  expect(connectFailure(all, (text) => said.push(text))).toBe('connect failed');
  expect(connectFailure(null, (text) => said.push(text))).toBe('connect failed');
  expect(said).toEqual([
    'connect failed: connect ECONNREFUSED 127.0.0.1:1',
    'connect failed: connect ECONNREFUSED ::1:1; connect ECONNREFUSED 127.0.0.1:1',
  ]);
});

describe('a server connection for one client alone', () => {
  const pooled: ServerTarget = {
    hosts: ['127.0.0.1'],
    port: 5432,
    loadBalanceHosts: 'round-robin',
    database: 'db',
    user: 'me',
    credentials: { secretText: null, scramKeys: null },
    parameters: [
      ['client_encoding', 'UTF8'],
      ['datestyle', 'ISO'],
    ],
    connectQuery: 'SET work_mem = 1',
  };
  const startup = [
    ['replication', 'database'],
    ['DateStyle', 'German'],
  ] as const;

  it("is started with the client's parameters over those of the database's entry", () => {
    expect(dedicatedTarget(pooled, { replication: 'logical', startup })).toEqual({
      ...pooled,
      parameters: [['client_encoding', 'UTF8'], ...startup],
    });
  });

  it('has no connect_query when it takes no SQL', () => {
    expect(dedicatedTarget(pooled, { replication: 'physical', startup }).connectQuery).toBe(null);
  });
});

import { describe, expect, it } from 'vitest';
import { connectOptions, isUnixHost } from '../../src/server/target.ts';

const quiet = { keepAlive: false, keepAliveIdleMs: 0 };

describe('where a server connection goes', () => {
  it.each([
    ['a directory', '/tmp', '/tmp/.s.PGSQL.5433'],
    ['the abstract namespace', '@pg', '\0pg/.s.PGSQL.5433'],
  ])('is a unix socket in %s', (_what, host, path) => {
    expect(isUnixHost(host)).toBe(true);
    expect(connectOptions({ host, port: 5433 }, quiet)).toEqual({ path, allowHalfOpen: true });
  });

  it.each(['localhost', '127.0.0.1', '::1'])('is TCP for %s, without delay and half open', (host) => {
    expect(isUnixHost(host)).toBe(false);
    expect(connectOptions({ host, port: 5432 }, { keepAlive: true, keepAliveIdleMs: 7000 })).toEqual({
      host,
      port: 5432,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 7000,
    });
  });
});

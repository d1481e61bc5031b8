import { describe, expect, it } from 'vitest';
import { type ClientTimeView, decideClientTimeout } from '../../src/client/timeouts.ts';

const off = {
  maxClientConn: 0,
  maxDbClientConnections: 0,
  maxUserClientConnections: 0,
  clientIdleTimeoutMs: 0,
  queryWaitTimeoutMs: 0,
  queryTimeoutMs: 0,
  queryWaitNotifySec: 0,
};
const idle: ClientTimeView = {
  nowMs: 1000,
  isLinked: false,
  waitStartMs: 0,
  queryStartMs: 0,
  idleSinceMs: 1,
};
const waiting: ClientTimeView = { ...idle, waitStartMs: 500 };

describe('a client that waits', () => {
  it('is closed once it has waited for longer than query_wait_timeout', () => {
    expect(decideClientTimeout(waiting, { ...off, queryWaitTimeoutMs: 500 })).toBeNull();
    expect(decideClientTimeout(waiting, { ...off, queryWaitTimeoutMs: 499 })).toBe('query_wait_timeout');
  });

  it('waits for ever when both limits are 0', () => {
    expect(decideClientTimeout({ ...waiting, nowMs: 1e12 }, off)).toBeNull();
  });

  it('is closed for query_timeout, which goes before query_wait_timeout', () => {
    const limits = { ...off, queryTimeoutMs: 499, queryWaitTimeoutMs: 499 };
    expect(decideClientTimeout(waiting, limits)).toBe('query_timeout');
    expect(decideClientTimeout(waiting, { ...limits, queryTimeoutMs: 500 })).toBe('query_wait_timeout');
  });

  it('is measured from the start of its query, when that is older', () => {
    const view = { ...waiting, queryStartMs: 400 };
    expect(decideClientTimeout(view, { ...off, queryWaitTimeoutMs: 599 })).toBe('query_wait_timeout');
    expect(decideClientTimeout(view, { ...off, queryWaitTimeoutMs: 600 })).toBeNull();
  });

  it('is not idle', () => {
    expect(decideClientTimeout(waiting, { ...off, clientIdleTimeoutMs: 1 })).toBeNull();
  });
});

describe('a client that asks for nothing', () => {
  it('is closed once it has idled for longer than client_idle_timeout', () => {
    expect(decideClientTimeout(idle, { ...off, clientIdleTimeoutMs: 999 })).toBeNull();
    expect(decideClientTimeout(idle, { ...off, clientIdleTimeoutMs: 998 })).toBe('client_idle_timeout');
  });

  it('stays for ever when that is 0, and the limits of queries do not concern it', () => {
    const limits = { ...off, queryTimeoutMs: 1, queryWaitTimeoutMs: 1 };
    expect(decideClientTimeout({ ...idle, nowMs: 1e12 }, limits)).toBeNull();
  });
});

it('a linked client is left to the limits of its server connection', () => {
  const limits = { ...off, clientIdleTimeoutMs: 1, queryTimeoutMs: 1, queryWaitTimeoutMs: 1 };
  expect(decideClientTimeout({ ...idle, isLinked: true, queryStartMs: 1 }, limits)).toBeNull();
});

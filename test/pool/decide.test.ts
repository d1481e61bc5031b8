import { describe, expect, it } from 'vitest';
import {
  type ActiveView,
  decideActiveTimeout,
  decideLaunch,
  decideRelease,
  decideRest,
  isBelowMinimum,
  isLifetimeOver,
  type LaunchView,
  type ReleaseView,
  type RestView,
} from '../../src/pool/decide.ts';
import type { PoolLimits } from '../../src/pool/limits.ts';
import { QUIET_LIMITS } from './kit.ts';

type Limits = Partial<PoolLimits>;

describe('decideRelease', () => {
  const clean: ReleaseView = {
    ageMs: 1000,
    sinceLifetimeCloseMs: Number.POSITIVE_INFINITY,
    isClean: true,
    closeNeeded: false,
    paused: false,
    cancelsInFlight: 0,
    needsResync: false,
    isTested: false,
  };
  const close = (reason: string) => ({ action: 'close', reason });
  const reset = { action: 'test', sql: 'DISCARD ALL', purpose: 'reset' };
  const session: Limits = { poolMode: 'session' };
  const old: Limits = { serverLifetimeMs: 1000 };

  it.each<[string, Partial<ReleaseView>, Limits, object]>([
    ['a clean server is idle again in transaction mode', {}, {}, { action: 'idle' }],
    ['and in statement mode', {}, { poolMode: 'statement' }, { action: 'idle' }],
    ['session mode runs the reset query', {}, session, reset],
    ['unless there is none', {}, { ...session, serverResetQuery: null }, { action: 'idle' }],
    ['server_reset_query_always runs it in transaction mode', {}, { serverResetQueryAlways: true }, reset],
    ['it is not run twice', { isTested: true }, session, { action: 'idle' }],
    [
      'an unclean server is closed',
      { isClean: false },
      {},
      close('client disconnected with queries in progress'),
    ],
    ['an old server is closed', {}, old, close('server lifetime over')],
    ['a server one millisecond younger is kept', { ageMs: 999 }, old, { action: 'idle' }],
    [
      'an old server stays while its turn has not come',
      { sinceLifetimeCloseMs: 499 },
      old,
      { action: 'idle' },
    ],
    ['its turn comes', { sinceLifetimeCloseMs: 500 }, old, close('server lifetime over')],
    ['a lifetime of 0 means use once', { ageMs: 0 }, { serverLifetimeMs: 0 }, close('server lifetime over')],
    ['but not: test once', { ageMs: 0, isTested: true }, { serverLifetimeMs: 0 }, { action: 'idle' }],
    ['a server marked for replacement is closed', { closeNeeded: true }, {}, close('close_needed')],
    ['also after its test', { closeNeeded: true, isTested: true }, {}, close('close_needed')],
    ['a paused pool closes it', { paused: true }, session, close('pause mode')],
    ['a cancel under way is waited for', { cancelsInFlight: 1 }, {}, { action: 'wait-for-cancels' }],
    ['also in a paused pool', { cancelsInFlight: 1, paused: true }, {}, { action: 'wait-for-cancels' }],
    [
      'a server to be replaced is not waited for',
      { cancelsInFlight: 1, closeNeeded: true },
      {},
      close('close_needed'),
    ],
    [
      'an unsure count is probed before the reset query',
      { needsResync: true },
      session,
      { action: 'test', sql: '', purpose: 'resync' },
    ],
    [
      'a check delay of 0 checks every time',
      {},
      { serverCheckDelayMs: 0, serverCheckQuery: 'select 1' },
      { action: 'used' },
    ],
    ['not without a check query', {}, { serverCheckDelayMs: 0 }, { action: 'idle' }],
    [
      'not when the reset query has shown that it works',
      {},
      { ...session, serverCheckDelayMs: 0, serverCheckQuery: '' },
      reset,
    ],
  ])('%s', (_name, view, limits, expected) => {
    expect(decideRelease({ ...clean, ...view }, { ...QUIET_LIMITS, ...limits })).toEqual(expected);
  });
});

describe('isLifetimeOver', () => {
  it.each<[string, number, number, Limits, boolean]>([
    ['closes are a lifetime divided by pool_size apart', 100, 49, { poolSize: 2 }, false],
    ['and then due', 100, 50, { poolSize: 2 }, true],
    ['an unlimited pool has no spacing', 100, 0, { poolSize: 0 }, true],
    ['the first close waits for none', 100, Number.POSITIVE_INFINITY, { poolSize: 1 }, true],
    ['a young server stays', 99, Number.POSITIVE_INFINITY, { poolSize: 1 }, false],
  ])('%s', (_name, ageMs, sinceMs, limits, expected) => {
    expect(isLifetimeOver(ageMs, sinceMs, { ...QUIET_LIMITS, serverLifetimeMs: 100, ...limits })).toBe(
      expected,
    );
  });
});

describe('decideLaunch', () => {
  const empty: LaunchView = {
    paused: false,
    loginsInProgress: 0,
    loginsAllowed: 1,
    sinceFailureMs: null,
    slotsTaken: 0,
    firstWaitMs: 0,
  };
  const wait = (reason: string) => ({ action: 'wait', reason });
  const reserve: Limits = { reservePoolSize: 1, reservePoolTimeoutMs: 5000 };
  const launch = { action: 'launch', poolLimit: 2, isReserve: false };
  const launchReserve = { action: 'launch', poolLimit: 3, isReserve: true };

  it.each<[string, Partial<LaunchView>, Limits, object]>([
    ['a pool below its size opens one', { slotsTaken: 1 }, {}, launch],
    ['nobody has to wait for it', { firstWaitMs: null }, {}, launch],
    ['a full pool does not', { slotsTaken: 2 }, {}, wait('pool is full')],
    ['an overfull pool does not', { slotsTaken: 5 }, {}, wait('pool is full')],
    ['pool_size 0 is unlimited', { slotsTaken: 99 }, { poolSize: 0 }, { ...launch, poolLimit: 0 }],
    ['a paused pool does not', { paused: true }, {}, wait('paused')],
    ['as many logins as are allowed', { loginsInProgress: 1, loginsAllowed: 2 }, {}, launch],
    ['and no more', { loginsInProgress: 2, loginsAllowed: 2 }, {}, wait('login in progress')],
    ['not soon after a failure', { sinceFailureMs: 14_999 }, {}, wait('login retry')],
    ['but after server_login_retry', { sinceFailureMs: 15_000 }, {}, launch],
    ['a retry of 0 is not at once', { sinceFailureMs: 99 }, { serverLoginRetryMs: 0 }, wait('login retry')],
    ['but at the next sweep', { sinceFailureMs: 100 }, { serverLoginRetryMs: 0 }, launch],
    ['the reserve is for a long wait', { slotsTaken: 2, firstWaitMs: 5000 }, reserve, launchReserve],
    ['not for a shorter one', { slotsTaken: 2, firstWaitMs: 4999 }, reserve, wait('pool is full')],
    ['not for nobody', { slotsTaken: 2, firstWaitMs: null }, reserve, wait('pool is full')],
    ['not while the pool itself has room', { slotsTaken: 1, firstWaitMs: 9000 }, reserve, launch],
    ['not beyond its size', { slotsTaken: 3, firstWaitMs: 9000 }, reserve, wait('pool is full')],
    [
      'a reserve_pool_timeout of 0 turns it off',
      { slotsTaken: 2, firstWaitMs: 9000 },
      { ...reserve, reservePoolTimeoutMs: 0 },
      wait('pool is full'),
    ],
  ])('%s', (_name, view, limits, expected) => {
    expect(decideLaunch({ ...empty, ...view }, { ...QUIET_LIMITS, ...limits })).toEqual(expected);
  });
});

describe('isBelowMinimum', () => {
  it.each<[string, number, number, boolean, Limits, boolean]>([
    ['fills for a client', 0, 1, false, { minPoolSize: 1 }, true],
    ['fills for a forced user', 0, 0, true, { minPoolSize: 1 }, true],
    ['not without either', 0, 0, false, { minPoolSize: 1 }, false],
    ['stops at the minimum', 1, 1, true, { minPoolSize: 1 }, false],
    ['stops at pool_size', 2, 1, true, { minPoolSize: 5 }, false],
    ['pool_size 0 turns it off', 0, 1, true, { minPoolSize: 1, poolSize: 0 }, false],
    ['is off by default', 0, 1, true, {}, false],
  ])('%s', (_name, connected, clientCount, isForcedUser, limits, expected) => {
    expect(isBelowMinimum({ connected, clientCount, isForcedUser }, { ...QUIET_LIMITS, ...limits })).toBe(
      expected,
    );
  });
});

describe('decideActiveTimeout', () => {
  const busy: ActiveView = {
    nowMs: 10_000,
    queryStartMs: 4000,
    xactStartMs: 2000,
    isIdleInTransaction: false,
    lastServerBytesMs: 5000,
  };
  it.each<[string, Partial<ActiveView>, Limits, string | null]>([
    ['nothing is limited by default', {}, {}, null],
    ['a query may take its time', {}, { queryTimeoutMs: 6000 }, null],
    ['but no longer', {}, { queryTimeoutMs: 5999 }, 'query timeout'],
    ['without a query there is no query timeout', { queryStartMs: 0 }, { queryTimeoutMs: 1 }, null],
    ['a transaction may take its time', {}, { transactionTimeoutMs: 8000 }, null],
    ['but no longer ', {}, { transactionTimeoutMs: 7999 }, 'transaction timeout'],
    [
      'without a transaction there is no transaction timeout',
      { xactStartMs: 0 },
      { transactionTimeoutMs: 1 },
      null,
    ],
    ['a running query is not idle', {}, { idleTransactionTimeoutMs: 1 }, null],
    ['idle in a transaction', { isIdleInTransaction: true }, { idleTransactionTimeoutMs: 5000 }, null],
    [
      'idle in a transaction for too long',
      { isIdleInTransaction: true },
      { idleTransactionTimeoutMs: 4999 },
      'idle transaction timeout',
    ],
  ])('%s', (_name, view, limits, expected) => {
    expect(decideActiveTimeout({ ...busy, ...view }, { ...QUIET_LIMITS, ...limits })).toBe(expected);
  });
});

describe('decideRest', () => {
  const resting: RestView = {
    state: 'idle',
    restMs: 1000,
    ageMs: 2000,
    sinceLifetimeCloseMs: Number.POSITIVE_INFINITY,
    closeNeeded: false,
    paused: false,
    usableServers: 1,
  };
  const close = (reason: string, least = 0) => ({ action: 'close', reason, least });
  const keep = { action: 'keep' };
  const idleOver: Limits = { serverIdleTimeoutMs: 999 };
  const check: Limits = { serverCheckQuery: '', serverCheckDelayMs: 999 };

  it.each<[string, Partial<RestView>, Limits, object]>([
    ['is kept', {}, {}, keep],
    ['PAUSE closes it', { paused: true }, {}, close('pause mode')],
    ['RECONNECT closes it', { closeNeeded: true }, {}, close('database configuration changed')],
    ['a pool that is too large shrinks', { usableServers: 3 }, {}, close('too many servers in the pool', 2)],
    ['the reserve counts as room', { usableServers: 3 }, { reservePoolSize: 1 }, keep],
    ['an unlimited pool is never too large', { usableServers: 300 }, { poolSize: 0 }, keep],
    ['idle for too long', {}, idleOver, close('server idle timeout')],
    ['used for too long', { state: 'used' }, idleOver, close('server idle timeout')],
    ['idle just long enough', {}, { serverIdleTimeoutMs: 1000 }, keep],
    ['min_pool_size keeps it', {}, { ...idleOver, minPoolSize: 1 }, keep],
    [
      'what is above min_pool_size goes',
      { usableServers: 2 },
      { ...idleOver, minPoolSize: 1 },
      close('server idle timeout', 1),
    ],
    ['old', {}, { serverLifetimeMs: 2000 }, close('server lifetime over')],
    ['old, but too soon after another', { sinceLifetimeCloseMs: 999 }, { serverLifetimeMs: 2000 }, keep],
    ['a lifetime of 0 leaves an unused server alone', {}, { serverLifetimeMs: 0 }, keep],
    ['to be checked before it is used again', {}, check, { action: 'used' }],
    ['once is enough', { state: 'used' }, check, keep],
    ['fresh enough', {}, { ...check, serverCheckDelayMs: 1000 }, keep],
    ['no check query, no check', {}, { ...check, serverCheckQuery: null }, keep],
  ])('%s', (_name, view, limits, expected) => {
    expect(decideRest({ ...resting, ...view }, { ...QUIET_LIMITS, ...limits })).toEqual(expected);
  });
});

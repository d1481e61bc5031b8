import { EventEmitter } from 'node:events';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Logger } from '../../src/base/log.ts';
import { installSignals, type SignalHandlers, StartEnded, StartSignals } from '../../src/daemon/signals.ts';

let source: EventEmitter;
let calls: string[];
let lines: string[];
let shuttingDown: boolean;
let suspended: boolean;
let paused: boolean;

let handlers: SignalHandlers;
let log: Logger;

beforeEach(() => {
  source = new EventEmitter();
  calls = [];
  lines = [];
  shuttingDown = false;
  suspended = false;
  paused = false;
  handlers = {
    isShuttingDown: () => shuttingDown,
    isSuspended: () => suspended,
    isPaused: () => paused,
    reload: () => calls.push('reload'),
    shutdownWaitForClients: () => {
      calls.push('wait for clients');
      shuttingDown = true;
    },
    shutdownWaitForServers: () => {
      calls.push('wait for servers');
      shuttingDown = true;
    },
    exitNow: (code) => calls.push(`exit ${code}`),
    pause: () => calls.push('pause'),
    resume: () => calls.push('resume'),
  };
  log = { enabled: () => true, log: (level, message) => lines.push(`${level} ${message}`) };
});

describe('signals', () => {
  beforeEach(() => installSignals(handlers, log, source));

  it.each([
    ['SIGHUP', 'reload', 'LOG got SIGHUP, re-reading config'],
    ['SIGTERM', 'wait for clients', 'LOG got SIGTERM, shutting down, waiting for all clients disconnect'],
    [
      'SIGINT',
      'wait for servers',
      'LOG got SIGINT, shutting down, waiting for all servers connections to be released',
    ],
    ['SIGQUIT', 'exit 0', 'LOG got SIGQUIT, fast exit'],
    ['SIGUSR1', 'pause', 'LOG got SIGUSR1, pausing all activity'],
    ['SIGUSR2', 'resume', 'LOG got SIGUSR2, continuing from PAUSE'],
  ])('%s means %s', (signal, call, line) => {
    paused = signal === 'SIGUSR2';
    source.emit(signal);
    expect(calls).toEqual([call]);
    expect(lines).toEqual([line]);
  });

  it.each([
    ['SIGTERM', 'SIGTERM', 'wait for clients'],
    ['SIGTERM', 'SIGINT', 'wait for clients'],
    ['SIGINT', 'SIGINT', 'wait for servers'],
    ['SIGINT', 'SIGTERM', 'wait for servers'],
  ])('%s and then %s ends the process at once with 0', (one, two, call) => {
    source.emit(one);
    source.emit(two);
    expect(calls).toEqual([call, 'exit 0']);
  });

  it('SIGTERM during a shutdown from the console ends the process at once', () => {
    shuttingDown = true;
    source.emit('SIGTERM');
    expect(calls).toEqual(['exit 0']);
  });

  it.each(['SIGTERM', 'SIGINT'])('%s during SUSPEND ends the process with a failure', (signal) => {
    suspended = true;
    source.emit(signal);
    expect(calls).toEqual(['exit 1']);
    expect(lines).toEqual([`FATAL got ${signal} while suspended, exiting`]);
  });

  it('SIGUSR1 while paused and SIGUSR2 while not do nothing and say so', () => {
    source.emit('SIGUSR2');
    paused = true;
    source.emit('SIGUSR1');
    expect(calls).toEqual([]);
    expect(lines).toEqual([
      'LOG got SIGUSR2, but not paused/suspended',
      'LOG got SIGUSR1, but already paused/suspended',
    ]);
  });

  it('SIGUSR2 during a shutdown is ignored', () => {
    shuttingDown = true;
    source.emit('SIGUSR2');
    expect(calls).toEqual([]);
  });

  it('SIGPIPE gets no listener, because Node ignores it for good only without one', () => {
    expect(source.listenerCount('SIGPIPE')).toBe(0);
  });
});

describe('signals while the process starts', () => {
  it.each([
    ['SIGTERM', true, new StartEnded('got SIGTERM while taking over, exiting', 1)],
    ['SIGINT', true, new StartEnded('got SIGINT while taking over, exiting', 1)],
    ['SIGQUIT', true, new StartEnded('got SIGQUIT, fast exit', 0)],
    ['SIGTERM', false, new StartEnded('got SIGTERM while starting, exiting', 0)],
    ['SIGINT', false, new StartEnded('got SIGINT while starting, exiting', 0)],
  ])('%s ends it (a takeover: %s), the first one', (signal, isTakeover, reason) => {
    const { ended } = new StartSignals(isTakeover, source);
    source.emit('SIGHUP');
    expect(ended.aborted).toBe(false);
    for (const each of [signal, 'SIGQUIT']) expect(source.emit(each)).toBe(true);
    expect(ended.reason).toEqual(reason);
    expect((ended.reason as StartEnded).exitCode).toBe(reason.exitCode);
  });

  it('do not end one whose takeover cannot be undone any more: the old process leaves', () => {
    const signals = new StartSignals(true, source);
    for (const signal of ['SIGHUP', 'SIGTERM', 'SIGQUIT']) source.emit(signal);
    signals.handOver(handlers, log);
    expect(calls).toEqual(['reload']);
    expect(lines.slice(1)).toEqual(
      ['SIGTERM', 'SIGQUIT'].map(
        (signal) =>
          `WARNING got ${signal} too late: the old process has been told to leave, so this one serves`,
      ),
    );
    source.emit('SIGTERM');
    expect(calls.at(-1)).toBe('wait for clients');
  });

  it('wait until it is up, and are carried out in their order', () => {
    const signals = new StartSignals(false, source);
    for (const signal of ['SIGUSR1', 'SIGHUP', 'SIGTERM']) source.emit(signal);
    expect(calls).toEqual([]);
    signals.handOver(handlers, log);
    expect(calls).toEqual(['pause', 'reload', 'wait for clients']);
    source.emit('SIGINT');
    expect(calls.at(-1)).toBe('exit 0');
  });
});

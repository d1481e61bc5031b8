import { EventEmitter } from 'node:events';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Logger } from '../../src/base/log.ts';
import { installSignals, type SignalHandlers } from '../../src/daemon/signals.ts';

let source: EventEmitter;
let calls: string[];
let lines: string[];
let shuttingDown: boolean;
let suspended: boolean;
let paused: boolean;

beforeEach(() => {
  source = new EventEmitter();
  calls = [];
  lines = [];
  shuttingDown = false;
  suspended = false;
  paused = false;
  const handlers: SignalHandlers = {
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
  const log: Logger = { enabled: () => true, log: (level, message) => lines.push(`${level} ${message}`) };
  installSignals(handlers, log, source);
});

describe('signals', () => {
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
